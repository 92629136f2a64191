"""ALBEF (Align before Fuse, Li et al., NeurIPS 2021) in JAX."""

from albef_jax.version import __version__

__all__ = ["__version__"]
