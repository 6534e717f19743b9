"""The management node: polls the agents, keeps the inventory, serves the public API."""
