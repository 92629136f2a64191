"""Searches images by text and texts by image: an index, its files, contact sheets."""
