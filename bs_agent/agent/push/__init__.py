"""Reports that the agent sends by itself."""
