"""Numbers of a run on their way to files and screens."""
