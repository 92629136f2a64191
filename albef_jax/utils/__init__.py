"""Small helpers that know nothing of models: files, terminals, optional packages."""
