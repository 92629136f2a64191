"""Annotation files as data sets publish them, turned into the lists that training reads."""

from albef_jax.data.releases.formats import convert, recognised, remedy

__all__ = ["convert", "recognised", "remedy"]
