import math
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_pipeline.domain import portfolio, sessions
from trading_pipeline.domain.allocation import (
    CASH,
    Allocation,
    Contribution,
    SleeveStatus,
    allocate,
    from_frame,
    to_frame,
)
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.signals import Signal, SignalStatus

THURSDAY, MONDAY, TUESDAY = date(2026, 7, 2), date(2026, 7, 6), date(2026, 7, 7)
SHARES = {"nuclear": 0.375, "tecl": 0.625}
STRATEGIES = ("nuclear", "tecl", "klm")


def available(strategy, session, **weights):
    return Signal(strategy, session, SignalStatus.AVAILABLE, weights, None, "00")


def unavailable(strategy, session):
    return Signal(strategy, session, SignalStatus.UNAVAILABLE, {}, "XLK rsi 10 is missing", "00")


def combine(session, signals, shares=SHARES, previous=None, max_carried_sessions=3):
    return allocate(session, signals, shares, previous, safe_asset="BIL", max_carried_sessions=max_carried_sessions)


def decided(session=THURSDAY, shares=SHARES):
    return combine(
        session, [available("nuclear", session, SMR=0.5, LEU=0.5), available("tecl", session, TECL=1.0)], shares
    )


def later(session, count):
    return sessions.next_session(session, count)


def carried_through(first, count, **settings):
    allocation = first
    for session in sessions.sessions_between(first.session, later(first.session, count))[1:]:
        signals = [available("nuclear", session, SPY=1.0), unavailable("tecl", session)]
        allocation = combine(session, signals, previous=allocation, **settings)
    return allocation


parts = st.integers(1, 1000)


@st.composite
def splits(draw, names):
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    amounts = [draw(parts) for _ in chosen]
    return {name: amount / sum(amounts) for name, amount in zip(chosen, amounts, strict=True)}


@st.composite
def signals_of(draw, strategy, session):
    if draw(st.booleans()):
        return unavailable(strategy, session)
    return available(strategy, session, **draw(splits(["SPY", "QQQ", "TECL", "BIL", "UVXY"])))


@st.composite
def days(draw):
    shares = draw(splits(STRATEGIES))
    return shares, [
        [draw(signals_of(strategy, session)) for strategy in shares]
        for session in sessions.sessions_between(THURSDAY, later(THURSDAY, draw(st.integers(0, 6))))
    ]


def run(shares, signals_by_day):
    allocation = None
    for signals in signals_by_day:
        allocation = combine(signals[0].session, signals, shares, allocation)
    return allocation


def test_the_target_is_the_share_weighted_sum_of_the_signals():
    signals = [available("nuclear", MONDAY, SPY=0.4, BIL=0.6), available("tecl", MONDAY, BIL=1.0)]

    allocation = combine(MONDAY, signals, {"nuclear": 0.3, "tecl": 0.7})

    assert allocation.weights == pytest.approx({"SPY": 0.12, "BIL": 0.88})
    assert allocation.cash == 0


def test_every_weight_is_attributed_to_the_strategy_behind_it():
    signals = [available("nuclear", MONDAY, SPY=0.5, BIL=0.5), available("tecl", MONDAY, BIL=1.0)]

    behind = combine(MONDAY, signals).behind("BIL")

    assert {part.strategy: part.weight for part in behind} == {"nuclear": 0.1875, "tecl": 0.625}


@given(days())
def test_an_allocation_sums_to_one_whatever_was_available(shares_and_signals):
    allocation = run(*shares_and_signals)

    assert math.fsum([*allocation.weights.values(), allocation.cash]) == pytest.approx(1, abs=1e-9)


@given(days())
def test_each_sleeve_is_as_large_as_the_share_of_its_strategy(shares_and_signals):
    shares, signals = shares_and_signals
    allocation = run(shares, signals)

    sleeves = {strategy: math.fsum(part.weight for part in allocation.sleeve(strategy)) for strategy in shares}

    assert sleeves == pytest.approx(shares, abs=1e-12)


@given(days())
def test_a_symbols_weight_is_the_sum_of_what_the_strategies_put_into_it(shares_and_signals):
    allocation = run(*shares_and_signals)

    attributed = {symbol: math.fsum(part.weight for part in allocation.behind(symbol)) for symbol in allocation.weights}

    assert attributed == dict(allocation.weights)


@given(days())
def test_an_available_strategy_gets_exactly_its_signal(shares_and_signals):
    shares, signals = shares_and_signals
    allocation = run(shares, signals)

    for signal in signals[-1]:
        if signal.status is SignalStatus.AVAILABLE:
            sleeve = {part.symbol: part.weight / shares[signal.strategy] for part in allocation.sleeve(signal.strategy)}
            assert sleeve == pytest.approx(dict(signal.weights))


def test_an_unavailable_strategy_keeps_what_it_last_decided():
    allocation = carried_through(decided(THURSDAY), 1)

    assert allocation.sleeve("tecl") == (Contribution("TECL", "tecl", 0.625, SleeveStatus.CARRIED, THURSDAY),)


def test_a_sleeve_is_carried_for_as_many_sessions_as_allowed_and_then_moves_to_the_safe_asset():
    first = decided(THURSDAY)

    last_carried, parked = (carried_through(first, count, max_carried_sessions=3) for count in (3, 4))

    assert last_carried.sleeve("tecl")[0].status is SleeveStatus.CARRIED
    assert parked.sleeve("tecl") == (Contribution("BIL", "tecl", 0.625, SleeveStatus.FALLBACK, THURSDAY),)


def test_a_long_weekend_counts_as_one_session_against_a_carried_sleeve():
    signals = [available("nuclear", MONDAY, SPY=1.0), unavailable("tecl", MONDAY)]

    allocation = combine(MONDAY, signals, previous=decided(THURSDAY), max_carried_sessions=1)

    assert allocation.sleeve("tecl")[0].status is SleeveStatus.CARRIED


def test_sessions_that_nobody_ran_count_against_a_carried_sleeve():
    session = later(THURSDAY, 10)

    allocation = combine(session, [unavailable("nuclear", session), unavailable("tecl", session)], previous=decided())

    assert {part.status for part in allocation.contributions} == {SleeveStatus.FALLBACK}


def test_with_no_carrying_allowed_the_sleeve_moves_at_once():
    assert carried_through(decided(), 1, max_carried_sessions=0).sleeve("tecl")[0].symbol == "BIL"


def test_a_parked_sleeve_stays_parked_even_when_longer_carrying_is_allowed_later():
    parked = carried_through(decided(), 4, max_carried_sessions=3)

    allocation = carried_through(parked, 1, max_carried_sessions=60)

    assert allocation.sleeve("tecl")[0].status is SleeveStatus.FALLBACK


def test_a_parked_sleeve_returns_with_the_next_decision():
    parked = carried_through(decided(), 4)

    session = later(parked.session, 1)
    signals = [available("nuclear", session, SPY=1.0), available("tecl", session, TECL=1.0)]

    assert combine(session, signals, previous=parked).weights["TECL"] == 0.625


def test_a_carried_sleeve_is_rescaled_when_the_shares_change():
    signals = [available("tecl", MONDAY, BIL=1.0), unavailable("nuclear", MONDAY)]

    allocation = combine(MONDAY, signals, {"nuclear": 0.1, "tecl": 0.9}, previous=decided(THURSDAY))

    assert allocation.weights == pytest.approx({"BIL": 0.9, "LEU": 0.05, "SMR": 0.05})


def test_with_nothing_to_carry_the_sleeve_is_cash():
    allocation = combine(MONDAY, [available("nuclear", MONDAY, SPY=1.0), unavailable("tecl", MONDAY)])

    assert allocation.cash == 0.625
    assert allocation.sleeve("tecl") == (Contribution(CASH, "tecl", 0.625, SleeveStatus.CASH, MONDAY),)
    assert CASH not in allocation.weights


def test_a_sleeve_that_was_cash_stays_cash_until_it_decides():
    first = combine(THURSDAY, [available("nuclear", THURSDAY, SPY=1.0), unavailable("tecl", THURSDAY)])

    assert carried_through(first, 5).sleeve("tecl")[0].status is SleeveStatus.CASH


def test_a_strategy_that_joins_unavailable_starts_in_cash():
    signals = [available("nuclear", MONDAY, SPY=1.0), available("tecl", MONDAY, BIL=1.0), unavailable("klm", MONDAY)]

    allocation = combine(MONDAY, signals, {"nuclear": 0.3, "tecl": 0.5, "klm": 0.2}, previous=decided(THURSDAY))

    assert allocation.cash == pytest.approx(0.2)


def test_when_all_strategies_are_unavailable_the_allocation_is_undecided():
    signals = [unavailable("nuclear", MONDAY), unavailable("tecl", MONDAY)]

    assert combine(MONDAY, signals, previous=decided(THURSDAY)).is_undecided
    assert combine(MONDAY, signals).is_undecided


def test_one_decision_is_enough_for_the_allocation_to_be_decided():
    assert not carried_through(decided(), 1).is_undecided


def test_a_strategy_without_capital_contributes_nothing():
    signals = [available("nuclear", MONDAY, SPY=1.0), available("tecl", MONDAY, BIL=1.0)]

    assert combine(MONDAY, signals, {"nuclear": 1.0, "tecl": 0.0}).sleeve("tecl") == ()


@pytest.mark.parametrize(
    ("shares", "complaint"),
    [
        ({"nuclear": 0.5, "tecl": 0.4}, "must sum to 1, these sum to 0.9"),
        ({"nuclear": 1.5, "tecl": -0.5}, "between 0 and 1, found nuclear 1.5, tecl -0.5"),
        ({"nuclear": math.nan, "tecl": 1.0}, "found nuclear nan"),
        ({"nuclear": 1.0}, "a signal without a capital share of tecl"),
        ({"nuclear": 0.3, "tecl": 0.5, "klm": 0.2}, "a capital share without a signal of klm"),
    ],
)
def test_shares_that_do_not_fit_are_refused_by_name(shares, complaint):
    signals = [available("nuclear", MONDAY, SPY=1.0), available("tecl", MONDAY, BIL=1.0)]

    with pytest.raises(InvalidInput, match=complaint):
        combine(MONDAY, signals, shares)


def test_a_signal_of_another_session_is_refused_by_name():
    signals = [available("nuclear", MONDAY, SPY=1.0), available("tecl", THURSDAY, BIL=1.0)]

    with pytest.raises(InvalidInput, match="not of 2026-07-06 from tecl"):
        combine(MONDAY, signals)


def test_two_signals_of_one_strategy_are_refused():
    with pytest.raises(InvalidInput, match="two signals of nuclear"):
        combine(MONDAY, [available("nuclear", MONDAY, SPY=1.0)] * 2, {"nuclear": 1.0})


@pytest.mark.parametrize("session", [MONDAY, TUESDAY])
def test_sleeves_are_never_carried_from_the_same_session_or_from_the_future(session):
    with pytest.raises(InvalidInput, match="only be carried from before"):
        combine(MONDAY, [unavailable("nuclear", MONDAY), unavailable("tecl", MONDAY)], previous=decided(session))


def rows(*weights, symbols=("SPY", "BIL")):
    return tuple(
        Contribution(symbol, "nuclear", weight, SleeveStatus.DECIDED, MONDAY)
        for symbol, weight in zip(symbols, weights, strict=True)
    )


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.5, 0.5 + 2e-9), (1.2, -0.2), (math.nan, 1.0), (math.inf, 0.0)])
def test_weights_that_are_not_one_whole_account_are_refused(weights):
    with pytest.raises(DataError):
        Allocation(MONDAY, rows(*weights))


def test_an_allocation_of_nothing_is_refused():
    with pytest.raises(DataError, match="sum to 0"):
        Allocation(MONDAY, ())


def test_a_strategy_names_a_symbol_once():
    with pytest.raises(DataError, match="repeats nuclear/SPY"):
        Allocation(MONDAY, rows(0.5, 0.5, symbols=("SPY", "SPY")))


@settings(max_examples=30, deadline=None)
@given(days())
def test_an_allocation_survives_the_table(shares_and_signals):
    allocation = run(*shares_and_signals)

    assert from_frame(to_frame(allocation)) == allocation


def test_the_table_has_the_columns_that_were_agreed():
    assert list(to_frame(decided()).columns) == ["session", "symbol", "strategy", "weight", "status", "decided_on"]


def test_rows_of_several_sessions_are_no_allocation():
    import pandas as pd

    frame = pd.concat([to_frame(decided(THURSDAY)), to_frame(decided(MONDAY))])

    with pytest.raises(DataError, match="these are of 2"):
        from_frame(frame)


def test_no_rows_are_no_allocation():
    with pytest.raises(DataError, match="these are of 0"):
        from_frame(to_frame(decided()).head(0))


def test_cash_has_one_name():
    assert CASH == portfolio.CASH
