"""Metrics, profiles and operation counts of a run."""
