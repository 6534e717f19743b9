"""What is done to a backup storage or an agent: one file a use case."""
