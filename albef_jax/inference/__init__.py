"""Trained models for people and programs: images and texts in, numpy out."""
