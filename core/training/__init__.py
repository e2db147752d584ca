"""Training: the one loop that techniques share, its losses, its data and its state."""
