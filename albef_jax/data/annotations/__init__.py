"""JSON annotation files in the official format of each task."""
