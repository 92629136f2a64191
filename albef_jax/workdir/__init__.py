"""A run's directory: its lock, its configuration, and what it was trained on."""
