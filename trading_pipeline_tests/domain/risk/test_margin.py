from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.classification import UNKNOWN_LEVERAGE
from trading_pipeline.domain.risk.margin import intraday_excess, maintenance_rate, maintenance_requirement

NOT_A_NUMBER = Decimal("NaN")
dollars = st.decimals(-100_000, 100_000, places=2)
multiples = st.decimals(-5, 5, places=1)
books = st.dictionaries(st.sampled_from(["SPY", "TQQQ", "SQQQ", "BIL"]), dollars)


@pytest.mark.parametrize(
    ("leverage", "short", "rate"),
    [
        ("1", False, "0.25"),
        ("2", False, "0.50"),
        ("-2", False, "0.50"),
        ("1.5", False, "0.375"),
        ("3", False, "0.75"),
        ("1", True, "0.30"),
        ("3", True, "0.90"),
    ],
)
def test_rates_are_those_that_finra_publishes_for_leveraged_funds(leverage, short, rate):
    assert maintenance_rate(Decimal(leverage), short=short) == Decimal(rate)


def test_no_position_is_secured_by_more_than_its_value():
    assert maintenance_rate(Decimal(5)) == 1
    assert maintenance_rate(Decimal(-4), short=True) == 1


def test_a_fund_of_half_its_index_is_secured_like_an_ordinary_one():
    assert maintenance_rate(Decimal("-0.5")) == maintenance_rate(Decimal(1))


def test_an_unknown_multiple_counts_as_the_largest_that_a_fund_has():
    assert maintenance_rate(None) == maintenance_rate(UNKNOWN_LEVERAGE) == Decimal("0.75")


def test_a_multiple_that_is_no_number_has_no_rate():
    assert maintenance_rate(NOT_A_NUMBER).is_nan()


@given(multiples, multiples)
def test_a_larger_multiple_never_has_a_lower_rate(one, other):
    smaller, larger = sorted([one, other], key=abs)

    assert Decimal("0.25") <= maintenance_rate(smaller) <= maintenance_rate(larger) <= 1
    assert maintenance_rate(larger) == maintenance_rate(-larger)


def test_long_and_short_positions_are_all_secured():
    values = {"SPY": Decimal(40_000), "TQQQ": Decimal(20_000), "IWM": Decimal(-10_000)}
    rates = {"SPY": Decimal("0.25"), "TQQQ": Decimal("0.75"), "IWM": Decimal("0.30")}

    assert maintenance_requirement(values, rates) == 10_000 + 15_000 + 3_000


def test_a_symbol_without_a_rate_is_secured_like_one_of_unknown_multiple():
    assert maintenance_requirement({"FNGZ": Decimal(1_000)}, {}) == 750
    assert maintenance_requirement({"FNGZ": Decimal(-1_000)}, {}) == 900


def test_no_positions_need_no_security():
    assert maintenance_requirement({}, {"SPY": Decimal("0.25")}) == 0


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({"SPY": Decimal(1), "TQQQ": NOT_A_NUMBER}, {}),
        ({"SPY": Decimal(1), "TQQQ": Decimal(1)}, {"TQQQ": NOT_A_NUMBER}),
    ],
)
def test_a_value_or_rate_that_is_no_number_leaves_the_requirement_unknown(values, rates):
    requirement = maintenance_requirement(values, rates)

    assert requirement.is_nan()
    assert intraday_excess(Decimal(1), requirement).is_nan()


def test_the_rate_of_a_symbol_that_is_not_held_does_not_matter():
    assert maintenance_requirement({"SPY": Decimal(100)}, {"SPY": Decimal("0.25"), "QQQ": NOT_A_NUMBER}) == 25


def test_equity_below_the_requirement_is_a_deficit():
    assert intraday_excess(Decimal(25_000), Decimal(25_000)) == 0
    assert intraday_excess(Decimal(25_000), Decimal(28_000)) == -3_000
    assert intraday_excess(NOT_A_NUMBER, Decimal(1)).is_nan()


@given(books)
def test_an_account_that_borrows_nothing_has_no_deficit(values):
    rates = {symbol: maintenance_rate(Decimal(3)) for symbol in values}
    longs = {symbol: abs(value) for symbol, value in values.items()}

    assert intraday_excess(sum(longs.values(), Decimal(0)), maintenance_requirement(longs, rates)) >= 0


@given(books, dollars.filter(lambda amount: amount > 0), multiples)
def test_a_purchase_lowers_the_excess_by_its_rate_and_never_raises_it(values, bought, multiple):
    rates = {"NEW": maintenance_rate(multiple)}
    before, after = maintenance_requirement(values, rates), maintenance_requirement({**values, "NEW": bought}, rates)

    fall = intraday_excess(Decimal(50_000), before) - intraday_excess(Decimal(50_000), after)

    assert fall == bought * rates["NEW"] > 0


@given(books, st.permutations(["SPY", "TQQQ", "SQQQ", "BIL"]))
def test_the_order_of_positions_changes_nothing(values, order):
    shuffled = {symbol: values[symbol] for symbol in order if symbol in values}

    assert maintenance_requirement(shuffled, {}) == maintenance_requirement(values, {})
