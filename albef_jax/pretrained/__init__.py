"""Models that come with the package, each a folder in release form."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(__name__, {"NAMES": "folders", "locate": "folders"})
