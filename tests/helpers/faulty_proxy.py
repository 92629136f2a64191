"""An HTTP proxy on loopback that fails as networks do, when a test says so.

It stands in front of one server, passes requests on (about a gigabyte a second), and counts them.
Other processes set its faults with `set_faults`, through a path that no store has.
"""

import json
import random
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from io import BufferedReader
from urllib.request import Request, urlopen

CONTROL = "/-/faults"
PIECE = 1 << 18  # bytes read at once
REASONS = {429: "Too Many Requests", 503: "Service Unavailable"}


class Dropped(Exception):
    """The connection is to be closed where it is."""


@dataclass
class Fault:
    """What happens to requests whose `METHOD /path?query` contains the expression `match`.

    Of these, each is taken with `probability` (drawn from `seed`), and at most `times` altogether.
    """

    match: str = ""
    latency: float = 0.0  # seconds before a request is passed on
    bandwidth: float = 0.0  # bytes/s of all these requests together, both ways; 0: no limit
    drop_after: int | None = None  # bytes of either body; then the connection closes
    status: int = 0  # the answer, and the server sees nothing
    hang: float = 0.0  # seconds without an answer; then the connection closes
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    hits: int = 0

    def __post_init__(self):
        self._draw = random.Random(self.seed)
        self._lock = threading.Lock()
        self._free_at = 0.0

    def hit(self, request: str) -> bool:
        """Whether this request is taken; counts it."""
        with self._lock:
            if not re.search(self.match, request):
                return False
            if self.times is not None and self.hits >= self.times:
                return False
            if self._draw.random() >= self.probability:
                return False
            self.hits += 1
            return True

    def pace(self, size: int) -> None:
        """Wait until so many bytes more fit through."""
        if self.bandwidth:
            with self._lock:
                self._free_at = max(self._free_at, time.monotonic()) + size / self.bandwidth
                until = self._free_at
            time.sleep(max(0.0, until - time.monotonic()))


@dataclass
class FaultyProxy:
    """Passes HTTP requests on to `upstream`, a port on loopback, until `close`."""

    upstream: int
    port: int = 0
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)  # "METHOD /path?query", in order
    bytes: int = 0  # of bodies, both ways
    refusing_until: float = 0.0

    def __post_init__(self):
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        self._listener = self._listen()
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def address(self) -> str:
        """Where clients go instead of to the server."""
        return f"http://127.0.0.1:{self.port}"

    def set(self, *faults: Fault) -> None:
        """From now on these and no others; what hangs is let go."""
        self.faults = list(faults)

    @contextmanager
    def faulty(self, *faults: Fault) -> Iterator[tuple[Fault, ...]]:
        """These faults within the block, and no others; none after it."""
        self.set(*faults)
        try:
            yield faults
        finally:
            self.set()

    def forget(self) -> None:
        """No faults, nothing counted."""
        self.set()
        self.refusing_until = 0.0
        with self._lock:
            self.requests, self.bytes = [], 0

    def refuse(self, seconds: float) -> None:
        """Cut every connection, and refuse new ones for so long."""
        self.refusing_until = time.monotonic() + seconds
        self._wake()
        self._cut()

    def close(self) -> None:
        """Cut every connection and listen no more."""
        self._closed.set()
        self._wake()
        self._cut()
        self._acceptor.join()
        for thread in list(self._threads):
            thread.join()

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", self.port), backlog=128)

    def _wake(self) -> None:
        """`accept` of a closed socket would wait for ever: it gets a connection first."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass

    def _cut(self) -> None:
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closed.is_set():
                client.close()
                self._listener.close()
                return
            if time.monotonic() < self.refusing_until:
                client.close()
                self._listener.close()
                while time.monotonic() < self.refusing_until and not self._closed.is_set():
                    time.sleep(0.005)
                self._listener = self._listen()
                if self._closed.is_set():
                    self._listener.close()
                    return
                continue
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            with self._lock:
                self._threads.add(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        """All requests of one connection, over one connection to the server."""
        server = socket.create_connection(("127.0.0.1", self.upstream))
        both = {client, server}
        with self._lock:
            self._connections |= both
        for one in both:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        readers = client.makefile("rb", PIECE), server.makefile("rb", PIECE)
        with suppress(OSError, Dropped), client, server, readers[0], readers[1]:
            while self._exchange(client, server, *readers):
                pass
        with self._lock:
            self._connections -= both
            self._threads.discard(threading.current_thread())

    def _exchange(
        self,
        client: socket.socket,
        server: socket.socket,
        from_client: BufferedReader,
        from_server: BufferedReader,
    ) -> bool:
        """One request and its answer; false at the end of the connection."""
        first, headers = read_head(from_client)
        if not first:
            return False
        method, path, _ = first.split(" ", 2)
        if path == CONTROL:
            self._control(client, from_client, method, headers)
            return False
        name = f"{method} {path}"
        with self._lock:
            self.requests.append(name)
        hit = [fault for fault in list(self.faults) if fault.hit(name)]
        self._delay(hit)
        if headers.pop("expect", ""):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        for status in (fault.status for fault in hit if fault.status):
            self._pass_body(from_client, None, headers, hit)
            client.sendall(answer(status))
            return True
        server.sendall(write_head(first, headers))
        self._pass_body(from_client, server, headers, hit)
        first, answered = read_head(from_server)
        if not first:
            return False
        client.sendall(write_head(first, answered))
        status = int(first.split(" ", 2)[1])
        if method != "HEAD" and status not in (204, 304):
            ends = "content-length" in answered or "transfer-encoding" in answered
            self._pass_body(from_server, client, answered, hit, to_end=not ends)
        closes = {headers.get("connection", ""), answered.get("connection", "")}
        return "close" not in closes and not first.startswith("HTTP/1.0")

    def _delay(self, hit: list[Fault]) -> None:
        for fault in hit:
            time.sleep(fault.latency)
            until = time.monotonic() + fault.hang
            while time.monotonic() < until and not self._closed.is_set():
                if not any(fault is other for other in self.faults):
                    break
                time.sleep(0.005)
            if fault.hang:
                raise Dropped

    def _pass_body(
        self,
        source: BufferedReader,
        target: socket.socket | None,
        headers: Mapping[str, str],
        hit: list[Fault],
        to_end: bool = False,
    ) -> None:
        passed = 0
        drops = [fault.drop_after for fault in hit if fault.drop_after is not None]
        for piece in body(source, headers, to_end):
            ends = bool(drops) and passed + len(piece) >= min(drops)
            piece = piece[: min(drops) - passed] if ends else piece
            for fault in hit:
                fault.pace(len(piece))
            passed += len(piece)
            with self._lock:
                self.bytes += len(piece)
            if target is not None:
                target.sendall(piece)
            if ends:
                raise Dropped

    def _control(
        self, client: socket.socket, source: BufferedReader, method: str, headers: Mapping[str, str]
    ) -> None:
        sent = b"".join(body(source, headers))
        if method == "PUT":
            told = json.loads(sent)
            self.set(*(Fault(**values) for values in told["faults"]))
            if told.get("refuse"):
                threading.Thread(target=self.refuse, args=(told["refuse"],), daemon=True).start()
        state = {"requests": len(self.requests), "bytes": self.bytes}
        state["faults"] = [asdict(fault) for fault in self.faults]
        client.sendall(answer(200, json.dumps(state).encode()))


def read_head(source: BufferedReader) -> tuple[str, dict[str, str]]:
    """The first line and the headers, names in lower case; an empty line at the end."""
    first = source.readline().decode("latin-1").strip()
    headers: dict[str, str] = {}
    while line := source.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return first, headers


def write_head(first: str, headers: Mapping[str, str]) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def body(source: BufferedReader, headers: Mapping[str, str], to_end: bool = False):
    """The pieces of a body as they are on the wire."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = source.readline()
            yield line
            size = int(line.split(b";")[0] or b"0", 16)
            yield from pieces(source, size)
            yield source.readline()
            if not size:
                return
    yield from pieces(source, 1 << 62 if to_end else int(headers.get("content-length", 0)))


def pieces(source: BufferedReader, size: int) -> Iterator[bytes]:
    while size and (piece := source.read1(min(size, PIECE))):
        size -= len(piece)
        yield piece


def answer(status: int, content: bytes = b"") -> bytes:
    """An answer of the proxy itself."""
    first = f"HTTP/1.1 {status} {REASONS.get(status, 'Answer')}"
    return write_head(first, {"content-length": str(len(content))}) + content


def set_faults(address: str, *faults: Fault, refuse: float = 0.0) -> dict:
    """Set the faults of the proxy at `address` from any process; returns what it has counted."""
    told = json.dumps({"faults": [asdict(fault) for fault in faults], "refuse": refuse})
    request = Request(address + CONTROL, told.encode(), method="PUT")
    with urlopen(request) as found:
        return json.load(found)
