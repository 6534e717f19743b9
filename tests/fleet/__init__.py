"""A simulated site: many agents, played by one process, and a real management node that polls them."""
