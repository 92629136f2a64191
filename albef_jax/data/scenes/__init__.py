"""The built-in world: scenes, pictures and captions made on demand, nothing on disk.

`draw` and `shapes` know no other module here; `graph` says what a scene is, `sample` makes one,
`render` shows it, `facts`, `phrases` and `captions` talk about it, `noise` spoils the talk, and
`source` puts it all together.
"""
