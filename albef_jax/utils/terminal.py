"""Text for consoles and pages that cannot show every character.

A file name may hold bytes that are no UTF-8 (Python keeps them as halves of surrogate pairs), and
a console may know ASCII alone. Neither is a reason to end without a result.
"""

import io
import sys


def print_anything() -> None:
    r"""Have this process print what its console lacks as an escape, as `\u732b`.

    Every command line calls this first.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def as_utf8(text: str) -> str:
    r"""The text with what UTF-8 cannot hold as an escape, as `\udce9`."""
    return text.encode("utf-8", "backslashreplace").decode()
