import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import WHOLE_SHARE
from trading_pipeline.domain.sizing.covariance import ledoit_wolf, portfolio_volatility
from trading_pipeline.domain.sizing.options import CovarianceMethod, SizingOptions, SizingPart
from trading_pipeline.domain.sizing.panel import SizingInputs
from trading_pipeline.domain.sizing.weights import SizedWeights, inverse_volatility, sized_weights, volatility_scale

NAN = math.nan
SYMBOLS = ("BIL", "SPY", "TECL", "UVXY")
ROUNDING = 1e-12
OFF = SizingOptions()
INVERSE, ATR, CAPS, TARGET, BAND = SizingPart
EVERYTHING = OFF.with_parts(*SizingPart)
# Daily deviations of about 0.1, 1, 3 and 6 percent; the seed is fixed.
RETURNS = np.random.default_rng(3).normal(0, [0.001, 0.01, 0.03, 0.06], (63, 4))


def inputs(held=None, equity="100000", **changes):
    whole = SizingInputs(
        symbols=SYMBOLS,
        returns=RETURNS,
        deviations=RETURNS.std(axis=0, ddof=1),
        closes=np.array([91.0, 600.0, 100.0, 20.0]),
        ranges=np.array([0.05, 6.0, 4.0, 1.5]),
        volumes=np.array([8e6, 7e7, 2e6, 3e7]),
        equity=Decimal(equity),
        held=held or {},
    )
    return replace(whole, **changes)


def lacking(symbol, *names):
    """What is known when the figures of those names are not known of ``symbol``."""
    changes = {}
    for name in names:
        table = getattr(inputs(), name).copy()
        table[..., SYMBOLS.index(symbol)] = NAN
        changes[name] = table
    return changes


shares = st.lists(st.one_of(st.floats(0, 1), st.just(0.0)), min_size=4, max_size=4)
accounts = shares.map(
    lambda found: {symbol: part / max(1.0, math.fsum(found)) for symbol, part in zip(SYMBOLS, found, strict=True)}
)
switches = st.frozensets(st.sampled_from(SizingPart), min_size=1)
choices = st.builds(
    SizingOptions,
    parts=switches,
    covariance=st.sampled_from(CovarianceMethod),
    target_volatility=st.floats(0.01, 1),
    largest_scale=st.floats(0.01, 1),
    max_weight=st.floats(0.01, 1),
    atr_risk=st.floats(1e-4, 0.05),
)
known = st.frozensets(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(["returns", "closes", "ranges", "volumes"])))


def with_gaps(gaps, held):
    changes = {}
    for symbol, name in gaps:
        table = changes.get(name, getattr(inputs(), name)).copy()
        table[..., SYMBOLS.index(symbol)] = NAN
        changes[name] = table
        if name == "returns":
            changes["deviations"] = np.where(np.isnan(table).any(axis=0), NAN, inputs().deviations)
    return inputs(held, **changes)


@given(accounts, accounts)
def test_with_everything_off_weights_are_the_strategies_bit_for_bit(weights, held):
    found = sized_weights(weights, inputs(held), OFF)

    assert found.weights == weights
    assert list(found.weights) == list(weights)
    assert found == SizedWeights(weights, volatility=found.volatility)
    assert math.isnan(found.volatility)


@given(accounts, accounts, choices, known)
def test_whatever_is_on_and_whatever_is_missing_weights_never_grow_in_sum(weights, held, options, gaps):
    found = sized_weights(weights, with_gaps(gaps, held), options)

    assert all(weight >= 0 for weight in found.weights.values())
    assert math.fsum(found.weights.values()) <= min(math.fsum(weights.values()) + ROUNDING, 1 + ROUNDING)


@given(accounts, accounts, choices, known)
def test_caps_hold_after_everything_that_comes_after_them(weights, held, options, gaps):
    found = sized_weights(weights, with_gaps(gaps, held), options)

    sized = {symbol: weight for symbol, weight in found.weights.items() if symbol not in found.kept}
    if options.parts & {ATR, CAPS}:
        assert all(weight <= found.caps[symbol] for symbol, weight in sized.items())
    if CAPS in options.parts:
        assert all(weight <= options.max_weight for weight in sized.values())


@given(accounts, accounts, choices, known, st.permutations(SYMBOLS))
def test_the_order_of_symbols_changes_nothing(weights, held, options, gaps, order):
    data = with_gaps(gaps, held)
    places = [SYMBOLS.index(symbol) for symbol in order]
    names = ("returns", "deviations", "closes", "ranges", "volumes")
    turned = replace(data, symbols=tuple(order), **{name: getattr(data, name)[..., places] for name in names})

    one = sized_weights(weights, data, options)
    other = sized_weights({symbol: weights[symbol] for symbol in order}, turned, options)

    assert other.weights == pytest.approx(one.weights, rel=1e-9, abs=ROUNDING)
    assert (other.missing, other.dropped) == (one.missing, one.dropped)


@given(accounts, accounts, st.sampled_from([ATR, CAPS]), st.floats(0.05, 1))
def test_sizing_by_caps_twice_is_sizing_once(weights, held, part, most):
    options = replace(OFF.with_parts(part), max_weight=most)
    once = sized_weights(weights, inputs(held), options)

    assert sized_weights(once.weights, inputs(held), options).weights == once.weights


@given(accounts, accounts, choices, known)
def test_what_is_missing_is_named_and_nothing_of_it_is_bought(weights, held, options, gaps):
    found = sized_weights(weights, with_gaps(gaps, held), options)

    for symbol in found.missing:
        assert found.missing[symbol]
        assert found.weights.get(symbol, 0.0) <= held[symbol]
        assert (symbol in found.left_alone) == (found.weights.get(symbol, 0.0) == held[symbol])


# Inverse volatility


def test_inverse_volatility_shares_out_what_is_invested_by_hand():
    found = inverse_volatility({"A": 0.6, "B": 0.1, "C": 0.1}, {"A": 0.01, "B": 0.02, "C": 0.04}, "BIL")

    # 4 : 2 : 1 of 0.8
    assert found.weights == pytest.approx({"A": 3.2 / 7, "B": 1.6 / 7, "C": 0.8 / 7})


@pytest.mark.parametrize(
    ("deviations", "why"),
    [
        ({"A": 0.01, "B": NAN}, "its volatility is not known"),
        ({"A": 0.01}, "its volatility is not known"),
        ({"A": 0.01, "B": math.inf}, "its volatility is not known"),
        ({"A": 0.01, "B": 0.0}, "its volatility is zero"),
    ],
)
def test_a_volatility_that_is_missing_or_zero_is_dropped_and_the_others_share_its_weight(deviations, why):
    found = inverse_volatility({"A": 0.5, "B": 0.5}, deviations, "BIL")

    assert found.weights == {"A": 1.0}
    assert found.dropped == {"B": why}
    assert not found.used_fallback


def test_where_no_volatility_is_known_the_safe_asset_stands_in_and_says_so():
    found = inverse_volatility({"A": 0.5, "B": 0.25}, {"A": NAN, "B": 0.0}, "BIL")

    assert found.weights == {"BIL": 0.75}
    assert found.used_fallback
    assert set(found.dropped) == {"A", "B"}


def test_of_nothing_invested_nothing_is_held():
    found = inverse_volatility({}, {}, "BIL")

    assert (found.weights, found.used_fallback) == ({}, False)
    assert sized_weights({"SPY": 0.0}, inputs(), EVERYTHING).weights == {}


@given(accounts, st.lists(st.floats(1e-4, 1), min_size=4, max_size=4))
def test_by_inverse_volatility_all_symbols_risk_the_same(weights, deviations):
    measured = dict(zip(SYMBOLS, deviations, strict=True))

    found = inverse_volatility(weights, measured, "BIL").weights

    risks = [weight * measured[symbol] for symbol, weight in found.items()]
    assert risks == pytest.approx([risks[0]] * 4)
    assert math.fsum(found.values()) == pytest.approx(math.fsum(weights.values()))


# Caps


def test_the_cap_by_range_is_the_weight_of_the_shares_that_may_be_held():
    found = sized_weights({"TECL": 1.0}, inputs(quantity_step=WHOLE_SHARE), OFF.with_parts(ATR))

    # Half a percent of 100,000 over two ranges of 4: 62 whole shares of 100 dollars.
    assert found.caps == {"TECL": 0.062}
    assert found.weights == {"TECL": 0.062}


def test_what_a_cap_cuts_off_goes_to_the_others_within_theirs():
    found = sized_weights({"TECL": 0.5, "BIL": 0.5}, inputs(), OFF.with_parts(ATR))

    # 62.5 shares of 100 dollars; bills may be held to more than all of equity, and to 1 at most.
    assert found.caps == {"TECL": 0.0625, "BIL": 1.0}
    assert found.weights == {"BIL": 0.9375, "TECL": 0.0625}


def test_the_lower_of_both_caps_counts():
    found = sized_weights({"TECL": 0.5, "BIL": 0.5}, inputs(), replace(OFF.with_parts(ATR, CAPS), max_weight=0.4))

    assert found.caps == {"TECL": 0.0625, "BIL": 0.4}
    assert found.weights == {"BIL": 0.4, "TECL": 0.0625}


@pytest.mark.parametrize("name", ["closes", "ranges"])
def test_without_a_range_nothing_is_bought_and_the_others_do_not_get_its_weight(name):
    found = sized_weights({"TECL": 0.5, "BIL": 0.5}, inputs(**lacking("TECL", name)), OFF.with_parts(ATR))

    assert found.weights == {"BIL": 0.5}
    assert list(found.missing) == ["TECL"]
    assert "high and low" in found.missing["TECL"]
    assert "nan" in found.missing["TECL"]


@pytest.mark.parametrize(("held", "kept", "alone"), [(0.2, 0.2, True), (0.7, 0.5, False), (0.5, 0.5, True)])
def test_what_is_held_without_a_range_stays_unless_less_is_wanted(held, kept, alone):
    found = sized_weights(
        {"TECL": 0.5, "BIL": 0.5}, inputs({"TECL": held}, **lacking("TECL", "ranges")), OFF.with_parts(ATR)
    )

    assert found.weights == {"BIL": 0.5, "TECL": kept}
    assert found.kept == {"TECL": kept}
    assert ("TECL" in found.left_alone) == alone


@pytest.mark.parametrize("part", [ATR, TARGET, BAND])
def test_a_symbol_without_bars_is_missing_to_whatever_needs_them(part):
    found = sized_weights({"NONE": 0.5, "SPY": 0.5}, inputs(), OFF.with_parts(part))

    assert set(found.missing) == {"NONE"}
    assert set(found.weights) == {"SPY"}


# Volatility target


@given(accounts, st.floats(0.01, 2), st.floats(0.01, 1), st.sampled_from(CovarianceMethod))
def test_the_scale_is_at_most_the_largest_and_the_volatility_at_most_the_target(weights, target, largest, method):
    options = replace(OFF.with_parts(TARGET), target_volatility=target, largest_scale=largest, covariance=method)

    found = sized_weights(weights, inputs(), options)

    assert found.weights == pytest.approx({s: w * found.scale for s, w in weights.items() if w > 0})
    if found.weights:
        assert 0 < found.scale <= largest
        assert found.volatility * found.scale <= target * (1 + 1e-9)
        # The squares of the smallest weights there are come to nothing.
        assert found.scale == pytest.approx(min(largest, target / max(found.volatility, 1e-300)))


def test_the_volatility_is_that_of_the_shrunk_covariance_of_what_is_wanted():
    found = sized_weights({"SPY": 0.5, "TECL": 0.5}, inputs(), replace(OFF.with_parts(TARGET), target_volatility=0.2))

    wanted = portfolio_volatility(np.array([0.5, 0.5]), ledoit_wolf(RETURNS[:, 1:3]))
    assert found.volatility == pytest.approx(wanted)
    assert found.scale == pytest.approx(0.2 / wanted)
    assert sum(found.weights.values()) == pytest.approx(0.2 / wanted)


def test_a_calm_account_is_never_levered():
    found = sized_weights({"BIL": 1.0}, inputs(), OFF.with_parts(TARGET))

    assert found.volatility < 0.25 / 2
    assert found.weights == {"BIL": 1.0}


def test_what_never_moves_has_the_largest_scale():
    assert volatility_scale(np.array([1.0]), np.zeros((1, 1)), target=0.2, largest=0.9) == (0.9, 0.0)


def test_one_missing_return_makes_a_symbol_missing_and_the_others_are_sized_without_it():
    returns = RETURNS.copy()
    returns[10, 2] = NAN

    found = sized_weights({"SPY": 0.5, "TECL": 0.5}, inputs({"TECL": 0.1}, returns=returns), OFF.with_parts(TARGET))

    assert found.missing == {"TECL": "it lacks some of the last 63 daily returns"}
    assert found.weights == {"SPY": 0.5, "TECL": 0.1}
    assert found.volatility == pytest.approx(portfolio_volatility(np.array([0.5]), ledoit_wolf(RETURNS[:, [1]])))


@pytest.mark.parametrize("count", [0, 1, 62])
def test_fewer_returns_than_the_window_are_too_few_to_size_by(count):
    found = sized_weights({"SPY": 1.0}, inputs(returns=RETURNS[:count]), OFF.with_parts(TARGET))

    assert set(found.missing) == {"SPY"}
    assert found.weights == {}


# No-trade band


def test_within_the_band_nothing_trades_and_the_target_stays_what_it_is():
    # 2 bp of half the spread and 0.7 x 100 bp x the root of 8.3 shares in 70 million: the root of 2.02 bp is 1.4 %.
    found = sized_weights({"SPY": 0.5}, inputs({"SPY": 0.45}), OFF.with_parts(BAND))
    near = sized_weights({"SPY": 0.5}, inputs({"SPY": 0.49}), OFF.with_parts(BAND))

    assert found.bands["SPY"] == pytest.approx(0.0143, abs=2e-4)
    assert not found.left_alone
    assert set(near.left_alone) == {"SPY"}
    assert near.weights == found.weights == {"SPY": 0.5}


def test_the_least_band_holds_where_trading_is_cheap():
    options = replace(OFF.with_parts(BAND), half_spread_bps=0.0, impact=0.0, least_band=0.03)

    assert set(sized_weights({"SPY": 0.5}, inputs({"SPY": 0.4701}), options).left_alone) == {"SPY"}
    assert not sized_weights({"SPY": 0.5}, inputs({"SPY": 0.4699}), options).left_alone


def test_what_costs_more_to_trade_has_a_wider_band():
    found = sized_weights({"SPY": 0.5, "TECL": 0.5}, inputs(equity="100000000"), OFF.with_parts(BAND))

    assert found.bands["TECL"] > found.bands["SPY"] > 0.0142


def test_what_is_held_and_not_wanted_is_sold_whatever_the_band():
    found = sized_weights({"SPY": 1.0}, inputs({"TECL": 0.001}), OFF.with_parts(BAND))

    assert "TECL" not in found.left_alone
    assert "TECL" not in found.weights


@pytest.mark.parametrize("name", ["closes", "volumes", "deviations"])
def test_without_the_cost_of_trading_nothing_is_bought(name):
    found = sized_weights({"TECL": 0.5, "SPY": 0.5}, inputs(**lacking("TECL", name)), OFF.with_parts(BAND))

    assert found.missing["TECL"].startswith("the cost of trading it is not known: ")
    assert found.weights == {"SPY": 0.5}
    assert "TECL" in found.left_alone


# Together, and refused


def test_what_one_part_leaves_is_what_the_next_one_takes():
    options = replace(OFF.with_parts(INVERSE, CAPS, TARGET), max_weight=0.6, target_volatility=0.02)
    found = sized_weights({"BIL": 0.5, "SPY": 0.5}, inputs(), options)

    shares_of = inverse_volatility(
        {"BIL": 0.5, "SPY": 0.5}, dict(zip(SYMBOLS, inputs().deviations, strict=True)), "BIL"
    )
    assert shares_of.weights["BIL"] > 0.85
    # The cap gives 0.6 and 0.4, which are then lowered alike.
    volatility = portfolio_volatility(np.array([0.6, 0.4]), ledoit_wolf(RETURNS[:, :2]))
    assert found.weights == pytest.approx({"BIL": 0.6 * 0.02 / volatility, "SPY": 0.4 * 0.02 / volatility})


@pytest.mark.parametrize("wrong", [-0.1, NAN, math.inf])
def test_a_weight_that_is_none_is_refused_whether_anything_is_on_or_not(wrong):
    for options in (OFF, EVERYTHING):
        with pytest.raises(InvalidInput, match=f"weights to be sized must be 0 or more, found SPY {wrong}"):
            sized_weights({"SPY": wrong}, inputs(), options)


def test_weights_of_more_than_all_of_equity_are_refused():
    with pytest.raises(InvalidInput, match=r"must not sum to more than 1, these sum to 1\.1"):
        sized_weights({"SPY": 0.5, "TECL": 0.6}, inputs(), EVERYTHING)


def test_columns_and_symbols_that_differ_in_number_are_refused():
    with pytest.raises(InvalidInput, match="every figure needs one value for each of 4 symbols, found "):
        inputs(closes=np.ones(3))
