"""What keeps an eye on the agents."""
