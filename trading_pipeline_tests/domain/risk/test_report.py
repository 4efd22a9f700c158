import math
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.orders import Side
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.exposure import exposures
from trading_pipeline.domain.risk.limit_of_code import figure_of
from trading_pipeline.domain.risk.limits import FAMILIES, LimitFamily, RiskLimits
from trading_pipeline.domain.risk.report import (
    COMPONENT,
    EWMA_FILTERED,
    EXPECTED_SHORTFALL,
    GARCH_FILTERED,
    VALUE_AT_RISK,
    RiskMeasure,
    account_measures,
    filled,
)
from trading_pipeline.domain.risk.state import OpenOrder
from trading_pipeline_tests.risk_states import SCENARIOS, SESSION, account, only, order, risk_state

ORDINARY = FAMILIES[LimitFamily.ORDINARY]
HELD = {"SPY": 20, "TECL": 30, "SQQQ": 5, "WHAT": 1, "TLT": 4}


def measured(state=None, *orders, limits=ORDINARY, **options):
    """The measures by name and part."""
    state = state or risk_state(account(cash=4_000, **HELD))
    return {(each.name, each.part): each for each in account_measures(state, orders, limits, **options)}


def value(found, name, part=None):
    return found[name, part].value


def test_exposures_are_those_that_are_worked_out_from_market_values():
    found = measured()

    expected = exposures(
        {symbol: Decimal(100 * shares) for symbol, shares in HELD.items()}, Decimal(10_000), SESSION, catalogue()
    )
    assert value(found, "gross leverage") == float(expected.gross)
    assert value(found, "net leverage") == float(expected.net)
    assert value(found, "effective leverage") == float(expected.effective_gross)
    assert value(found, "concentration") == pytest.approx(float(expected.herfindahl))
    assert value(found, "effective bets") == pytest.approx(float(expected.effective_bets))
    assert value(found, "unclassified exposure") == float(expected.unclassified_weight) == 0.01
    for name, share in expected.by_class.items():
        if name != "unknown":
            assert value(found, "class exposure", name) == float(share), name
    for sector, share in expected.by_sector.items():
        if sector not in ("none", "unknown"):
            assert value(found, "sector exposure", sector) == float(share), sector
    assert value(found, "cash") == 0.4


def test_ordinary_and_leveraged_weights_have_limits_of_their_own():
    found = measured()

    assert found["position weight", "SPY"].limit == 0.25
    assert found["leveraged weight", "TECL"].limit == 0.15
    assert found["leveraged weight", "TECL"].share == pytest.approx(2)
    assert found["leveraged weight", "SQQQ"].value == 0.05
    assert ("position weight", "TECL") not in found


def test_approved_orders_count_as_filled_and_open_ones_do_not():
    orders = [order(Side.SELL, 30, "TECL"), replace(order(Side.BUY, 50, "QQQ"), limit_price=Decimal(101))]
    resting = OpenOrder("theirs", "SPY", Side.SELL, Decimal(20), Decimal(100))
    state = risk_state(account(cash=4_000, **HELD), open_orders=(resting,))

    found = measured(state, *orders)

    assert ("leveraged weight", "TECL") not in found
    assert value(found, "position weight", "QQQ") == 0.5
    assert value(found, "position weight", "SPY") == 0.2
    assert value(found, "cash") == pytest.approx(0.2)
    assert value(found, "turnover") == pytest.approx(0.8)
    assert (value(found, "orders"), found["orders", None].limit) == (2, 50)
    assert value(found, "order value", "QQQ") == 5_050
    assert value(found, "price deviation", "QQQ") == pytest.approx(0.01)
    assert value(found, "participation", "TECL") == pytest.approx(3_000 / 1e9)


def test_parts_of_the_expected_shortfall_sum_to_the_whole():
    state = risk_state(account(cash=4_000, SPY=20, TECL=30, SQQQ=10))

    found = measured(state)

    parts = [each.value for (name, _), each in found.items() if name == COMPONENT]
    assert len(parts) == 3
    assert math.fsum(parts) == pytest.approx(value(found, EXPECTED_SHORTFALL, "historical"))
    # By hand: the mean of the 13 worst of 500 and more scenarios.
    weights = np.zeros(len(SCENARIOS.symbols))
    for symbol, weight in {"SPY": 0.2, "TECL": 0.3, "SQQQ": 0.1}.items():
        weights[SCENARIOS.symbols.index(symbol)] = weight
    losses = np.sort(-(SCENARIOS.historical @ weights))
    assert value(found, EXPECTED_SHORTFALL, "historical") == pytest.approx(losses[-13:].mean())
    assert value(found, VALUE_AT_RISK, "historical") == pytest.approx(losses[-6])


def test_only_the_models_that_limits_are_held_against_have_one():
    found = measured()

    limited = {key for key, each in found.items() if key[0] in (VALUE_AT_RISK, EXPECTED_SHORTFALL) and each.limit}
    assert limited == {
        (VALUE_AT_RISK, "student-t"),
        (EXPECTED_SHORTFALL, "historical"),
        (EXPECTED_SHORTFALL, "filtered-historical"),
        (EXPECTED_SHORTFALL, "student-t"),
    }


def test_garch_is_fitted_where_it_is_asked_for_or_ewma_says_that_it_stands_in():
    state = risk_state(account(cash=4_000, SPY=20, TECL=30))

    found = measured(state, with_garch=True)

    served = {part for name, part in found if name == VALUE_AT_RISK} & {GARCH_FILTERED, EWMA_FILTERED}
    assert len(served) == 1
    assert 0 < value(found, EXPECTED_SHORTFALL, served.pop()) < 0.1
    nothing = measured(risk_state(account()), with_garch=True)
    assert {part for name, part in nothing if name == VALUE_AT_RISK}.isdisjoint({GARCH_FILTERED, EWMA_FILTERED})
    assert value(nothing, VALUE_AT_RISK, "filtered-historical") == 0


def test_what_is_not_known_is_no_number_and_has_no_share():
    found = measured(risk_state(account(SPY=20), scenarios=None, strategy_weights=None, average_dollar_volumes=None))

    for key in [(VALUE_AT_RISK, "student-t"), (EXPECTED_SHORTFALL, "filtered-historical"), ("strategy share", None)]:
        assert math.isnan(found[key].value), key
        assert math.isnan(found[key].share), key
    bought = measured(risk_state(account(SPY=20), average_dollar_volumes=None), order())
    assert math.isnan(value(bought, "participation", "SPY"))


@pytest.mark.parametrize("cash", [-2_000, "NaN"])
def test_without_equity_nothing_is_a_fraction_of_it(cash):
    found = measured(risk_state(account(cash=cash, SPY=20)))

    names = ("gross leverage", "effective leverage", "concentration", "margin excess", "cash")
    assert all(math.isnan(value(found, name)) for name in names)


def test_margin_is_limited_only_for_what_is_held_on_credit():
    paid = measured(risk_state(account(cash=0, TECL=100)))["margin excess", None]
    owed = measured(risk_state(account(cash=-5_000, SPY=150)))["margin excess", None]

    assert (paid.limit, paid.value) == (None, pytest.approx(0.25))
    assert owed.limit == 0.05
    assert owed.value == pytest.approx(1 - 0.25 * 1.5)
    assert owed.share == pytest.approx(0.05 / 0.625)
    assert RiskMeasure("margin excess", None, -0.1, 0.05, is_floor=True).share == math.inf


def test_a_strategy_has_the_share_that_it_directs():
    weights = {"tecl": {"TECL": Decimal("0.3"), "BIL": Decimal("0.1")}, "klm": {"SPY": Decimal("0.6")}}

    found = measured(risk_state(account(SPY=20), strategy_weights=weights))

    assert value(found, "strategy share", "tecl") == pytest.approx(0.4)
    assert found["strategy share", "klm"].share == pytest.approx(1.2)


def test_limits_are_those_of_their_codes():
    found = measured(risk_state(account(SPY=20)), order(quantity=5))

    for each in found.values():
        if each.code is not None and not each.is_floor:
            assert each.limit == figure_of(each.code, ORDINARY), each
    assert all(each.limit is None for each in measured(limits=only()).values())


@given(
    quantities=st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True),
    symbols=st.permutations(["SPY", "TECL", "TLT", "QQQ"]),
)
def test_what_the_engine_approved_from_an_account_of_cash_breaks_no_limit(quantities, symbols):
    state = risk_state(account(cash=10_000))
    wanted = [order(quantity=count, symbol=symbol) for count, symbol in zip(quantities, symbols, strict=False)]

    approved = [
        replace(made.intent, quantity=made.quantity) for made in decide(wanted, state, ORDINARY) if made.quantity
    ]

    found = account_measures(state, approved, ORDINARY)
    assert [each for each in found if each.share > 1 + 1e-9] == []
    assert filled(state, approved).cash == 10_000 - sum(each.notional for each in approved)


def test_every_limit_on_the_account_or_its_orders_is_reported():
    state = risk_state(account(cash=4_000, **HELD), strategy_weights={"klm": {"SPY": Decimal("0.2")}})
    found = {each.code for each in measured(state, order()).values()}

    spoken_of = {code for code in BreachCode if figure_of(code, RiskLimits()) is not None}
    # How often the same order was sent is of a minute, and no measure of the account.
    assert spoken_of - found == {BreachCode.DUPLICATE_ORDER}
