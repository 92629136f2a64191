"""Text for consoles and pages that cannot show every character.

A file name may hold bytes that are not UTF-8 (Python keeps them as halves of surrogate pairs), and
a console may support ASCII alone. Neither must end a command without a result.
"""

import io
import sys


def print_anything() -> None:
    r"""Print characters that the console lacks as escapes, such as `\u732b`.

    Every command line calls this first.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def as_utf8(text: str) -> str:
    r"""The text with escapes, such as `\udce9`, for what UTF-8 cannot represent."""
    return text.encode("utf-8", "backslashreplace").decode()
