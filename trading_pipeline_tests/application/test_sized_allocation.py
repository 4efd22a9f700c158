import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.application.planning import PlannedOrders, Skipped, plan_orders
from trading_pipeline.application.sized_allocation import SIZING, first_session, sized_allocation
from trading_pipeline.domain import sessions
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.instruments import AssetClass, Instrument
from trading_pipeline.domain.portfolio import CASH, Portfolio, Position
from trading_pipeline.domain.sizing.options import SizingOptions, SizingPart
from trading_pipeline_tests.domain.sizing.bars import DAYS, bars_of

SESSION = DAYS[-1]
SYMBOLS = ("BIL", "SPY", "TECL", "UVXY")
DEVIATIONS = {"BIL": 0.0005, "SPY": 0.01, "TECL": 0.04, "UVXY": 0.07}
INSTRUMENTS = {symbol: Instrument(symbol, AssetClass.EQUITY_INDEX) for symbol in SYMBOLS}
OFF = SizingOptions(atr_sessions=7)
INVERSE, ATR, CAPS, TARGET, BAND = SizingPart
DECIDED = SleeveStatus.DECIDED


@pytest.fixture(scope="module")
def bars():
    import pandas as pd

    return pd.concat([bars_of(symbol, deviation=DEVIATIONS[symbol]) for symbol in SYMBOLS], ignore_index=True)


def closes_of(bars):
    last = bars[bars["session"] == SESSION]
    return {row.symbol: Decimal(repr(row.close)) for row in last.itertuples()}


def allocated(*parts, status=DECIDED):
    """An allocation of (strategy, symbol, weight); what is over is cash of the first strategy."""
    rest = 1 - math.fsum(weight for _, _, weight in parts)
    cash = [(parts[0][0], CASH, rest)] if rest > 0 else []
    return Allocation(SESSION, tuple(Contribution(s, name, w, status, SESSION) for name, s, w in [*parts, *cash]))


def account(bars, equity="100000", **weights):
    """An account of that equity which holds ``weights`` of it at the session's closes."""
    closes, total = closes_of(bars), Decimal(equity)
    held = {
        symbol: Position(symbol, round(Decimal(repr(weight)) * total / closes[symbol], 9), closes[symbol])
        for symbol, weight in weights.items()
    }
    invested = sum((position.market_value for position in held.values()), Decimal(0))
    return Portfolio("SIM0001", datetime(2026, 7, 1, 20, tzinfo=UTC), total - invested, held)


def planned(sized, portfolio, bars, band="0.01"):
    found = plan_orders(
        sized.allocation,
        portfolio,
        closes_of(bars),
        sized.tradable(INSTRUMENTS),
        account="SIM0001",
        plan_id="2026-06-30.1",
        collar=Decimal("0.01"),
        band=Decimal(band),
    )
    return sized.explained(found)


WANTED = allocated(("tecl", "TECL", 0.5), ("klm", "SPY", 0.2), ("klm", "TECL", 0.1), ("klm", "BIL", 0.2))


def test_with_everything_off_the_allocation_itself_is_handed_on(bars):
    portfolio = account(bars, TECL=0.3)

    sized = sized_allocation(WANTED, portfolio, bars, OFF)

    assert sized.allocation is WANTED
    assert sized.sizes.weights == WANTED.weights
    assert sized.tradable(INSTRUMENTS) == INSTRUMENTS
    as_before = plan_orders(
        WANTED,
        portfolio,
        closes_of(bars),
        INSTRUMENTS,
        account="SIM0001",
        plan_id="2026-06-30.1",
        collar=Decimal("0.01"),
    )
    assert planned(sized, portfolio, bars) == as_before


def test_with_everything_off_no_bars_are_needed(bars):
    assert sized_allocation(WANTED, account(bars), bars.iloc[:0], OFF).allocation is WANTED
    assert first_session(SESSION, OFF) == SESSION


def test_what_nobody_decided_is_not_sized(bars):
    carried = allocated(("tecl", "TECL", 1.0), status=SleeveStatus.CARRIED)

    assert sized_allocation(carried, account(bars), bars, OFF.with_parts(CAPS)).allocation is carried


def test_without_equity_nothing_is_sized(bars):
    broke = replace(account(bars), cash=Decimal(-1))

    assert sized_allocation(WANTED, broke, bars, OFF.with_parts(CAPS)).allocation is WANTED


def test_what_is_cut_is_cut_from_every_strategy_in_proportion_and_is_cash(bars):
    sized = sized_allocation(WANTED, account(bars), bars, replace(OFF.with_parts(TARGET), target_volatility=0.1))

    scale = sized.sizes.scale
    assert 0 < scale < 0.5
    found = {(part.strategy, part.symbol): part.weight for part in sized.allocation.contributions}
    wanted = {(part.strategy, part.symbol): part.weight * scale for part in WANTED.contributions}
    assert found == pytest.approx(wanted | {(SIZING, CASH): 1 - scale})
    assert not sized.allocation.is_undecided


def test_a_cap_on_a_symbol_is_borne_by_all_who_want_it(bars):
    sized = sized_allocation(WANTED, account(bars), bars, replace(OFF.with_parts(CAPS), max_weight=0.3))

    found = {(part.strategy, part.symbol): part.weight for part in sized.allocation.contributions}
    # TECL 0.6 is cut to 0.3; what is cut off gives SPY and BIL 0.3 each, which leaves 0.1 over.
    wanted = {("tecl", "TECL"): 0.25, ("klm", "TECL"): 0.05, ("klm", "SPY"): 0.3, ("klm", "BIL"): 0.3}
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)
    assert found[SIZING, CASH] == pytest.approx(0.1)


def test_cash_that_a_strategy_wants_stays_its_own(bars):
    wanted = allocated(("tecl", "TECL", 0.4), ("klm", "SPY", 0.3))

    sized = sized_allocation(wanted, account(bars), bars, replace(OFF.with_parts(CAPS), max_weight=0.2))

    cash = {part.strategy: part.weight for part in sized.allocation.behind(CASH)}
    assert cash == pytest.approx({"tecl": 0.3, SIZING: 0.3})


def test_the_safe_asset_that_stands_in_is_held_for_all_by_what_they_had_invested(bars):
    wanted = allocated(("tecl", "TECL", 0.6), ("klm", "SPY", 0.2))
    early = bars[bars["session"] > DAYS[-5]]

    sized = sized_allocation(wanted, account(bars), early, OFF.with_parts(INVERSE))

    assert sized.sizes.used_fallback
    held = {part.strategy: part.weight for part in sized.allocation.behind("BIL")}
    assert held == pytest.approx({"tecl": 0.6, "klm": 0.2})
    assert sized.allocation.weights == pytest.approx({"BIL": 0.8, "SPY": 0.0, "TECL": 0.0})


def test_a_safe_asset_that_is_wanted_at_no_weight_can_stand_in(bars):
    wanted = allocated(("tecl", "TECL", 1.0), ("tecl", "BIL", 0.0))

    sized = sized_allocation(wanted, account(bars), bars.iloc[:0], OFF.with_parts(INVERSE))

    assert sized.allocation.weights == pytest.approx({"BIL": 1.0, "TECL": 0.0})


def test_what_is_within_its_band_has_no_order_and_says_why(bars):
    wanted = allocated(("tecl", "TECL", 0.5), ("klm", "SPY", 0.5))
    portfolio = account(bars, TECL=0.51, SPY=0.3)

    sized = sized_allocation(wanted, portfolio, bars, replace(OFF.with_parts(BAND), least_band=0.05))
    found = planned(sized, portfolio, bars, band="0")

    assert [(intent.side.value, intent.symbol) for intent in found.intents] == [("buy", "SPY")]
    [left] = found.skipped
    assert left == Skipped("TECL", "sizing leaves it alone: it is within 5.00% of equity of its target")


def test_a_symbol_that_cannot_be_sized_is_not_bought_and_what_is_held_is_left_alone(bars):
    lacking = bars[(bars["symbol"] != "TECL") | (bars["session"] != DAYS[-3])]
    wanted = allocated(("tecl", "TECL", 0.5), ("klm", "SPY", 0.5))
    portfolio = account(bars, TECL=0.2)

    sized = sized_allocation(wanted, portfolio, lacking, OFF.with_parts(ATR))
    found = planned(sized, portfolio, bars)

    assert [intent.symbol for intent in found.intents] == ["SPY"]
    assert found.skipped[0].reason.startswith("sizing leaves it alone: its close is ")
    note = sized.to_frame().set_index("symbol").loc["TECL"]
    assert (note["wanted"], note["sized"]) == (0.5, pytest.approx(0.2))
    assert math.isnan(note["cap"])
    assert "high and low" in note["note"]


def test_whole_shares_are_what_a_cap_by_range_counts_where_only_they_are_traded(bars):
    caps = {
        whole: sized_allocation(
            WANTED, account(bars, equity="2000"), bars, OFF.with_parts(ATR), whole_shares=whole
        ).sizes.caps["TECL"]
        for whole in (False, True)
    }

    shares = {whole: cap * 2000 / float(closes_of(bars)["TECL"]) for whole, cap in caps.items()}
    assert shares[True] == pytest.approx(math.floor(shares[False]))
    assert shares[False] != pytest.approx(shares[True])


@pytest.mark.parametrize("parts", [(CAPS,), (TARGET,), (ATR,), tuple(SizingPart)])
def test_bars_before_the_first_session_that_is_needed_change_nothing(bars, parts):
    options = OFF.with_parts(*parts)
    needed = bars[bars["session"] >= first_session(SESSION, options)]

    assert len(sessions.sessions_between(first_session(SESSION, options), SESSION)) == options.sessions_needed
    one, other = (sized_allocation(WANTED, account(bars), each, options).allocation for each in (needed, bars))
    assert one == other


shares = st.lists(st.one_of(st.floats(0, 1), st.just(0.0), st.just(5e-324)), min_size=8, max_size=8)


@given(shares, st.lists(st.floats(0, 0.25), min_size=4, max_size=4), st.frozensets(st.sampled_from(SizingPart)))
def test_whatever_is_on_the_target_is_one_whole_account_that_holds_what_sizing_says(bars, found, held, parts):
    total = max(1.0, math.fsum(found))
    keys = [(strategy, symbol) for strategy in ("klm", "tecl") for symbol in SYMBOLS]
    wanted = allocated(*[(*key, part / total) for key, part in zip(keys, found, strict=True)])
    portfolio = account(bars, **dict(zip(SYMBOLS, held, strict=True)))

    sized = sized_allocation(wanted, portfolio, bars, OFF.with_parts(*parts))

    traded = {symbol: sized.allocation.weights.get(symbol, 0.0) for symbol in SYMBOLS}
    assert traded == pytest.approx({symbol: sized.sizes.weights.get(symbol, 0.0) for symbol in SYMBOLS}, abs=1e-12)
    assert set(sized.allocation.weights) <= set(SYMBOLS)
    assert sized.allocation.cash >= wanted.cash - 1e-12
    found_orders = planned(sized, portfolio, bars)
    assert not {intent.symbol for intent in found_orders.intents} & set(sized.sizes.left_alone)


def test_a_plan_of_nothing_is_explained_as_it_is(bars):
    sized = sized_allocation(WANTED, account(bars), bars, OFF.with_parts(CAPS))

    assert sized.explained(PlannedOrders(reason="why")) == PlannedOrders(reason="why")
