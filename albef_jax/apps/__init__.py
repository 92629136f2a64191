"""Programs for people on top of `inference`: a search index and a demo page."""
