"""Saves, loads, converts and releases checkpoints."""
