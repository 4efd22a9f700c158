import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from requests import Session

from trading_pipeline.adapters.alpaca import transport
from trading_pipeline.adapters.alpaca.transport import Connection, Keys
from trading_pipeline.adapters.bounded_http import BoundedAdapter
from trading_pipeline.adapters.circuit_breaker import BreakerRules
from trading_pipeline.adapters.metrics import NoMetrics
from trading_pipeline.adapters.resilience import CallRules, RetryPolicy, Verb
from trading_pipeline.domain.errors import (
    CircuitOpen,
    DependencyUnavailable,
    InvalidInput,
    PipelineError,
    RateLimited,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.settings import ResilienceSettings
from trading_pipeline_tests.simulator.conftest import serving

ROUTE = "GET /v2/account"


def test_the_clients_own_retries_are_off(trading, data):
    assert trading.client()._retry == 0
    assert data.client()._retry == 0


def test_a_client_without_its_private_handles_is_refused(connection):
    class Renamed:
        _retry = 3

    with pytest.raises(InvalidInput, match=r"Renamed has no _session.*requirements.lock"):
        transport._corrected(Renamed(), connection.trading_url, BoundedAdapter(lambda *_: None))


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


def told(remaining, limit=200, seconds=40):
    return {
        "X_RateLimit_Limit": str(limit),
        "X_RateLimit_Remaining": str(remaining),
        "X_RateLimit_Reset": str(int(datetime.now(UTC).timestamp()) + seconds),  # noqa: TID251 - the server's Date is
    }


def test_every_answer_tells_what_the_quota_leaves(server, trading):
    server.on(ROUTE, {"cash": "1"}, **told(150))
    server.on("POST /v2/orders", status=422, text="{}", **told(120))
    server.on("DELETE /v2/orders/1", status=204, **told(80))

    left = []
    trading.get("/account")
    left.append(trading.health().quota.remaining)
    with pytest.raises(RequestRefused):
        trading.post("/orders", {})
    left.append(trading.health().quota.remaining)
    trading.delete("/orders/1")
    left.append(trading.health().quota.remaining)

    assert left[0] == 150
    assert left[1] in {119, 120}
    assert left[2] in {79, 80}


def test_where_nothing_is_left_the_next_waits_for_the_reset(server, trading, clock):
    server.on(ROUTE, {"cash": "1"}, **told(0, seconds=20))

    trading.get("/account")
    trading.get("/account")

    assert 10 <= sum(clock.waits) <= 25


def test_every_way_out_is_counted(server, trading):
    server.on(ROUTE, status=500).on(ROUTE, {"cash": "1"})
    server.on("POST /v2/orders", {"id": "1"}).on("DELETE /v2/orders/1", status=204)

    trading.get("/account")
    trading.post("/orders", {})
    trading.delete("/orders/1")

    calls = trading.health().calls
    assert {verb: (kind.calls, kind.failures) for verb, kind in calls.items()} == {
        Verb.READ: (2, 1),
        Verb.ORDER: (1, 0),
        Verb.CANCEL: (1, 0),
    }
    assert sum(kind.calls for kind in calls.values()) == len(server.received)
    public = {name for name in vars(transport.Api) if not name.startswith("_")}
    assert public == {"client", "get", "post", "turn_to_post", "delete", "health"}, "count the new one here"


def test_an_api_that_keeps_failing_is_left_alone_but_for_cancellations(server, trading, clock):
    for route in (ROUTE, "POST /v2/orders", "DELETE /v2/orders/1"):
        server.on(route, status=503)

    for _ in range(2):
        with pytest.raises(DependencyUnavailable):
            trading.get("/account")
    with pytest.raises(CircuitOpen, match=r"trading reads are left alone since .* answered 503"):
        trading.get("/account")
    assert server.count(ROUTE) == 5

    for _ in range(6):
        with pytest.raises(DependencyUnavailable):
            trading.post("/orders", {})
        with pytest.raises(DependencyUnavailable):
            trading.delete("/orders/1")
    assert server.count("POST /v2/orders") == 5
    assert server.count("DELETE /v2/orders/1") == 6

    clock.wait(30)
    with pytest.raises(CircuitOpen):
        trading.get("/account")
    assert server.count(ROUTE) == 6


def test_refusals_leave_no_api_alone(server, trading):
    server.on("POST /v2/orders", status=403, text='{"code": 40310000, "message": "insufficient buying power"}')

    for _ in range(12):
        with pytest.raises(RequestRefused):
            trading.post("/orders", {})


def test_the_settings_of_each_kind_of_call_are_its_rules(keys, clock):
    chosen = ResilienceSettings(
        trading_read={"attempts": 2, "deadline_seconds": 7, "breaker_failures": 3},
        trading_order={"connect_seconds": 2, "answer_seconds": 4, "breaker_pause_seconds": 9},
        trading_quota={"requests_per_minute": 50, "burst": 5},
        market_data_read={"breaker_window_seconds": 11},
        market_data_quota={"requests_per_minute": 10_000},
    )
    connection = Connection(resilience=chosen)
    trading = transport.trading_api(keys, connection, clock)
    data = transport.data_api(keys, connection, clock)

    guards = trading._policy._guards
    assert guards[Verb.READ].rules.retry == RetryPolicy(attempts=2, deadline_seconds=7)
    assert guards[Verb.READ].rules.breaker == BreakerRules(failures=3)
    assert guards[Verb.ORDER].rules == CallRules(
        RetryPolicy(attempts=1, deadline_seconds=75), 2, 4, BreakerRules(pause_seconds=9)
    )
    assert guards[Verb.CANCEL].rules == CallRules(RetryPolicy(attempts=1, deadline_seconds=75), 2, 5)
    assert trading.health().quota.limit == 50
    assert data._policy._guards[Verb.READ].rules.breaker.window_seconds == 11
    assert data.health().quota.limit == 10_000
    assert list(data.health().calls) == [Verb.READ]


def test_metrics_are_told_of_calls_and_quota(server, keys, connection, clock):
    told_metrics = []

    class Metrics(NoMetrics):
        def count(self, name, value=1, **labels):
            told_metrics.append((name, labels))

        def gauge(self, name, value, **labels):
            told_metrics.append((name, value, labels))

    server.on(ROUTE, {"cash": "1"}, **told(99))
    transport.trading_api(keys, connection, clock, Metrics()).get("/account")

    assert told_metrics == [
        ("dependency_calls", {"dependency": "trading", "verb": "read"}),
        ("rate_limit_remaining", 99, {"dependency": "trading"}),
    ]


def test_the_simulators_limit_is_learned_and_never_exceeded(tmp_path):
    with serving(tmp_path, rate_limit=40) as simulator:
        api = transport.trading_api(Keys(*simulator.keys), Connection(simulator.url, simulator.url))
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: api.get("/clock"), range(24)))

    assert len(answers) == 24
    health = api.health()
    assert (health.quota.limit, health.calls[Verb.READ].failures, health.calls[Verb.READ].retries) == (40, 0, 0)
