"""Text for consoles and pages that cannot show every character.

A file name may hold bytes that are not UTF-8 (Python keeps them as halves of surrogate pairs), and
a console may support ASCII alone. Neither must end a command without a result.
"""

import io
import sys
from collections.abc import Callable


def print_anything() -> None:
    r"""Print characters that the console lacks as escapes, such as `\u732b`.

    Every command line calls this first.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_result(make: Callable[[], str]) -> int:
    """Print what `make` returns, or one line for an error that a user can fix.

    Returns:
        The exit status, 0 or 2.
    """
    try:
        print(make())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def as_utf8(text: str) -> str:
    r"""The text with escapes, such as `\udce9`, for what UTF-8 cannot represent."""
    return text.encode("utf-8", "backslashreplace").decode()
