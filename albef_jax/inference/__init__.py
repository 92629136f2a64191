"""Trained models for people and programs: pictures and texts in, numpy out."""
