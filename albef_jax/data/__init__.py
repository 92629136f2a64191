"""Records, sources, transforms and batches. Imports nothing of the model."""
