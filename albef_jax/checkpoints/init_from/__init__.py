"""Starts a run from another task's checkpoint, or from public BERT and ViT weights."""
