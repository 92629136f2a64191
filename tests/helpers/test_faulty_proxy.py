"""The proxy does to requests what a test asks for, and nothing else."""

import threading
import time
from http.client import HTTPConnection, HTTPException, IncompleteRead
from http.server import BaseHTTPRequestHandler

import pytest

from tests.helpers.faulty_proxy import Fault, FaultyProxy, set_faults
from tests.helpers.processes import QuietServer


class Echo(BaseHTTPRequestHandler):
    """Answers with the body that it was sent, or 100 kB."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))) or bytes(100_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_PUT = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def echo():
    with QuietServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def proxy(echo):
    proxy = FaultyProxy(echo)
    yield proxy
    proxy.close()


def ask(proxy, path="/x", method="GET", sent=None) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=20)
    try:
        connection.request(method, path, sent)
        found = connection.getresponse()
        return found.status, found.read()
    finally:
        connection.close()


def test_without_faults_all_passes_and_is_counted(proxy):
    assert ask(proxy, "/a", "PUT", b"sent") == (200, b"sent")
    assert ask(proxy, "/b?c=d") == (200, bytes(100_000))
    assert proxy.requests == ["PUT /a", "GET /b?c=d"] and proxy.bytes == 100_008


def test_a_connection_takes_several_requests(proxy):
    connection = HTTPConnection("127.0.0.1", proxy.port)
    for number in range(3):
        connection.request("PUT", "/x", b"%d" % number)
        assert connection.getresponse().read() == b"%d" % number
    connection.close()


def test_the_next_requests_are_answered_with_an_error(proxy):
    with proxy.faulty(Fault(status=503, times=2)) as (fault,):
        assert [ask(proxy)[0] for _ in range(3)] == [503, 503, 200]
        assert fault.hits == 2
    with proxy.faulty(Fault("^PUT /a", status=429)):
        assert [ask(proxy, "/a", how, b"x")[0] for how in ("PUT", "GET")] == [429, 200]


def test_errors_with_a_probability_repeat_with_the_seed(proxy):
    def drawn():
        with proxy.faulty(Fault(status=503, probability=0.5, seed=1)):
            return [ask(proxy)[0] for _ in range(20)]

    first = drawn()
    assert first == drawn() and 3 < first.count(503) < 17


def test_a_body_ends_in_the_middle(proxy):
    with proxy.faulty(Fault(drop_after=1000)):
        with pytest.raises(IncompleteRead) as caught:
            ask(proxy)
        assert len(caught.value.partial) == 1000
        with pytest.raises((HTTPException, OSError)):
            ask(proxy, "/a", "PUT", bytes(5000))
    assert ask(proxy)[0] == 200


def test_latency_and_bandwidth_take_their_time(proxy):
    for fault in (Fault(latency=0.2), Fault(bandwidth=500_000)):
        start = time.monotonic()
        with proxy.faulty(fault):
            assert ask(proxy)[0] == 200
        assert time.monotonic() - start >= 0.19


def test_connections_are_refused_for_a_while(proxy):
    proxy.refuse(0.3)
    refused = False
    while True:
        try:
            assert ask(proxy)[0] == 200
            break
        except OSError:
            refused = True
            time.sleep(0.02)
    assert refused


def test_what_hangs_is_let_go_without_an_answer(proxy):
    proxy.set(Fault(hang=60))
    threading.Timer(0.2, proxy.set).start()
    with pytest.raises((HTTPException, OSError)):
        ask(proxy)
    assert ask(proxy)[0] == 200


def test_another_process_sets_the_faults(proxy):
    counted = set_faults(proxy.address, Fault("/a", status=503))
    assert counted["requests"] == 0 and counted["faults"][0]["status"] == 503
    assert [ask(proxy, path)[0] for path in ("/a", "/b")] == [503, 200]
    assert set_faults(proxy.address)["requests"] == 2
