"""`python -m tests.helpers.s3_server`: Moto's S3 in memory; prints the port that it listens at.

It ends with its standard input.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wsgi import get_input_stream

from tests.helpers.processes import serve

APPLICATION = DomainDispatcherApplication(create_backend_app)
LOCK = threading.Lock()


def one_at_a_time(environ: dict[str, Any], start: Callable) -> Iterable[bytes]:
    """A precondition and what it guards are one step; slow clients hold up nobody."""
    sent = get_input_stream(environ).read()
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(sent), str(len(sent))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    with LOCK:
        return list(APPLICATION(environ, start))


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serve(make_server("127.0.0.1", 0, one_at_a_time, threaded=True))
