import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from requests import Session

from trading_pipeline.adapters.alpaca import transport
from trading_pipeline.adapters.alpaca.transport import Connection, Keys
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    PipelineError,
    RateLimited,
    RequestRefused,
    Unauthorized,
)

ROUTE = "GET /v2/account"


def test_the_clients_own_retries_are_off(trading, data):
    assert trading.client()._retry == 0
    assert data.client()._retry == 0


def test_a_client_without_its_private_handles_is_refused(connection):
    class Renamed:
        _retry = 3

    with pytest.raises(InvalidInput, match=r"Renamed has no _session.*requirements.lock"):
        transport._corrected(Renamed(), connection.trading_url, connection)


def test_keys_travel_in_headers_and_never_in_words(server, trading, keys, connection):
    server.on(ROUTE, status=422, text="refused")

    with pytest.raises(RequestRefused) as raised:
        trading.get("/account")

    sent = server.received[0].headers
    assert (sent["APCA-API-KEY-ID"], sent["APCA-API-SECRET-KEY"]) == (keys.key_id, keys.secret_key)
    assert not any(secret in f"{raised.value} {keys!r} {connection!r}" for secret in (keys.key_id, keys.secret_key))


@pytest.mark.parametrize("patience", [0.2])
@pytest.mark.parametrize("fault", ["silent", "drip", "reset", "cut"])
def test_a_server_that_never_finishes_is_given_up(server, trading, clock, fault, patience):
    server.on(ROUTE, {"cash": "1"}, fault=fault)

    with pytest.raises(DependencyUnavailable, match=r"failed 4 times in .*GET http://127.0.0.1:\d+/v2/account"):
        trading.get("/account")

    assert server.count(ROUTE) == 4
    assert len(clock.waits) == 3


def test_a_refused_connection_is_no_answer(keys, clock):
    api = transport.trading_api(keys, Connection("http://127.0.0.1:9", "http://127.0.0.1:9"), clock)

    with pytest.raises(DependencyUnavailable, match="ConnectionError"):
        api.get("/account")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (500, '{"code": 50010000, "message": "internal server error occurred"}'),
        (502, "<html>bad gateway</html>"),
        (503, ""),
        (504, ""),
        (408, ""),
        (200, ""),
        (200, '{"cash": "1'),
        (200, "<html>maintenance</html>"),
        (200, "1" * 5_000),
    ],
)
def test_a_read_is_repeated_after_a_broken_answer(server, trading, status, text):
    server.on(ROUTE, status=status, text=text).on(ROUTE, {"cash": "1"})

    assert trading.get("/account") == {"cash": "1"}
    assert server.count(ROUTE) == 2


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (401, '{"message": "unauthorized."}', Unauthorized),
        (401, "<html>401 from nginx</html>", Unauthorized),
        (403, '{"message": "subscription does not permit querying recent SIP data"}', Unauthorized),
        (403, '{"code": 40310000, "message": "insufficient buying power"}', RequestRefused),
        (404, "<html>not here</html>", RequestRefused),
        (400, '{"message": "invalid symbol"}', RequestRefused),
        (422, '["not", "an", "object"]', RequestRefused),
    ],
)
def test_a_refusal_is_not_repeated(server, trading, status, text, error):
    server.on(ROUTE, status=status, text=text)

    with pytest.raises(error, match=f"answered {status}"):
        trading.get("/account")

    assert server.count(ROUTE) == 1


def test_a_refusal_carries_the_code_and_the_words_of_alpaca(server, trading):
    server.on(ROUTE, {"code": 40310000, "message": "insufficient buying power"}, status=403)

    with pytest.raises(RequestRefused, match="insufficient buying power") as raised:
        trading.get("/account")

    assert raised.value.code == "40310000"


def test_a_long_error_page_is_cut(server, trading):
    server.on(ROUTE, status=400, text="x" * 100_000)

    with pytest.raises(RequestRefused) as raised:
        trading.get("/account")

    assert len(str(raised.value)) < 500


def test_too_many_requests_wait_for_the_reset_that_the_answer_names(server, trading, clock):
    reset = clock.now() + timedelta(seconds=7)
    server.on(ROUTE, {"message": "too many"}, status=429, X_RateLimit_Reset=str(int(reset.timestamp())))
    server.on(ROUTE, {"cash": "1"})

    assert trading.get("/account") == {"cash": "1"}
    assert clock.now() >= reset


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X_RateLimit_Reset": "1785531607"}, datetime(2026, 7, 31, 21, 0, 7, tzinfo=UTC)),
        ({"Retry_After": "Fri, 31 Jul 2026 22:00:00 GMT"}, datetime(2026, 7, 31, 22, tzinfo=UTC)),
        ({"X_RateLimit_Reset": "soon"}, None),
        ({"Retry_After": "later"}, None),
        ({}, None),
    ],
)
def test_too_many_requests_carry_the_instant_to_ask_again(server, trading, headers, expected):
    server.on("POST /v2/orders", status=429, text="<html></html>", **headers)

    with pytest.raises(RateLimited) as raised:
        trading.post("/orders", {})

    assert raised.value.retry_at == expected


def test_seconds_to_wait_count_from_the_answers_own_date(server, trading):
    server.on("POST /v2/orders", status=429, Retry_After="30")

    with pytest.raises(RateLimited) as raised:
        trading.post("/orders", {})

    ahead = raised.value.retry_at - datetime.now(UTC)  # noqa: TID251 - the server's Date is the machine's
    assert timedelta(seconds=0) < ahead <= timedelta(seconds=31)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server, trading, status):
    server.on(ROUTE, status=status, text="moved", Location="/elsewhere")

    with pytest.raises(InvalidInput, match=r"redirected to '/elsewhere'.*check the URL"):
        trading.get("/account")

    assert len(server.received) == 1


@pytest.mark.parametrize("patience", [0.2])
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "silent"},
        {"fault": "drip"},
        {"fault": "reset"},
        {"fault": "cut"},
        {"status": 500},
        {"status": 503},
        {"status": 504},
        {"status": 429, "X_RateLimit_Reset": "1"},
        {"status": 307, "Location": "/v2/orders"},
        {"text": "{"},
        {"text": ""},
    ],
    ids=json.dumps,
)
def test_a_post_leaves_once_whatever_happens_to_it(server, trading, fault, patience):
    server.on("POST /v2/orders", **fault)

    with pytest.raises(PipelineError):
        trading.post("/orders", {"symbol": "SPY"})

    assert len(server.received) == 1


def test_a_proxy_of_the_environment_does_not_capture_loopback(server, trading, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.on(ROUTE, {"cash": "1"})

    assert trading.get("/account") == {"cash": "1"}


def test_a_proxy_of_the_environment_is_used_for_alpaca_itself(keys):
    assert transport.trading_api(keys, Connection()).client()._session.trust_env
    assert transport.data_api(keys, Connection()).client()._session.trust_env


def test_a_connection_is_used_again(server, trading):
    server.on(ROUTE, {"cash": "1"})

    for _ in range(3):
        trading.get("/account")

    assert (server.connections, server.count(ROUTE)) == (1, 3)


def test_each_thread_has_a_client_of_its_own(trading):
    sessions: list[Session] = []

    def keep():
        sessions.append(trading.client()._session)
        sessions.append(trading.client()._session)

    for _ in range(2):
        thread = threading.Thread(target=keep)
        thread.start()
        thread.join()

    assert sessions[0] is sessions[1]
    assert sessions[1] is not sessions[2]


@pytest.mark.parametrize(
    "url",
    [
        "https://paper-api.alpaca.markets/",
        "https://paper-api.alpaca.markets/v2",
        "http://paper-api.alpaca.markets",
        "http://127.0.0.1.example.com",
        "ftp://127.0.0.1",
        "paper-api.alpaca.markets",
        "",
    ],
)
def test_an_address_to_which_keys_must_not_go_is_refused(url):
    with pytest.raises(InvalidInput, match="URL must be"):
        Connection(trading_url=url)
    with pytest.raises(InvalidInput, match="URL must be"):
        Connection(data_url=url)


@pytest.mark.parametrize(("key_id", "secret_key"), [("KEY", ""), ("", "secret"), ("", "")])
def test_empty_keys_are_refused(key_id, secret_key):
    with pytest.raises(Unauthorized, match="is empty: set both"):
        Keys(key_id, secret_key)


@pytest.mark.parametrize("secret_key", ["secret\n", " secret", "se cret", "s\u00e9cret", "secret\x00"])
def test_keys_that_no_header_can_carry_are_refused_without_being_quoted(secret_key):
    with pytest.raises(Unauthorized, match="copy it again") as raised:
        Keys("KEY", secret_key)

    assert "cret" not in str(raised.value).replace("secret key", "")
