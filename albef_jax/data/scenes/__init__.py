"""The built-in world: scene graphs, their pictures and their captions."""
