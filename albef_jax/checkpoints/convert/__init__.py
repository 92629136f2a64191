"""Converts checkpoints between forms, describes them, and packs releases."""
