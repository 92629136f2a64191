"""Images: found, decoded, resized and augmented."""
