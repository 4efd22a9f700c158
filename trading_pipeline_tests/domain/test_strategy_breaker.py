from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import SleeveStatus, allocate, breaker_of
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.signals import Signal, SignalStatus
from trading_pipeline.domain.strategy_breaker import CLOSED, BreakerRules, BreakerStatus, breaker_on

FIRST = date(2026, 7, 1)
DAYS = sessions.sessions_between(FIRST, date(2026, 8, 31))
SHARES = {"steady": 0.25, "frail": 0.75}
WEIGHTS = {"steady": {"SPY": 1.0}, "frail": {"TECL": 1.0}}


def signal(strategy, session, *, is_known):
    if is_known:
        return Signal(strategy, session, SignalStatus.AVAILABLE, WEIGHTS[strategy], None, "00")
    return Signal(strategy, session, SignalStatus.UNAVAILABLE, {}, "rsi(KMLM,10) is missing", "00")


def history(known, rules, shares=SHARES):
    """The allocations of consecutive sessions on which the frail strategy has a signal, or has none."""
    found = []
    for session, is_known in zip(DAYS, known, strict=False):
        signals = [signal(name, session, is_known=is_known or name == "steady") for name in shares]
        found.append(
            allocate(
                session,
                signals,
                shares,
                found[-1] if found else None,
                safe_asset=rules.safe_asset,
                max_carried_sessions=rules.failures - 1,
                cool_down_sessions=rules.cool_down_sessions,
                safe_assets=rules.safe_assets,
            )
        )
    return found


def told(known, **rules):
    """One letter a session: Decided, carried (.), or parked (P)."""
    letters = {SleeveStatus.DECIDED: "D", SleeveStatus.CARRIED: ".", SleeveStatus.FALLBACK: "P", SleeveStatus.CASH: "$"}
    allocations = history([letter == "+" for letter in known], BreakerRules(**rules))
    return "".join(letters[each.sleeve("frail")[0].status] for each in allocations)


@pytest.mark.parametrize(
    ("known", "failures", "cool_down", "expected"),
    [
        ("+---+", 4, 1, "D...D"),
        ("+----+", 4, 1, "D...PD"),
        ("+------+", 4, 1, "D...PPPD"),
        ("+----++++", 4, 3, "D...PPPDD"),
        ("+-----+++", 4, 3, "D...PPPDD"),
        ("+-+", 1, 1, "DPD"),
        ("+-++++", 1, 4, "DPPPPD"),
        ("+--+-+--+-++", 2, 2, "D.PPPD.PPPD" + "D"),
        ("---+", 4, 5, "$$$D"),
    ],
)
def test_a_sleeve_is_carried_then_parked_and_returns_after_the_cool_down(known, failures, cool_down, expected):
    assert told(known, failures=failures, cool_down_sessions=cool_down) == expected


def test_each_strategy_has_its_own_safe_asset():
    rules = BreakerRules(1, safe_asset="BIL", safe_assets={"frail": "SHY"})
    (_, parked) = history([True, False], rules)

    assert parked.weights == {"SHY": 0.75, "SPY": 0.25}
    assert rules.symbols == {"BIL", "SHY"}


def test_a_strategy_that_is_alone_is_parked_and_that_is_a_decision():
    carried, parked = history([True, False, False], BreakerRules(2), {"frail": 1.0})[1:]

    assert carried.is_undecided
    assert not parked.is_undecided
    assert parked.weights == {"BIL": 1.0}


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 6), st.integers(1, 6))
def test_a_parked_sleeve_stays_for_the_cool_down_and_no_sleeve_is_parked_too_early(known, failures, cool_down):
    rules = BreakerRules(failures, cool_down)
    parked = [each.sleeve("frail")[0].status is SleeveStatus.FALLBACK for each in history(known, rules)]

    for place, is_parked in enumerate(parked):
        if is_parked and not parked[place - 1]:
            assert not any(known[place - failures + 1 : place + 1])
            assert all(parked[place : place + cool_down])
        if not is_parked and place and parked[place - 1]:
            assert known[place]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 6))
def test_with_a_cool_down_of_one_session_every_signal_counts(known, failures):
    for is_known, each in zip(known, history(known, BreakerRules(failures)), strict=True):
        assert (each.sleeve("frail")[0].status is SleeveStatus.DECIDED) == is_known


@given(st.lists(st.booleans(), min_size=2, max_size=40), st.integers(1, 6), st.integers(1, 6))
def test_what_is_told_of_a_breaker_is_what_became_of_its_sleeve(known, failures, cool_down):
    rules = BreakerRules(failures, cool_down)
    allocations = history(known, rules)

    for place in range(1, len(known)):
        today, before = allocations[place], allocations[place - 1]
        breaker = breaker_of(signal("frail", today.session, is_known=known[place]), before, rules)
        status = today.sleeve("frail")[0].status
        assert breaker.is_parked == (status is SleeveStatus.FALLBACK)
        assert (breaker == CLOSED) == (status is SleeveStatus.DECIDED)
        assert (breaker.status is BreakerStatus.COOLING) == (breaker.is_parked and known[place])


def test_the_breaker_tells_since_when_and_until_when_it_is_open():
    monday = date(2026, 7, 27)
    rules = BreakerRules(failures=2, cool_down_sessions=3)

    breaker = breaker_on(date(2026, 7, 30), monday, rules, has_signal=True, was_parked=True)

    assert (breaker.status, breaker.failures) == (BreakerStatus.COOLING, 3)
    assert (breaker.opened_on, breaker.counts_from) == (date(2026, 7, 29), date(2026, 8, 3))


def test_sessions_that_nobody_decided_count_as_failures_but_open_nothing_where_a_signal_comes():
    rules = BreakerRules(failures=4, cool_down_sessions=10)

    assert breaker_on(DAYS[20], DAYS[0], rules, has_signal=True) == CLOSED
    assert breaker_on(DAYS[20], DAYS[0], rules, has_signal=False).status is BreakerStatus.OPEN


@pytest.mark.parametrize(("failures", "cool_down"), [(0, 1), (1, 0)])
def test_a_breaker_that_opens_at_once_or_for_no_time_is_refused(failures, cool_down):
    with pytest.raises(InvalidInput, match="at least one failure"):
        BreakerRules(failures, cool_down)
