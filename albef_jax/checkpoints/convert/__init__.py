"""Checkpoints from one form into another, described, and packed for release."""
