"""Three real nodes behind a real load balancer, each on a network of its own, and many agents: what may befall them."""
