"""Starting a run from something else: another task's checkpoint, or public BERT and ViT weights."""
