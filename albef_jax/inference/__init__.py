"""Trained models: images and texts in, numpy out."""
