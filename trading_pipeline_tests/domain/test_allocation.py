import math
from datetime import date

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_pipeline.domain import portfolio, sessions
from trading_pipeline.domain.allocation import (
    CASH,
    Allocation,
    Contribution,
    Drift,
    SleeveStatus,
    allocate,
    drift_of,
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


THREE = {"nuclear": 0.3, "tecl": 0.5, "klm": 0.2}


def daily(session):
    return [available("nuclear", session, SPY=1.0), available("tecl", session, TECL=1.0)]


def rebalanced(previous, session, growth, threshold=0.1, shares=THREE, **target):
    """Combine a session on which klm, which is rebalanced by drift, wants ``target``, or nothing can be told."""
    signal = available("klm", session, **target) if target else unavailable("klm", session)
    drift = drift_of(signal, previous, growth, threshold)
    drifts = {"klm": drift} if drift else {}
    signals = [*daily(session), signal]
    return allocate(session, signals, shares, previous, drifts, safe_asset="BIL", max_carried_sessions=3)


def halves(session=THURSDAY):
    return rebalanced(None, session, {}, SVXY=0.5, BIL=0.5)


def sleeve(allocation, strategy="klm"):
    return {part.symbol: part.weight for part in allocation.sleeve(strategy)}


def statuses(allocation, strategy="klm"):
    return {part.status for part in allocation.sleeve(strategy)}


def test_a_sleeve_near_its_target_is_left_as_closes_have_moved_it():
    # SVXY from 50 to 60, BIL flat: 0.5 x 1.2 = 0.6 of 1.1, so 6/11 and 5/11, which is 0.0455 from the target.
    allocation = rebalanced(halves(), MONDAY, {"SVXY": 60 / 50, "BIL": 1.0}, SVXY=0.5, BIL=0.5)

    assert sleeve(allocation) == pytest.approx({"SVXY": 0.2 * 6 / 11, "BIL": 0.2 * 5 / 11}, abs=1e-15)
    assert statuses(allocation) == {SleeveStatus.HELD}


def test_a_sleeve_far_from_its_target_is_rebalanced():
    # 0.5 x 1.6 = 0.8 of 1.3 is 0.615, which is 0.115 from the target.
    allocation = rebalanced(halves(), MONDAY, {"SVXY": 1.6, "BIL": 1.0}, SVXY=0.5, BIL=0.5)

    assert sleeve(allocation) == {"SVXY": 0.1, "BIL": 0.1}
    assert statuses(allocation) == {SleeveStatus.DECIDED}


def test_a_target_that_moves_away_is_a_drift_too():
    flat = {"SVXY": 1.0, "BIL": 1.0}

    near, far = (rebalanced(halves(), MONDAY, flat, SVXY=part, BIL=1 - part) for part in (0.41, 0.39))

    assert (statuses(near), statuses(far)) == ({SleeveStatus.HELD}, {SleeveStatus.DECIDED})


@pytest.mark.parametrize("target", [{"SVXY": 0.3, "BIL": 0.3, "TLT": 0.4}, {"SVXY": 0.9, "IEF": 0.05, "TLT": 0.05}])
def test_symbols_in_only_one_of_sleeve_and_target_count_in_full(target):
    drift = drift_of(available("klm", MONDAY, **target), halves(), {"SVXY": 1.0, "BIL": 1.0}, 0.1)

    assert drift.distance == pytest.approx(0.4 if "BIL" in target else 0.5)


def test_a_small_remainder_of_what_is_no_longer_wanted_is_held():
    mostly = rebalanced(None, THURSDAY, {}, SVXY=0.95, BIL=0.05)

    allocation = rebalanced(mostly, MONDAY, {"SVXY": 1.0, "BIL": 1.0}, SVXY=1.0)

    assert sleeve(allocation) == pytest.approx({"SVXY": 0.19, "BIL": 0.01})


@pytest.mark.parametrize(
    ("distance", "tolerated"), [(0.1, True), (0.1 + 5e-11, True), (0.1 + 2e-10, False), (math.nan, False)]
)
def test_a_drift_counts_when_it_exceeds_the_threshold_by_more_than_rounding(distance, tolerated):
    assert Drift(0.1, {"SPY": 1.0}, distance).is_tolerated is tolerated


def test_a_drift_of_exactly_the_threshold_is_left_alone():
    # 0.5 x 1.5 = 0.75 of 1.25 is 0.6.
    allocation = rebalanced(halves(), MONDAY, {"SVXY": 1.5, "BIL": 1.0}, SVXY=0.5, BIL=0.5)

    assert statuses(allocation) == {SleeveStatus.HELD}


@pytest.mark.parametrize("growth", [{"BIL": 1.0}, {"SVXY": math.nan, "BIL": 1.0}, {"SVXY": math.inf, "BIL": 1.0}])
def test_a_drift_that_cannot_be_measured_is_settled_by_the_target(growth):
    signal = available("klm", MONDAY, SVXY=0.5, BIL=0.5)

    drift = drift_of(signal, halves(), growth, threshold=1.0)

    assert drift.unpriced == ("SVXY",)
    assert math.isnan(drift.distance)
    assert statuses(rebalanced(halves(), MONDAY, growth, SVXY=0.5, BIL=0.5)) == {SleeveStatus.DECIDED}


def test_a_new_symbol_of_the_target_needs_no_close():
    drift = drift_of(available("klm", MONDAY, SVXY=0.5, BIL=0.45, TLT=0.05), halves(), {"SVXY": 1.0, "BIL": 1.0}, 0.1)

    assert drift.distance == pytest.approx(0.05)


def test_cash_in_a_sleeve_does_not_move():
    first = rebalanced(None, THURSDAY, {}, SVXY=0.5, CASH=0.5)

    drift = drift_of(available("klm", MONDAY, SVXY=0.5, CASH=0.5), first, {"SVXY": 1.2}, 0.1)

    assert drift.sleeve == pytest.approx({"SVXY": 6 / 11, CASH: 5 / 11})


def test_a_held_sleeve_is_rescaled_to_todays_share():
    shares = {"nuclear": 0.3, "tecl": 0.3, "klm": 0.4}

    allocation = rebalanced(halves(), MONDAY, {"SVXY": 1.2, "BIL": 1.0}, shares=shares, SVXY=0.5, BIL=0.5)

    assert sleeve(allocation) == pytest.approx({"SVXY": 0.4 * 6 / 11, "BIL": 0.4 * 5 / 11})


@pytest.mark.parametrize("previous", [None, decided()], ids=["no allocation", "no sleeve"])
def test_a_strategy_without_a_sleeve_starts_at_its_target(previous):
    allocation = rebalanced(previous, MONDAY, {}, threshold=1.0, SVXY=1.0)

    assert statuses(allocation) == {SleeveStatus.DECIDED}


def test_after_cash_a_sleeve_starts_at_its_target():
    undecided = rebalanced(None, THURSDAY, {})

    assert statuses(undecided) == {SleeveStatus.CASH}
    assert statuses(rebalanced(undecided, MONDAY, {}, threshold=1.0, SVXY=1.0)) == {SleeveStatus.DECIDED}


def test_after_the_safe_asset_a_sleeve_starts_at_its_target():
    session = later(THURSDAY, 9)
    parked = rebalanced(halves(), session, {})

    assert statuses(parked) == {SleeveStatus.FALLBACK}
    again = rebalanced(parked, later(session, 1), {"BIL": 1.0}, threshold=1.0, SVXY=1.0)
    assert statuses(again) == {SleeveStatus.DECIDED}


def test_an_unavailable_strategy_has_no_drift():
    assert drift_of(unavailable("klm", MONDAY), halves(), {"SVXY": 1.0, "BIL": 1.0}, 0.1) is None


def held_through(first, count, growth):
    allocation = first
    for session in sessions.sessions_between(first.session, later(first.session, count))[1:]:
        allocation = rebalanced(allocation, session, growth, threshold=1.0, SVXY=0.5, BIL=0.5)
    return allocation


def test_a_held_sleeve_is_carried_as_it_stands_from_the_session_that_held_it():
    held = held_through(halves(), 5, {"SVXY": 1.01, "BIL": 1.0})

    allocation = rebalanced(held, later(held.session, 1), {"SVXY": 2.0, "BIL": 1.0})

    assert sleeve(allocation) == pytest.approx(sleeve(held))
    assert {part.decided_on for part in allocation.sleeve("klm")} == {held.session}
    assert statuses(allocation) == {SleeveStatus.CARRIED}


def test_carrying_counts_from_the_last_answer_and_not_from_the_last_rebalance():
    held = held_through(halves(), 20, {"SVXY": 1.001, "BIL": 1.0})

    kept, parked = (rebalanced(held, later(held.session, count), {}) for count in (3, 4))

    assert (statuses(kept), statuses(parked)) == ({SleeveStatus.CARRIED}, {SleeveStatus.FALLBACK})


def test_a_carried_sleeve_drifts_like_any_other():
    carried = rebalanced(halves(), MONDAY, {})

    allocation = rebalanced(carried, TUESDAY, {"SVXY": 1.2, "BIL": 1.0}, SVXY=0.5, BIL=0.5)

    assert sleeve(allocation) == pytest.approx({"SVXY": 0.2 * 6 / 11, "BIL": 0.2 * 5 / 11})
    assert {(part.status, part.decided_on) for part in allocation.sleeve("klm")} == {(SleeveStatus.HELD, TUESDAY)}


def test_to_hold_is_to_decide():
    shares, previous = {"klm": 1.0}, allocate_alone(THURSDAY, {})

    assert not allocate_alone(MONDAY, {"klm": Drift(0.1, {"SVXY": 1.0}, 0.0)}, previous).is_undecided
    assert combine(MONDAY, [unavailable("klm", MONDAY)], shares, previous).is_undecided


def allocate_alone(session, drifts, previous=None):
    signals = [available("klm", session, SVXY=1.0)]
    return allocate(session, signals, {"klm": 1.0}, previous, drifts, safe_asset="BIL", max_carried_sessions=3)


SLEEVE = ["SPY", "QQQ", "TECL", "BIL", "UVXY"]
factors = st.floats(0.5, 2.0)
markets = st.fixed_dictionaries(dict.fromkeys(SLEEVE, factors))
thresholds = st.floats(0, 1)


@st.composite
def drifting_days(draw):
    """What klm wants on sessions in a row, empty where it is unavailable, and what closes did before each."""
    wanted = st.one_of(st.just({}), splits(SLEEVE), splits(SLEEVE))
    return draw(st.lists(st.tuples(wanted, markets), min_size=1, max_size=8))


always_available = st.lists(st.tuples(splits(SLEEVE), markets), min_size=1, max_size=8)


def walked(days, threshold):
    allocations = [None]
    for session, (target, growth) in zip(sessions.sessions_between(THURSDAY, later(THURSDAY, 9)), days, strict=False):
        allocations.append(rebalanced(allocations[-1], session, growth, threshold, **target))
    return allocations[1:]


def naive_sleeve(before, target, growth, threshold):
    """The next sleeve, from the definition: what was held grows, and is replaced when one weight is too far off."""
    if before is None:
        return target
    value = {symbol: before.get(symbol, 0) * growth[symbol] for symbol in SLEEVE}
    grown = {symbol: value[symbol] / sum(value.values()) for symbol in SLEEVE}
    distances = [abs(grown[symbol] - target.get(symbol, 0)) for symbol in SLEEVE]
    assume(abs(max(distances) - threshold) > 1e-8)
    return target if max(distances) > threshold else grown


@given(always_available, thresholds)
def test_a_sleeve_follows_the_definition_from_session_to_session(days, threshold):
    expected = None
    for allocation, (target, growth) in zip(walked(days, threshold), days, strict=True):
        expected = naive_sleeve(expected, target, growth, threshold)
        found = {symbol: weight / 0.2 for symbol, weight in sleeve(allocation).items()}
        assert found == pytest.approx({symbol: weight for symbol, weight in expected.items() if weight > 0}, abs=1e-12)


@given(drifting_days(), thresholds)
def test_held_sleeves_keep_every_promise_of_an_allocation(days, threshold):
    for allocation in walked(days, threshold):
        total = math.fsum([*allocation.weights.values(), allocation.cash])
        assert total == pytest.approx(1, abs=1e-12)
        assert math.fsum(sleeve(allocation).values()) == pytest.approx(0.2, abs=1e-12)
        assert from_frame(to_frame(allocation)) == allocation
        assert len(statuses(allocation)) == 1


@given(always_available)
def test_with_a_threshold_of_one_nothing_but_the_first_target_is_ever_set(days):
    first, *rest = walked(days, threshold=1.0)

    assert statuses(first) == {SleeveStatus.DECIDED}
    assert all(statuses(allocation) == {SleeveStatus.HELD} for allocation in rest)


@given(drifting_days())
def test_with_a_threshold_of_nothing_every_drift_is_rebalanced(days):
    for allocation, (target, _) in zip(walked(days, threshold=0.0), days, strict=True):
        if target:
            found = {symbol: weight / 0.2 for symbol, weight in sleeve(allocation).items()}
            assert found == pytest.approx(target, abs=1e-9)


@given(splits(SLEEVE), st.lists(markets, min_size=1, max_size=8))
def test_held_sessions_in_a_row_move_a_sleeve_like_one(target, markets_in_a_row):
    days = [(target, market) for market in [{}, *markets_in_a_row]]
    together = {symbol: math.prod(market[symbol] for market in markets_in_a_row) for symbol in SLEEVE}

    *_, step_by_step = walked(days, threshold=1.0)
    at_once = rebalanced(walked(days[:1], 1.0)[0], step_by_step.session, together, threshold=1.0, **target)

    assert sleeve(step_by_step) == pytest.approx(sleeve(at_once), rel=1e-12)


@given(drifting_days())
def test_without_a_measured_drift_the_signal_is_always_taken(days):
    allocation = None
    for session, (target, _) in zip(sessions.sessions_between(THURSDAY, later(THURSDAY, 9)), days, strict=False):
        signal = available("klm", session, **target) if target else unavailable("klm", session)
        allocation = combine(session, [*daily(session), signal], THREE, allocation)
        assert (SleeveStatus.DECIDED in statuses(allocation)) == bool(target)
        assert SleeveStatus.HELD not in statuses(allocation)


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
