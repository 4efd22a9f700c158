import json
import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_pipeline.domain.errors import RequestRefused
from trading_pipeline.simulator.fault_rules import ACTIONS, Facts, FaultTable
from trading_pipeline.simulator.refusals import NAMED
from trading_pipeline_tests.waiting import PATIENCE, eventually

MORNING = datetime.fromisoformat("2026-07-27T10:00-04:00")
NOON = datetime.fromisoformat("2026-07-27T12:00-04:00")
POST = {"method": "POST", "path_re": "^/v2/orders$"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, start_serving):
    with start_serving(tmp_path_factory.mktemp("faults"), start=MORNING) as served:
        yield served


@pytest.fixture
def faulty(shared):
    """Monday morning, without rules and without orders."""
    shared.control.reset()
    return shared


def exists(served, client_order_id):
    reply = served.request("GET", "/v2/orders:by_client_order_id", params={"client_order_id": client_order_id})
    assert reply.status_code in (200, 404)
    return reply.status_code == 200


def small(served, name, **extra):
    """Send an order that stays open and costs little."""
    return served.order(qty="1", type="limit", limit_price="1", client_order_id=name, **extra)


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (429, {"code": 42910000, "message": "rate limit exceeded"}),
        (500, {"code": 50010000, "message": "internal server error occurred"}),
        (502, "<html>502 Bad Gateway</html>"),
        (503, ""),
        (504, ""),
    ],
)
def test_a_status_before_the_endpoint_leaves_no_order(faulty, status, content):
    faulty.control.add_fault(action="status", status=status, match=POST, times=1)

    reply = small(faulty, f"status {status}")

    assert reply.status_code == status
    assert (reply.json() if isinstance(content, dict) else reply.text) == content
    assert not exists(faulty, f"status {status}")
    assert small(faulty, f"status {status}").ok


def test_a_market_data_request_is_limited_in_words_of_its_own(faulty):
    faulty.control.add_fault(action="status", status=429, match={"path_re": "^/v2/stocks"})

    reply = faulty.request("GET", "/v2/stocks/quotes/latest", params={"symbols": "SPY"})

    assert reply.json() == {"message": "too many requests."}


def test_a_status_may_bring_headers_and_a_body_or_lack_the_rate_limit(faulty):
    told = {"Retry-After": "7", "X-RateLimit-Remaining": "0"}
    faulty.control.add_fault(action="status", status=429, headers=told, times=1)
    faulty.control.add_fault(action="status", status=418, body={"message": "tea"}, times=1)
    faulty.control.add_fault(action="status", status=429, bare=True, headers={"A": "b"}, body="slow", times=1)

    first, second, third = (faulty.request("GET", "/v2/account") for _ in range(3))

    assert {name: first.headers[name] for name in told} == told
    assert (second.status_code, second.json()) == (418, {"message": "tea"})
    assert (third.text, third.headers["A"]) == ("slow", "b")
    assert not [name for name in third.headers if name.lower().startswith("x-ratelimit")]


def test_an_order_can_be_accepted_and_answered_with_a_gateway_timeout(faulty):
    faulty.control.add_fault(action="accept_then_status", match=POST, times=1)

    assert small(faulty, "lost ack").status_code == 504
    assert exists(faulty, "lost ack")


@pytest.mark.parametrize(("action", "accepted"), [("accept_then_reset", True), ("reset", False), ("late_accept", True)])
def test_a_connection_is_reset_without_a_byte(faulty, action, accepted):
    extra = {"seconds": 0.05} if action == "late_accept" else {}
    faulty.control.add_fault(action=action, match=POST, times=1, **extra)

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        small(faulty, action)

    if accepted:
        eventually(lambda: exists(faulty, action))
    assert exists(faulty, action) is accepted


def test_a_late_order_is_not_there_at_first_and_is_there_later(faulty):
    faulty.control.add_fault(action="late_accept", seconds=0.5, status=504, match=POST, times=1)

    reply = small(faulty, "late")
    first = exists(faulty, "late")
    eventually(lambda: exists(faulty, "late"))

    assert (reply.status_code, first) == (504, False)


def test_an_answer_is_cut_in_the_middle_of_its_body(faulty):
    faulty.control.add_fault(action="accept_then_cut", match=POST, times=1)

    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)) as failure:
        small(faulty, "cut")

    assert "IncompleteRead" in str(failure.value)
    assert exists(faulty, "cut")


def test_an_answer_without_a_body_is_cut_by_a_reset(faulty):
    order = small(faulty, "cut cancel").json()
    faulty.control.add_fault(action="accept_then_cut", match={"method": "DELETE"}, times=1)

    with pytest.raises(requests.ConnectionError):
        faulty.request("DELETE", f"/v2/orders/{order['id']}")

    assert faulty.get(f"/v2/orders/{order['id']}")["status"] == "canceled"


@pytest.mark.parametrize(("action", "accepted"), [("hang", False), ("accept_then_hang", True)])
def test_silence_outlasts_the_patience_of_the_client(faulty, action, accepted):
    faulty.control.add_fault(action=action, seconds=60, match=POST, times=1)

    with pytest.raises(requests.ReadTimeout):
        faulty.request("POST", "/v2/orders", json=_body(action), timeout=0.3)

    assert exists(faulty, action) is accepted


@pytest.mark.parametrize("action", ["hang", "accept_then_hang"])
def test_silence_ends_with_a_reset(faulty, action):
    faulty.control.add_fault(action=action, seconds=0.05, times=1)

    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        faulty.request("GET", "/v2/account")


def _body(name):
    order = {"symbol": "SPY", "side": "buy", "type": "limit", "time_in_force": "day", "qty": "1", "limit_price": "1"}
    return {**order, "client_order_id": name}


def test_a_dripping_answer_is_whole_in_the_end(faulty):
    faulty.control.add_fault(action="drip", interval=0, match={"path_re": "^/v2/clock"}, times=1)

    assert faulty.get("/v2/clock")["is_open"]


def test_a_dripping_answer_can_be_left(faulty):
    faulty.control.add_fault(action="drip", interval=0.05, times=1)

    reply = faulty.request("GET", "/v2/account", stream=True)
    first = next(reply.iter_content(1))
    reply.close()

    assert first == b"{"
    assert faulty.get("/v2/account")


@pytest.mark.parametrize("kind", ["truncated", "object", "html", "empty"])
def test_a_good_order_can_get_an_answer_that_nobody_can_read(faulty, kind):
    faulty.control.add_fault(action="garbage", kind=kind, match=POST, times=1)

    reply = small(faulty, f"garbage {kind}")

    assert reply.status_code == 200
    if kind == "object":
        assert reply.json() == {}
    else:
        with pytest.raises(requests.JSONDecodeError):
            reply.json()
    assert exists(faulty, f"garbage {kind}")


def test_fields_of_an_answer_change_go_and_come_in_every_row(faulty):
    small(faulty, "changed one"), small(faulty, "changed two")
    for rule in (
        {"action": "unknown_enum", "field": "status", "value": "brand_new"},
        {"action": "drop_field", "field": "symbol"},
        {"action": "extra_field", "field": "mood", "value": 3},
    ):
        faulty.control.add_fault(**rule, match={"path_re": "^/v2/orders$", "method": "GET"}, times=1)

    changed, dropped, extra = (faulty.get("/v2/orders") for _ in range(3))

    assert {row["status"] for row in changed} == {"brand_new"}
    assert not any("symbol" in row for row in dropped)
    assert {row["mood"] for row in extra} == {3}
    assert "mood" not in faulty.get("/v2/orders")[0]


def test_an_error_and_an_empty_answer_keep_their_fields(faulty):
    order = small(faulty, "kept fields").json()
    faulty.control.add_fault(action="extra_field")

    assert faulty.request("GET", "/v2/positions/SPY").json().keys() == {"code", "message"}
    assert faulty.request("DELETE", f"/v2/orders/{order['id']}").content == b""


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_named_refusal_reads_like_the_recorded_one(faulty, samples, name):
    recorded = {row["name"]: row for row in json.loads((samples / "errors.json").read_text())["errors"]}[name]
    faulty.control.add_fault(action="reject", name=name, match={"symbol": "LEU"}, times=1)

    reply = small(faulty, f"reject {name}", symbol="LEU")

    assert reply.status_code == recorded["status"]
    assert reply.json().keys() == recorded["body"].keys()
    assert reply.json().get("code") == recorded["body"].get("code")
    assert not exists(faulty, f"reject {name}")


def test_a_duplicate_can_be_claimed(faulty):
    faulty.control.add_fault(action="duplicate_cid", times=1)

    reply = small(faulty, "no duplicate")

    assert (reply.status_code, reply.json()["code"]) == (422, 40010001)
    assert not exists(faulty, "no duplicate")


def test_recent_sip_data_can_be_refused_and_iex_is_not(faulty):
    faulty.control.add_fault(action="sip_403")

    refused = faulty.request("GET", "/v2/stocks/quotes/latest", params={"symbols": "SPY"})
    allowed = faulty.request("GET", "/v2/stocks/quotes/latest", params={"symbols": "SPY", "feed": "iex"})

    assert (refused.status_code, "SIP" in refused.json()["message"], allowed.status_code) == (403, True, 200)


def test_a_page_of_bars_can_repeat_for_ever_and_a_later_page_can_fail(faulty):
    query = {"symbols": "QQQ,SPY", "timeframe": "1Day", "start": "2026-07-20", "limit": 3}
    repeat = faulty.control.add_fault(action="page_repeat")
    first = faulty.get("/v2/stocks/bars", **query)
    second = faulty.get("/v2/stocks/bars", **query, page_token=first["next_page_token"])
    last = faulty.get("/v2/stocks/bars", **{**query, "limit": 1000})
    faulty.control.clear_faults()
    faulty.control.add_fault(action="page_fail", status=500, match={"nth": 1})

    assert repeat
    assert first == second
    assert last["next_page_token"]
    fresh = faulty.get("/v2/stocks/bars", **query)
    failed = faulty.request("GET", "/v2/stocks/bars", params={**query, "page_token": fresh["next_page_token"]})
    assert failed.status_code == 500
    assert faulty.get("/v2/stocks/bars", **query, page_token=fresh["next_page_token"])["bars"]


def test_a_page_of_orders_can_repeat(faulty):
    rows = [small(faulty, f"page {number}").json() for number in range(3)]
    asked = {"direction": "asc", "limit": 1, "status": "all"}
    first = faulty.get("/v2/orders", **asked)
    faulty.control.add_fault(action="page_repeat", match={"path_re": "^/v2/orders"})

    assert faulty.get("/v2/orders", **asked, after=rows[1]["submitted_at"]) == first


def test_the_clock_and_the_date_can_be_off(faulty):
    true = faulty.request("GET", "/v2/clock")
    faulty.control.add_fault(action="clock_skew", seconds=-3600)
    off, other = faulty.request("GET", "/v2/clock"), faulty.request("GET", "/v2/account")

    told = [datetime.fromisoformat(reply.json()["timestamp"]) for reply in (off, true)]
    dates = [datetime.strptime(reply.headers["Date"], "%a, %d %b %Y %H:%M:%S %Z") for reply in (other, true)]  # noqa: DTZ007 - both are GMT
    assert told[0] - told[1] == timedelta(hours=-1)
    assert timedelta(minutes=-61) < dates[0] - dates[1] < timedelta(minutes=-59)


def test_maintenance_is_a_window_of_simulated_time(start_serving, tmp_path):
    with start_serving(tmp_path, start=NOON) as served:
        window = [(NOON + timedelta(minutes=minutes)).isoformat() for minutes in (10, 20)]
        served.control.add_fault(action="maintenance", match={"between": window})
        statuses = []
        for _ in range(3):
            statuses.append(served.request("GET", "/v2/account").status_code)
            served.control.advance(timedelta(minutes=10))

    assert statuses == [200, 503, 200]


@pytest.mark.parametrize(("when", "accepted"), [("before", False), ("after", True)])
def test_a_process_is_killed_at_the_moment_of_its_request(faulty, when, accepted):
    victim = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    faulty.control.add_fault(action="kill", pid=victim.pid, when=when, match=POST, times=1)

    with victim.stdin, pytest.raises(requests.ConnectionError):
        small(faulty, f"killed {when}")

    assert victim.wait(PATIENCE) == -9
    assert exists(faulty, f"killed {when}") is accepted


def test_a_process_that_has_gone_already_cannot_be_killed_and_its_request_is_lost(faulty):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE)
    faulty.control.add_fault(action="kill", pid=gone.pid, times=1)

    with pytest.raises(requests.ConnectionError):
        faulty.request("GET", "/v2/account")


def test_rules_match_what_a_request_is_about(faulty):
    faulty.control.add_fault(action="pass", match={"symbol": "LEU"})
    faulty.control.add_fault(action="pass", match={"client_order_id_re": "^about-"})
    faulty.control.add_fault(action="pass", match={"account": "SIM000000000"})
    order = small(faulty, "about-1", symbol="LEU").json()

    faulty.get(f"/v2/orders/{order['id']}")
    faulty.get("/v2/orders:by_client_order_id", client_order_id="about-1")
    faulty.get("/v2/stocks/quotes/latest", symbols="SPY,LEU")
    faulty.request("GET", "/v2/positions/LEU"), faulty.get("/v2/assets/LEU"), faulty.get("/v2/assets/SPY")
    faulty.request("POST", "/v2/orders", data=b"["), faulty.request("POST", "/v2/orders", data=b"{")

    assert [rule["applied"] for rule in faulty.control.faults()] == [6, 3, 0]
    assert {entry["action"] for entry in faulty.control.fault_log()} == {"pass"}


def test_a_matching_request_passes_the_next_rule_too_until_one_decides(faulty):
    for action in ("pass", "status", "pass"):
        faulty.control.add_fault(action=action, match={"path_re": "^/v2/account$"})

    assert faulty.request("GET", "/v2/account").status_code == 503
    assert [rule["applied"] for rule in faulty.control.faults()] == [1, 1, 0]


def facts(number=0):
    return Facts("GET", f"/v2/orders/{number}", "SIM1", NOON)


@pytest.mark.parametrize(
    ("match", "times", "hits"),
    [
        ({"nth": 3}, None, [3]),
        ({"every": 4}, None, [4, 8]),
        ({}, 2, [1, 2]),
        ({"every": 2}, 2, [2, 4]),
        ({"method": "POST"}, None, []),
        ({"path_re": "[57]$"}, None, [5, 7]),
    ],
)
def test_a_rule_picks_among_the_requests_it_is_about(match, times, hits):
    table = FaultTable()
    table.add({"action": "status", "match": match, "times": times})

    assert [number for number in range(1, 11) if table.applying(facts(number))] == hits


def test_the_same_seed_draws_the_same_requests():
    def drawn(seed):
        table = FaultTable(seed)
        table.add({"action": "status", "match": {"probability": 0.3}})
        return [bool(table.applying(facts())) for _ in range(400)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert 80 < sum(drawn(1)) < 160


def test_the_draws_begin_anew_with_a_seed(faulty):
    faulty.control.add_fault(action="status", match={"probability": 0.5})

    def statuses():
        faulty.control.seed(5)
        return [faulty.request("GET", "/v2/clock").status_code for _ in range(20)]

    assert statuses() == statuses()


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"action": "explode"}, ", ".join(sorted(ACTIONS))),
        ({}, "accept_then_cut"),
        ({"action": 3}, "accept_then_cut"),
        ({"action": "status", "code": 3}, "status, headers, body, bare"),
        ({"action": "status", "match": {"verb": "GET"}}, "method, path_re, symbol"),
        ({"action": "status", "match": "GET"}, "match is an object"),
        ({"action": "status", "status": 99}, "an HTTP status from 200 to 599"),
        ({"action": "status", "headers": 3}, "header names"),
        ({"action": "status", "bare": 1}, "true or false"),
        ({"action": "status", "times": 0}, "whole number from 1"),
        ({"action": "status", "match": {"path_re": "("}}, "cannot be"),
        ({"action": "status", "match": {"path_re": 3}}, "a text"),
        ({"action": "status", "match": {"nth": True}}, "whole number"),
        ({"action": "status", "match": {"probability": 2}}, "between 0 and 1"),
        ({"action": "status", "match": {"between": ["2026-07-27T12:00-04:00"]}}, "two instants"),
        ({"action": "status", "match": {"between": ["2026-07-27T12:00", "2026-07-27"]}}, "offset"),
        ({"action": "hang", "seconds": -1}, "from 0 on"),
        ({"action": "kill"}, "whole number"),
        ({"action": "kill", "pid": 1}, "process 1"),
        ({"action": "kill", "pid": 99, "when": "later"}, "before, after"),
        ({"action": "partial", "fractions": []}, "list of fractions"),
        ({"action": "partial", "fractions": ["2"]}, "above 0"),
        ({"action": "stuck", "status": "filled"}, "pending_new, accepted"),
        ({"action": "reject", "name": "odd"}, "insufficient_buying_power"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused_with_what_can_be(faulty, rule, named):
    with pytest.raises(RequestRefused) as refused:
        faulty.control.add_fault(**rule)

    assert refused.value.code == "400"
    assert named in str(refused.value)
    assert faulty.control.faults() == []


# What comes of an order: whether it is there, and whether an answer tells so.
OUTCOMES = {
    "pass": (True, True),
    "status": (False, False),
    "reject": (False, False),
    "duplicate_cid": (False, False),
    "reset": (False, False),
    "accept_then_status": (True, False),
    "accept_then_cut": (True, False),
    "accept_then_reset": (True, False),
    "garbage": (True, False),
    "partial": (True, True),
    "reject_later": (True, True),
}


@settings(max_examples=200 if os.environ.get("FULL") else 8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(sorted(OUTCOMES)), st.booleans()), min_size=3, max_size=12))
def test_whatever_goes_wrong_an_order_is_there_once_or_not_at_all(faulty, taken):
    faulty.control.reset()
    wanted = []
    for number, (action, again) in enumerate(taken):
        exists_then, told = OUTCOMES[action]
        faulty.control.add_fault(action=action, match={**POST, "client_order_id_re": f"^any-{number}$"}, times=1)
        assert (_answered(faulty, f"any-{number}") == f"any-{number}") is told
        if again:
            # Sent again under the same id: taken if it was not there, refused as a duplicate if it was.
            assert (_answered(faulty, f"any-{number}") is None) is exists_then
        wanted += [f"any-{number}"] if exists_then or again else []
    events = faulty.control.events()

    assert [order["client_order_id"] for order in faulty.control.state()["orders"]] == wanted
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert sum(rule["applied"] for rule in faulty.control.faults()) == len(taken)


def _answered(served, name):
    try:
        return small(served, name).json().get("client_order_id")
    except requests.RequestException:
        return None


def test_the_control_plane_itself_never_goes_wrong(faulty):
    faulty.control.add_fault(action="reset")

    assert faulty.control.health()["pid"] == os.getpid()
    assert faulty.control.faults()[0]["seen"] == 0
