"""Which training steps to trace; imports no jax, so that mistakes are reported at once."""

from typing import NamedTuple

from albef_jax.errors import ConfigError


class ProfileWindow(NamedTuple):
    """Training steps, counted from 1.

    Attributes:
        first: the first step to trace.
        steps: how many.
    """

    first: int
    steps: int

    @classmethod
    def parse(cls, text: str) -> "ProfileWindow":
        """`STEP:N`, as typed.

        Raises:
            ConfigError: it is something else.
        """
        parts = text.split(":")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise ConfigError(f"--profile={text}: give STEP:N, both 1 or more, such as 20:5")
        return cls(*map(int, parts))

    @property
    def last(self) -> int:
        """The last step to trace."""
        return self.first + self.steps - 1
