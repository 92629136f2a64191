"""A run's directory: its lock, configuration, data fingerprint and saved steps."""
