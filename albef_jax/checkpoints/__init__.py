"""Keeping states, and reading those of others."""
