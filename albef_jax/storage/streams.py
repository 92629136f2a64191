"""An object as a stream of bytes that reads ahead, further the longer it is read in order."""

import io
from collections.abc import Callable

_FIRST, _MOST = 1 << 18, 1 << 23  # bytes of a request


class Stream(io.RawIOBase):
    """A raw binary file. Who skips parts of it, as a walk over large members, does not read them.

    Args:
        read: the bytes of an offset and a size.
        size: of the object, in bytes.
    """

    def __init__(self, read: Callable[[tuple[int, int]], bytes], size: int):
        super().__init__()
        self._read, self._size = read, size
        self._at = 0
        self._start, self._window = 0, memoryview(b"")
        self._next = _FIRST

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position in bytes."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, also beyond the end; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def readinto(self, buffer) -> int:
        """Fill a buffer with what follows; returns how much, 0 at the end."""
        end = self._start + len(self._window)
        if not self._start <= self._at < end:
            if self._at >= self._size:
                return 0
            near = self._at - end < self._next and end > 0
            self._next = min(2 * self._next, _MOST) if near else _FIRST
            wanted = max(self._next, len(buffer))
            span = self._at, min(wanted, self._size - self._at)
            self._start, self._window = self._at, memoryview(self._read(span))
        offset = self._at - self._start
        found = self._window[offset : offset + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)
