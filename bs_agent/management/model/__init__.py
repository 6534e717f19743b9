"""What the management node knows, as plain values. Pure."""
