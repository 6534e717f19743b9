"""How a host is reached: its agent over HTTPS, and the way in over SSH."""
