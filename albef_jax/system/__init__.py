"""The operating system and the interpreter: files, terminals, signals, optional packages."""
