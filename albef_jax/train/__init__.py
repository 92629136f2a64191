"""State, optimizer, step and loop."""
