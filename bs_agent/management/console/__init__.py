"""What people look at: pages that a browser shows, made of the calls of the public API and of nothing else."""
