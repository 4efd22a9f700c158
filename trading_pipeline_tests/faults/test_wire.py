import http.client
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from trading_pipeline_tests.faults.wire import ACTIONS, FAULTS, KILLS, Request, Rule, proxied

BODY = b'{"client_order_id": "tp1-x", "status": "accepted"}'


class Upstream(ThreadingHTTPServer):
    def __init__(self):
        self.got = []
        super().__init__(("127.0.0.1", 0), _Answers)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.got.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.send_header("X-RateLimit-Remaining", "7")
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream():
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def wire(upstream):
    with proxied(f"http://127.0.0.1:{upstream.server_address[1]}") as opened:
        yield opened


def post(url):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", "/v2/orders", BODY)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def outcome(url):
    try:
        return post(url)
    except (OSError, http.client.HTTPException) as error:
        return type(error)


def test_what_no_rule_names_passes_as_it_is_and_is_remembered(wire, upstream):
    proxy, url = wire

    assert post(url) == (200, BODY)

    assert upstream.got == [BODY]
    assert [(request.kind, request.client_order_id) for request in proxy.passed] == [("submit", "tp1-x")]


@pytest.mark.parametrize("action", [name for name in ACTIONS if "before" in name] + ["silent"])
def test_what_is_stopped_before_never_arrives(wire, upstream, action):
    proxy, url = wire
    proxy.arm(Rule("submit", 1, action))

    answer = outcome(url)

    assert answer != (200, BODY)
    assert upstream.got == []


@pytest.mark.parametrize("action", ["500 after", "504 after", "reset after", "closed after", "truncated", "garbage"])
def test_what_is_stopped_after_has_arrived_and_its_answer_is_no_use(wire, upstream, action):
    proxy, url = wire
    proxy.arm(Rule("submit", 1, action))

    answer = outcome(url)

    assert answer != (200, BODY)
    assert upstream.got == [BODY]


def test_a_reset_is_a_reset(wire):
    proxy, url = wire
    proxy.arm(Rule("submit", 1, "reset before"))

    assert outcome(url) is ConnectionResetError


@pytest.mark.parametrize("action", ["late", "kill late"])
def test_what_is_late_arrives_when_its_sender_has_given_up(wire, upstream, action):
    proxy, url = wire
    proxy.arm(Rule("submit", 1, action))

    assert outcome(url) is ConnectionResetError

    assert proxy.rest(10)
    assert upstream.got == [BODY]


def test_a_slow_answer_comes_whole(wire):
    proxy, url = wire
    proxy.arm(Rule("submit", 1, "slow"))

    assert post(url) == (200, BODY)


@pytest.mark.parametrize("action", KILLS)
def test_a_kill_reaches_whoever_asks_once(wire, action):
    proxy, url = wire
    signals = []
    proxy.signal = signals.append
    proxy.arm(Rule("submit", 1, action))

    outcome(url)

    assert proxy.rest(10)
    assert signals == [signal.SIGKILL]


def test_asking_to_end_lets_the_request_through(wire, upstream):
    proxy, url = wire
    signals = []
    proxy.signal = signals.append
    proxy.arm(Rule("any", 1, "terminate"))

    assert post(url) == (200, BODY)

    assert signals == [signal.SIGTERM]


def test_a_rule_counts_from_its_arming_and_applies_as_often_as_it_says(wire):
    proxy, url = wire
    post(url)
    rule = Rule("submit", 2, "503 before", times=2)
    proxy.arm(rule)

    assert [post(url)[0] for _ in range(5)] == [200, 503, 503, 200, 200]

    late = Rule("submit", 1, "503 before", times=9)
    proxy.arm(late)
    proxy.disarm(late)
    assert post(url)[0] == 200


def test_every_fault_of_an_order_is_a_known_action_and_no_other_can_be_armed():
    assert set(FAULTS) | set(KILLS) == set(ACTIONS) - {"terminate"}
    with pytest.raises(ValueError, match="no action explode; there are 500 before"):
        Rule("submit", 1, "explode")


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v2/clock", "clock"),
        ("GET", "/v2/orders?status=all", "orders"),
        ("GET", "/v2/orders:by_client_order_id?client_order_id=x", "order"),
        ("GET", "/v2/orders/87a9", "order"),
        ("DELETE", "/v2/orders/87a9", "cancel"),
        ("GET", "/v2/assets", "other"),
    ],
)
def test_a_request_is_of_the_kind_that_its_method_and_path_say(method, path, kind):
    assert Request(method, path, {}, b"").kind == kind


def test_a_request_whose_sender_dies_in_the_middle_goes_nowhere(wire, upstream):
    proxy, url = wire
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.putrequest("POST", "/v2/orders")
    connection.putheader("Content-Length", "500")
    connection.endheaders(b'{"half": ')
    connection.close()

    assert post(url) == (200, BODY)

    assert len(proxy.passed) == 1
    assert not proxy.broken
