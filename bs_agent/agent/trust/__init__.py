"""The tokens of the management nodes."""
