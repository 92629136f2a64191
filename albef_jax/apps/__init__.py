"""Applications of `inference`: a search index and a demo page."""
