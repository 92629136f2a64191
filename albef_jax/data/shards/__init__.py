"""Packed data: WebDataset tar files, ArrayRecord, TensorFlow Datasets."""
