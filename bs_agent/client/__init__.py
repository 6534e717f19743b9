"""Clients of the public API: the SDK and `bs-cli`."""
