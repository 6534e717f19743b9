"""The daemon on a storage host."""
