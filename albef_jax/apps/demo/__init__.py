"""A page in the browser to try a checkpoint."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "build_page": "page",
        "serve": "page",
    },
)
