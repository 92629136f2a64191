"""Converts the public annotation files of data sets to the lists that training reads."""

from albef_jax.data.releases.formats import convert, recognised, remedy

__all__ = ["convert", "recognised", "remedy"]
