import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.risk_watch import RISK_WATCH_KEY, StoredRiskWatch
from trading_pipeline.domain.risk.drawdown import DrawdownState, Reading, observed
from trading_pipeline.domain.risk.drawdown_limits import DrawdownLimits
from trading_pipeline.domain.risk.trading_pauses import MarketBreaker
from trading_pipeline.domain.risk.unit_value import CashFlow
from trading_pipeline.domain.risk.watch_state import WatchState

FRIDAY = date(2026, 7, 31)
NOON = datetime(2026, 7, 31, 16, tzinfo=UTC)


def watched(equities):
    """A state as looks leave it, with flows, highs, crossings and trips in it."""
    state = DrawdownState()
    for number, equity in enumerate(equities):
        flows = (CashFlow("one", Decimal("0.1"), FRIDAY),) if number else ()
        at = NOON + timedelta(seconds=7 * number)
        state = observed(state, Reading(at, FRIDAY, Decimal(equity), flows), DrawdownLimits()).state
    return WatchState("SIM1", FRIDAY, state, MarketBreaker(1, NOON), MarketBreaker(2, NOON), Decimal("1.10"), NOON)


@pytest.fixture
def store(tmp_path):
    return StoredRiskWatch(FileObjects(tmp_path))


def test_what_was_never_stored_is_an_empty_state_and_no_fault(store):
    assert (store.read().state, store.read().fault) == (WatchState(), "")


@given(st.lists(st.integers(1, 1000), max_size=6))
def test_a_state_is_read_back_as_it_was_by_another_process(tmp_path_factory, equities):
    folder, state = tmp_path_factory.mktemp("home"), watched(equities)
    store = StoredRiskWatch(FileObjects(folder))

    assert store.replace(store.read(), state)
    assert StoredRiskWatch(FileObjects(folder)).read().state == state


def test_a_state_of_the_first_version_is_read_and_what_it_did_not_know_is_not_so(store, tmp_path):
    state = watched([100, 99])
    store.replace(store.read(), state)
    [path] = tmp_path.rglob("risk_watch.json")
    body = path.read_bytes().split(b'"state":')[1].rstrip()[:-1].replace(b',"unread_told":false', b"")
    seal = hashlib.sha256(body).hexdigest().encode()
    path.write_bytes(b'{"schema_version":1,"sha256":"%b","state":%b}\n' % (seal, body))

    assert (store.read().state, store.read().fault) == (state, "")
    assert b"unread_told" not in path.read_bytes()


def test_of_two_looks_at_once_one_is_kept(store):
    store.replace(store.read(), watched([100]))
    one, other = store.read(), store.read()

    assert store.replace(one, watched([100, 99]))
    assert not store.replace(other, watched([100, 50]))
    assert store.read().state == watched([100, 99])


@pytest.mark.parametrize(
    ("what", "by"), [(b"SIM1", b"SIM2"), (b'_version":2,', b'_version":9,'), (b"}", b""), (b"0.1", b"0.2")]
)
def test_a_state_that_was_changed_is_a_fault_and_can_be_replaced(store, tmp_path, what, by):
    store.replace(store.read(), watched([100, 100, 100]))
    path = tmp_path / RISK_WATCH_KEY
    content = path.read_bytes()
    assert what in content
    path.write_bytes(content.replace(what, by, 1))

    found = store.read()

    assert found.state == WatchState()
    assert found.fault.startswith("state/risk_watch.json cannot be read: ")
    assert store.replace(found, replace(found.state, account_number="SIM1"))
    assert store.read().fault == ""
