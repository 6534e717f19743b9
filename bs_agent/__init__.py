"""bs-agent: the agent on storage hosts and the management node for backup storages."""

__version__ = "0.9.0"
