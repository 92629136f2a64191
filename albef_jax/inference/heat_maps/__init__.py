"""Grad-CAM: heat maps of texts and words, and boxes ranked by them."""
