"""What whole runs share."""

from tests.helpers.drawn_weights import drawn_weights

__all__ = ["drawn_weights"]
