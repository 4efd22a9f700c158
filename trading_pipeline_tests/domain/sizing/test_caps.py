import itertools
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import QUANTITY_STEP
from trading_pipeline.domain.sizing.caps import atr_shares, redistributed

SYMBOLS = "ABCDEF"
ROUNDING = 1e-12

parts = st.lists(st.one_of(st.floats(0, 1), st.just(0.0), st.sampled_from([5e-324, 1e-300])), min_size=1, max_size=6)
accounts = parts.map(
    lambda found: {symbol: part / max(1.0, math.fsum(found)) for symbol, part in zip(SYMBOLS, found, strict=False)}
)
limits = st.dictionaries(st.sampled_from(SYMBOLS), st.one_of(st.floats(0, 1), st.just(0.0), st.just(math.inf)))


def exactly(weights, caps):
    """min(k w, cap) at the least k that uses the sum up, found by trying every set of the capped with fractions."""
    exact = {symbol: Fraction(weight) for symbol, weight in weights.items() if weight > 0}
    ceilings = {symbol: Fraction(caps[symbol]) for symbol in exact if caps.get(symbol, math.inf) < math.inf}
    total = sum(exact.values())
    for size in range(len(exact) + 1):
        for capped in itertools.combinations(sorted(ceilings), size):
            free = sum((weight for symbol, weight in exact.items() if symbol not in capped), Fraction(0))
            room = total - sum((ceilings[symbol] for symbol in capped), Fraction(0))
            scale = room / free if free else None
            if _fits(exact, ceilings, set(capped), scale):
                return {
                    symbol: ceilings[symbol] if symbol in capped else weight * scale for symbol, weight in exact.items()
                }
    raise AssertionError("no set of capped symbols fits")


def _fits(exact, ceilings, capped, scale):
    if scale is None:
        return True
    within = all(weight * scale <= ceilings.get(s, math.inf) for s, weight in exact.items() if s not in capped)
    return scale >= 1 and within and all(exact[symbol] * scale >= ceilings[symbol] for symbol in capped)


@given(accounts, limits)
def test_the_answer_is_the_one_that_exact_numbers_give(weights, caps):
    wanted = exactly(weights, caps)

    found = redistributed(weights, caps)

    assert found == pytest.approx({symbol: float(wanted.get(symbol, 0)) for symbol in weights}, abs=ROUNDING)


@given(accounts, limits)
def test_after_redistribution_every_cap_holds_and_the_sum_never_grows(weights, caps):
    found = redistributed(weights, caps)

    assert found.keys() == weights.keys()
    assert all(found[symbol] <= caps.get(symbol, math.inf) for symbol in found)
    assert all(found[symbol] >= 0 for symbol in found)
    assert math.fsum(found.values()) <= min(math.fsum(weights.values()) + ROUNDING, 1 + ROUNDING)


@given(accounts, limits)
def test_only_the_capped_lose_and_only_the_others_gain(weights, caps):
    found = redistributed(weights, caps)

    for symbol, weight in weights.items():
        assert found[symbol] == caps[symbol] if found[symbol] < weight else found[symbol] >= weight
        assert weight > 0 or found[symbol] == 0


@given(accounts, limits, st.randoms())
def test_the_order_of_symbols_changes_nothing(weights, caps, chance):
    shuffled = chance.sample(sorted(weights.items()), len(weights))

    assert redistributed(dict(shuffled), caps) == redistributed(weights, caps)


@given(accounts, limits)
def test_what_was_redistributed_is_a_fixed_point(weights, caps):
    once = redistributed(weights, caps)

    assert redistributed(once, caps) == once


@given(accounts)
def test_without_a_cap_that_bites_weights_stay_bit_for_bit(weights):
    assert redistributed(weights, {}) == weights
    assert redistributed(weights, dict.fromkeys(weights, 1.0)) == weights


def test_whoever_is_lifted_above_its_own_cap_is_cut_in_the_next_round():
    # 0.4 of A is cut off: B would have 0.3 + 0.24, C 0.2 + 0.16; B's cap gives C what is left.
    found = redistributed({"A": 0.5, "B": 0.3, "C": 0.2}, {"A": 0.1, "B": 0.4, "C": 0.9})

    assert found == pytest.approx({"A": 0.1, "B": 0.4, "C": 0.5})


def test_where_the_caps_leave_no_room_the_rest_is_cash():
    assert redistributed({"A": 0.5, "B": 0.5}, {"A": 0.2, "B": 0.3}) == {"A": 0.2, "B": 0.3}


def test_nothing_stays_nothing():
    assert redistributed({}, {"A": 0.2}) == {}
    assert redistributed({"A": 0.0}, {"A": 0.0}) == {"A": 0.0}


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInput, match=f"every weight must be a number of 0 or more, found B {wrong}"):
        redistributed({"A": 0.5, "B": wrong}, {})


@pytest.mark.parametrize("wrong", [-0.1, math.nan])
def test_a_cap_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidInput, match=f"every cap must be a number of 0 or more, found A {wrong}"):
        redistributed({"A": 0.5}, {"A": wrong})


def test_shares_by_range_lose_what_may_be_lost_when_the_price_moves_that_far():
    # Half a percent of 100,000 dollars is 500; two ranges of 3.30 are 6.60; 500 / 6.60 is 75.75...
    assert atr_shares(Decimal(100_000), 3.3, risk=0.005, multiple=2) == 75
    assert atr_shares(Decimal(100_000), 3.3, risk=0.005, multiple=2, step=QUANTITY_STEP) == Decimal("75.757575757")


def test_a_risk_of_seven_hundredths_is_not_the_float_beside_it():
    assert atr_shares(Decimal(100), 0.07, risk=0.07, multiple=1) == 100


@given(
    st.decimals(1, 10**9, places=2),
    st.floats(0.01, 1000),
    st.floats(1e-4, 1),
    st.floats(0.1, 10),
)
def test_shares_by_range_never_risk_more_and_one_more_share_would(equity, atr, risk, multiple):
    shares = atr_shares(equity, atr, risk, multiple)

    at_risk = [Fraction(count) * Fraction(repr(multiple)) * Fraction(repr(atr)) for count in (shares, shares + 1)]
    allowed = Fraction(equity) * Fraction(repr(risk))
    assert at_risk[0] <= allowed * (1 + Fraction(1, 10**20))
    assert at_risk[1] > allowed * (1 - Fraction(1, 10**20))


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "said"), [("atr", "average true range"), ("risk", "risk"), ("multiple", "multiple"), ("equity", "equity")]
)
def test_shares_by_range_need_figures_above_nothing(name, said, wrong):
    given_figures = {"equity": Decimal(100), "atr": 1.0, "risk": 0.01, "multiple": 2.0}
    given_figures[name] = Decimal(repr(wrong)) if name == "equity" else wrong

    with pytest.raises(InvalidInput, match=f"shares by average true range need positive figures, found {said} "):
        atr_shares(**given_figures)
