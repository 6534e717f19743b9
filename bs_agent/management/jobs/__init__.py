"""Calls that take long, and who is told of their end."""
