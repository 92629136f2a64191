"""Scene graphs drawn as images."""
