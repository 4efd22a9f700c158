import socket
import threading
from contextlib import contextmanager

import pytest
from requests import Request

from trading_pipeline.adapters.bounded_http import BoundedAdapter, BoundedSession

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: balancer=7\r\n\r\n{}"


@contextmanager
def server(received, answers):
    """Answer one connection, request by request; ``received`` grows by what each reading of the socket brought."""

    def serve():
        peer, _ = listener.accept()
        with peer:
            for _ in range(answers):
                received.append(peer.recv(65_536))
                peer.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/orders"
        thread.join(60)


@pytest.fixture
def session():
    with BoundedSession(BoundedAdapter(lambda *_: None)) as session:
        session.trust_env = False
        yield session


def test_a_request_leaves_in_one_piece(session):
    received = []
    with server(received, 2) as url:
        assert session.post(url, json={"symbol": "SPY"}).json() == {}
        assert session.get(url).json() == {}

    posted, read = received
    assert posted.startswith(b"POST /orders HTTP/1.1\r\n")
    assert posted.endswith(b'\r\n\r\n{"symbol": "SPY"}')
    assert read.startswith(b"GET /orders HTTP/1.1\r\n")


def test_a_body_whose_length_is_not_known_leaves_whole(session):
    received = []
    with server(received, 1) as url:
        session.post(url, data=(part for part in (b"one", b"two")))

    assert received[0].endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_body_that_fails_while_it_is_made_leaves_the_connection_to_the_next(session):
    def failing():
        yield b"one"
        raise RuntimeError("half of it")

    received = []
    with server(received, 1) as url:
        with pytest.raises(RuntimeError, match="half of it"):
            session.post(url, data=failing())
        assert session.post(url, json={}).json() == {}

    assert received[0].endswith(b"\r\n\r\n{}")


def test_no_cookie_of_an_answer_is_sent_back(session):
    received = []
    with server(received, 2) as url:
        session.get(url)
        session.get(url)

    assert b"ookie" not in received[1]


def test_no_password_of_another_file_is_sent(session, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine api.example.com login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session.trust_env = True

    prepared = session.prepare_request(Request("GET", "https://api.example.com/orders"))

    assert "Authorization" not in prepared.headers


def test_a_requests_own_headers_count_before_those_of_the_session(session):
    prepared = session.prepare_request(
        Request("GET", "https://api.example.com/orders", headers={"user-agent": "ours"}, params={"limit": 5})
    )

    assert prepared.headers["User-Agent"] == "ours"
    assert prepared.headers["Accept-Encoding"] == session.headers["Accept-Encoding"]
    assert prepared.url == "https://api.example.com/orders?limit=5"
