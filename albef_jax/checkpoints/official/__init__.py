"""The official code's parameter names and files."""
