from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.risk.exposure import Exposures, exposures

DAY = date(2026, 7, 31)
ROUNDING = Decimal("1e-20")

symbols = st.sampled_from([*catalogue(), "FNGZ", "OWNED"])
dollars = st.decimals(-1_000_000, 1_000_000, places=2)
books = st.dictionaries(symbols, dollars, max_size=12)
equities = st.decimals("0.01", 10_000_000, places=2)


def measured(equity=1000, **values) -> Exposures:
    return exposures({symbol: Decimal(value) for symbol, value in values.items()}, Decimal(equity), DAY, catalogue())


def near(first: Decimal | Mapping[str, Decimal], second: Decimal | Mapping[str, Decimal]) -> bool:
    if isinstance(first, Mapping):
        return first.keys() == second.keys() and all(near(first[name], second[name]) for name in first)
    return abs(first - second) <= ROUNDING * max(abs(first), abs(second), Decimal(1))


def figures(found: Exposures) -> list[Decimal | Mapping[str, Decimal]]:
    return list(vars(found).values())


def test_equity_wholly_in_a_threefold_fund_is_exposed_threefold():
    found = measured(TECL=1000)

    assert (found.gross, found.net, found.effective_gross, found.effective_net) == (1, 1, 3, 3)
    assert found.by_class == {"equity sector": 1}
    assert found.effective_by_class == {"equity sector": 3}
    assert found.by_sector == {"technology": 1}
    assert found.leveraged_weight == 1
    assert (found.herfindahl, found.effective_bets) == (1, 1)


def test_an_inverse_fund_is_exposed_the_other_way():
    found = measured(SPY=500, SQQQ=200, PSQ=100)

    assert found.net == Decimal("0.8")
    assert found.effective_net == Decimal("0.5") - Decimal("0.6") - Decimal("0.1")
    assert found.effective_gross == Decimal("1.2")
    assert found.leveraged_weight == Decimal("0.3")


def test_a_short_position_in_an_inverse_fund_is_exposed_long():
    found = measured(SQQQ=-100)

    assert (found.gross, found.net, found.effective_net) == (Decimal("0.1"), Decimal("-0.1"), Decimal("0.3"))


def test_parts_are_told_by_class_and_by_sector():
    found = measured(TECL=200, NVDA=100, XLE=100, BIL=300, SVXY=100)

    assert found.by_class == {
        "cash equivalent": Decimal("0.3"),
        "equity sector": Decimal("0.3"),
        "stock": Decimal("0.1"),
        "volatility": Decimal("0.1"),
    }
    assert found.by_sector == {"energy": Decimal("0.1"), "none": Decimal("0.4"), "technology": Decimal("0.3")}
    assert found.effective_by_sector["technology"] == Decimal("0.7")
    assert found.effective_by_class["volatility"] == Decimal("0.05")


def test_what_nobody_classified_is_told_apart_and_counts_threefold():
    found = measured(SPY=500, FNGZ=50)

    assert found.unclassified_weight == Decimal("0.05")
    assert found.by_class["unknown"] == found.by_sector["unknown"] == Decimal("0.05")
    assert found.effective_gross == Decimal("0.65")


def test_four_equal_parts_are_four_bets():
    found = measured(SPY=250, TLT=250, GLD=250, UUP=250)

    assert (found.herfindahl, found.effective_bets) == (Decimal("0.25"), 4)


def test_an_account_that_holds_nothing_has_no_exposure_and_no_number_of_bets():
    found = measured()

    assert (found.gross, found.effective_gross, found.herfindahl, found.effective_bets) == (0, 0, 0, None)
    assert found.by_class == found.by_sector == {}


@pytest.mark.parametrize("equity", ["0", "-1", "NaN", "Infinity"])
def test_without_a_positive_equity_nothing_is_measured(equity):
    with pytest.raises(DataError, match="equity"):
        measured(equity, SPY=100)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_market_value_that_is_no_number_is_named(value):
    with pytest.raises(DataError, match=f"TLT {value}"):
        measured(SPY=100, TLT=value)


@given(books, equities)
def test_classes_and_sectors_sum_to_the_whole(book, equity):
    found = exposures(book, equity, DAY, catalogue())

    for parts, whole in (
        (found.by_class, found.gross),
        (found.by_sector, found.gross),
        (found.effective_by_class, found.effective_gross),
        (found.effective_by_sector, found.effective_gross),
    ):
        assert near(sum(parts.values(), Decimal(0)), whole)
    assert near(sum(found.weights.values(), Decimal(0)), found.net)
    assert near(found.unclassified_weight, found.by_class.get("unknown", Decimal(0)))


@given(books, equities)
def test_gross_is_never_below_net_nor_a_part_above_the_whole(book, equity):
    found = exposures(book, equity, DAY, catalogue())

    assert found.gross + ROUNDING >= abs(found.net)
    assert found.effective_gross + ROUNDING >= abs(found.effective_net)
    assert found.gross + ROUNDING >= max(found.leveraged_weight, found.unclassified_weight)


@given(books, equities)
def test_effective_is_at_least_gross_where_no_fund_has_less_than_its_index(book, equity):
    whole = {symbol: value for symbol, value in book.items() if symbol != "SVXY"}

    found = exposures(whole, equity, DAY, catalogue())

    assert found.effective_gross >= found.gross


@given(books, equities, st.integers(-6, 6).map(lambda exponent: Decimal(10) ** exponent))
def test_an_account_of_another_size_has_the_same_exposures(book, equity, scale):
    scaled = exposures({symbol: value * scale for symbol, value in book.items()}, equity * scale, DAY, catalogue())

    assert all(map(near, figures(scaled), figures(exposures(book, equity, DAY, catalogue()))))


@given(st.lists(st.tuples(symbols, dollars), unique_by=lambda pair: pair[0], max_size=12), equities, st.randoms())
def test_the_order_of_positions_changes_nothing(pairs, equity, random):
    shuffled = random.sample(pairs, len(pairs))

    first, second = (exposures(dict(order), equity, DAY, catalogue()) for order in (pairs, shuffled))

    assert all(map(near, figures(first), figures(second)))


@given(st.dictionaries(symbols, st.decimals("0.01", 1_000_000, places=2), min_size=1, max_size=12))
def test_the_herfindahl_index_of_an_invested_account_lies_between_equal_parts_and_one(book):
    found = exposures(book, sum(book.values(), Decimal(0)), DAY, catalogue())

    assert Decimal(1) / len(book) - ROUNDING <= found.herfindahl <= 1 + ROUNDING
    assert 1 - ROUNDING <= found.effective_bets <= len(book) + ROUNDING
