"""Measuring a trained model, and showing what it does."""
