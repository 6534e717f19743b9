"""What is wrong on a host, and what to do."""
