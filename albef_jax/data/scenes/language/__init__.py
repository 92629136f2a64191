"""Sentences about scene graphs, one module a task."""
