"""A file that grows, kept in a bucket in parts: nothing can be appended to an object.

A part is named by the byte that it begins with. Read in order, each where the one before it ends,
they are the file; a part that does not fit is left from before, and ignored. So every order of
writing and deleting that is used here may be broken off at any point.
"""

import zlib
from pathlib import Path

from albef_jax.storage.bucket import BucketFolder

_MOST = 64  # parts, until they are written as one


class AppendedFile:
    """Writes what was appended to a local file as parts, and joins them.

    Args:
        file: local; only whole lines count.
        folder: of its parts.
    """

    def __init__(self, file: Path, folder: BucketFolder):
        self._file, self._folder = file, folder
        self._length, self._checksum = 0, 0
        self._parts: list[int] = []

    def fetch(self) -> None:
        """Write the joined parts to the local file; none without parts."""
        content, self._parts = joined(self._folder)
        self._length, self._checksum = len(content), zlib.crc32(content)
        if content:
            self._file.write_bytes(content)

    def upload(self) -> None:
        """Write what the parts lack, or all again if the file was cut or changed."""
        if not self._file.is_file():
            return
        content = self._file.read_bytes()
        content = content[: content.rfind(b"\n") + 1]
        grown = zlib.crc32(content[: self._length]) == self._checksum
        grown = grown and len(content) >= self._length
        if grown and len(content) == self._length:
            return
        if grown and len(self._parts) < _MOST:
            self._folder.write(_named(self._length), content[self._length :])
            self._parts.append(self._length)
        else:
            # The whole first: until the others are gone, they do not fit, or repeat what is there.
            self._folder.write(_named(0), content)
            self._folder.delete(name for name in self._folder.entries() if name != _named(0))
            self._parts = [0]
        self._length, self._checksum = len(content), zlib.crc32(content)


def joined(folder: BucketFolder) -> tuple[bytes, list[int]]:
    """The content of the parts that follow each other, and where each begins."""
    there = set(folder.entries())
    content, begins = b"", []
    while (name := _named(len(content))) in there:
        part = folder.read(name)
        if not part:
            break
        begins.append(len(content))
        content += part
    return content, begins


def _named(begin: int) -> str:
    return f"{begin:015d}"
