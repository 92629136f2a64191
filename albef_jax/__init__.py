"""ALBEF (Align before Fuse, Li et al., NeurIPS 2021) in JAX."""

from typing import Any

from albef_jax.version import __version__

__all__ = ["__version__", "load"]


def load(path: Any, **options: Any) -> Any:
    """A model from a workdir, an Orbax directory, a `.pth` or a `.safetensors`.

    See `albef_jax.inference.model.load`; it is imported on the first call, since jax takes seconds.
    """
    from albef_jax.inference import model

    return model.load(path, **options)
