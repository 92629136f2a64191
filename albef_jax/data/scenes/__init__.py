"""The built-in world: scene graphs, their images and their captions."""
