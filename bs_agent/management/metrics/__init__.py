"""What the management node shows to Prometheus."""
