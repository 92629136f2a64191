"""ALBEF's pre-training in PyTorch, as the paper describes it: what `against_pytorch` races."""
