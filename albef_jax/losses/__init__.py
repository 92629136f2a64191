"""Losses as pure functions of what the model computes."""
