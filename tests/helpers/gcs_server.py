"""`python -m tests.helpers.gcs_server`: GCS in memory; prints the port that it listens at.

It is gcp-storage-emulator, with what that lacks and tests of locks need:

- preconditions (`ifGenerationMatch`) and `generation`, checked and acted on in one step;
- uploads whose bytes arrive as they were sent, even if the last is a carriage return; nothing of
  those whose connection breaks off;
- objects that move (`moveTo`), and uploads that are given up;
- several connections at once, kept open between requests.

It ends with its standard input.
"""

import json
import re
import threading
from email.message import Message
from functools import partial
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator import server
from gcp_storage_emulator.storage import Storage

from tests.helpers.processes import QuietServer, serve

LOCK = threading.Lock()
READ_ELSE = server._read_data


class Memory(Storage):
    """Holds the objects of all buckets."""

    def _write_config_to_file(self):
        """All names as JSON at each change: nobody reads it."""


class Handler(server.RequestHandler):
    """Reads a request, answers it under the lock, and writes the answer."""

    protocol_version = "HTTP/1.1"

    def _answer(self, method: str) -> None:
        connection = self.rfile, self.wfile
        sent = whole_body(self.rfile, self.headers)
        if sent is None:
            self.close_connection = True
            return
        del self.headers["Transfer-Encoding"], self.headers["Content-Length"]
        self.headers["Content-Length"] = str(len(sent))
        self.rfile, self.wfile = BytesIO(sent), BytesIO()
        with LOCK:
            kind = self.headers.get("Content-Type", "")
            status = unmet(self.storage, method, self.path, kind, sent)
            if status:
                self._refuse(status)
            else:
                self._route(method)
        said = self.wfile.getvalue()
        self.rfile, self.wfile = connection
        self.wfile.write(said)

    def _route(self, method: str) -> None:
        """A move is answered as the copy that it begins with: clients look at its status alone."""
        moved = re.fullmatch(r"(.*/b/([^/]+)/o/([^/]+))/moveTo/o/([^/?]+)(.*)", self.path)
        if moved:
            self.path = f"{moved[1]}/rewriteTo/b/{moved[2]}/o/{moved[4]}{moved[5]}"
        server.Router(self).handle(method)
        if moved and self.wfile.getvalue().startswith(b"HTTP/1.1 200"):
            self.storage.delete_file(moved[2], unquote(moved[3]))

    def _refuse(self, status: int) -> None:
        content = json.dumps({"error": {"code": status, "message": "conditionNotMet"}}).encode()
        self.send_response(status, "")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self._answer("GET")

    def do_POST(self):
        self._answer("POST")

    def do_DELETE(self):
        self._answer("DELETE")

    def do_PUT(self):
        self._answer("PUT")

    def do_PATCH(self):
        self._answer("PATCH")


def whole_body(source: BinaryIO, headers: Message) -> bytes | None:
    """What a request carries; None if the connection ended before it."""
    if headers.get("Transfer-Encoding", "").lower() != "chunked":
        size = int(headers.get("Content-Length", 0))
        sent = source.read(size)
        return sent if len(sent) == size else None
    pieces = []
    while line := source.readline():
        size = int(line, 16)
        pieces.append(source.read(size))
        if not source.readline().endswith(b"\n"):
            break
        if not size:
            return b"".join(pieces)
    return None


def unmet(storage: Storage, method: str, path: str, kind: str, sent: bytes) -> int:
    """404 or 412 if a request asks for a generation that is not there, else 0.

    499 is the answer to whoever gives up a resumable upload.
    """
    split = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(split.query).items()}
    if method == "DELETE" and "upload_id" in query:
        return 499
    target = re.search(r"/b/([^/]+)/o(?:/([^/]+))?$", split.path)
    if target is None or not {"ifGenerationMatch", "generation"} & set(query):
        return 0
    name = unquote(target[2] or "") or query.get("name") or multipart(kind, sent)["meta"]["name"]
    there = storage.objects.get(target[1], {}).get(name, {}).get("generation", "0")
    if query.get("ifGenerationMatch", there) != there:
        return 412
    return 404 if query.get("generation", there) != there else 0


def multipart(kind: str, sent: bytes) -> dict[str, Any]:
    """Metadata, content and its type from the body of a `multipart/related` upload."""
    boundary = b"--" + kind.split("boundary=")[1].strip('"').encode()
    _, first, rest = sent.split(boundary, 2)
    _, described = re.split(rb"\r?\n\r?\n", first, maxsplit=1)
    head, content = re.split(rb"\r?\n\r?\n", rest, maxsplit=1)
    line_end = re.match(rb"\r?\n", head)
    assert line_end is not None
    (found,) = re.findall(rb"content-type: *([^\r\n]+)", head, re.IGNORECASE)
    return {
        "meta": json.loads(described),
        "content": content[: content.rindex(line_end[0] + boundary)],
        "content-type": found.decode(),
    }


def read_data(handler: Handler, query: dict[str, list[str]]) -> Any:
    """As the emulator reads a body, except for `multipart/related`."""
    kind = handler.headers.get("Content-Type", "")
    if kind.startswith("multipart/related"):
        return multipart(kind, handler.rfile.read())
    return READ_ELSE(handler, query)


if __name__ == "__main__":
    server._read_data = read_data
    serve(QuietServer(("127.0.0.1", 0), partial(Handler, Memory(use_memory_fs=True))))
