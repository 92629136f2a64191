"""Thin command lines: `python -m tools.NAME --help`."""
