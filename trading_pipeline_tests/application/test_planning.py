from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_pipeline.application.planning import (
    Skipped,
    approved_intents_from_frame,
    decisions_to_frame,
    intents_from_frame,
    intents_to_frame,
    plan_orders,
    portfolio_from_frame,
    portfolio_to_frame,
    valued_at,
)
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.classification import Classification, Sector
from trading_pipeline.domain.errors import DataError, InvalidInput
from trading_pipeline.domain.instruments import AssetClass, Instrument
from trading_pipeline.domain.orders import OrderType, Side, TimeInForce, client_order_id
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.decisions import Approved, Denied, Reduced
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline_tests.risk_states import risk_state

SESSION = date(2026, 7, 2)
NEXT_SESSION = date(2026, 7, 6)
AS_OF = datetime(2026, 7, 2, 20, tzinfo=UTC)
PLAN_ID = "2026-07-02/1"
BAND = Decimal("0.01")
SYMBOLS = ("BIL", "FNGU", "QQQ", "SPY", "TECL")
INSTRUMENTS = {symbol: Instrument(symbol, AssetClass.EQUITY_INDEX, fractionable=symbol != "FNGU") for symbol in SYMBOLS}
PRICES = {"BIL": 91, "FNGU": 25, "QQQ": 500, "SPY": 400, "TECL": 80}


def dollars(prices):
    return {symbol: Decimal(str(price)) for symbol, price in prices.items()}


def target(status=SleeveStatus.DECIDED, strategy="tecl", **weights):
    cash = round(1 - sum(weights.values()), 9)
    held = weights | ({"CASH": cash} if cash else {})
    parts = tuple(Contribution(symbol, strategy, weight, status, SESSION) for symbol, weight in held.items())
    return Allocation(SESSION, parts)


def account(cash, prices=PRICES, **shares):
    marks = dollars(prices)
    positions = {symbol: Position(symbol, Decimal(str(count)), marks[symbol]) for symbol, count in shares.items()}
    return Portfolio("SIM0001", AS_OF, Decimal(str(cash)), positions)


def plan(allocation, portfolio, prices=PRICES, instruments=INSTRUMENTS, **settings):
    given_settings = {"account": "SIM0001", "plan_id": PLAN_ID, "collar": Decimal("0.01"), **settings}
    return plan_orders(allocation, portfolio, dollars(prices), instruments, **given_settings)


def orders(planned):
    return [(intent.side.value, intent.symbol, intent.quantity) for intent in planned.intents]


def signed(intent):
    return intent.quantity if intent.side is Side.BUY else -intent.quantity


def filled(portfolio, intents):
    cash, positions = portfolio.cash, dict(portfolio.positions)
    for intent in intents:
        held = portfolio.quantity(intent.symbol) + signed(intent)
        positions[intent.symbol] = Position(intent.symbol, held, intent.reference_price)
        cash -= signed(intent) * intent.reference_price
    return replace(portfolio, cash=cash, positions=positions)


def spent(planned, side):
    return sum((intent.notional for intent in planned.intents if intent.side is side), Decimal(0))


def test_an_empty_account_buys_its_target():
    planned = plan(target(SPY=0.6, TECL=0.4), account(10_000))

    assert orders(planned) == [("buy", "SPY", 15), ("buy", "TECL", 50)]


def test_only_the_missing_part_is_bought_and_only_the_excess_is_sold():
    planned = plan(target(SPY=0.5, TECL=0.5), account(0, SPY=20, TECL=25))

    assert orders(planned) == [("sell", "SPY", Decimal("7.5")), ("buy", "TECL", Decimal("37.5"))]


def test_sells_come_first_and_each_side_goes_by_symbol():
    planned = plan(target(BIL=0.3, FNGU=0.7), account(1_000, SPY=5, QQQ=4))

    assert [(intent.side.value, intent.symbol) for intent in planned.intents] == [
        ("sell", "QQQ"),
        ("sell", "SPY"),
        ("buy", "BIL"),
        ("buy", "FNGU"),
    ]
    assert [intent.sequence for intent in planned.intents] == [1, 2, 3, 4]


def test_an_order_is_named_after_its_account_plan_symbol_and_side_alone():
    cheap, dear = plan(target(SPY=1.0), account(10_000)), plan(target(SPY=0.5), account(900), prices={"SPY": 410})

    expected = client_order_id("SIM0001", PLAN_ID, "SPY", Side.BUY)
    assert cheap.intents[0].client_order_id == dear.intents[0].client_order_id == expected


def test_a_limit_lies_beyond_the_price_by_the_collar_rounded_outwards_to_the_tick():
    prices = {"SPY": "400.013", "TECL": "80.017"}

    sale, buy = plan(target(TECL=1.0), account(0, prices, SPY=20), prices).intents

    assert (sale.limit_price, buy.limit_price) == (Decimal("396.01"), Decimal("80.82"))
    assert {sale.order_type, buy.order_type} == {OrderType.LIMIT}
    assert {sale.time_in_force, buy.time_in_force} == {TimeInForce.DAY}


def test_without_a_collar_orders_go_to_the_market():
    (intent,) = plan(target(SPY=1.0), account(10_000), collar=None).intents

    assert (intent.order_type, intent.limit_price) == (OrderType.MARKET, None)


def test_the_reason_says_what_moves_and_who_decided_it():
    parts = (
        Contribution("TECL", "tecl", 0.625, SleeveStatus.DECIDED, SESSION),
        Contribution("TECL", "nuclear", 0.125, SleeveStatus.CARRIED, date(2026, 6, 30)),
        Contribution("BIL", "klm", 0.15, SleeveStatus.FALLBACK, date(2026, 6, 24)),
        Contribution("BIL", "other", 0.1, SleeveStatus.HELD, SESSION),
    )

    planned = plan(Allocation(SESSION, parts), account(6_000, SPY=10))

    assert [intent.reason for intent in planned.intents] == [
        "SPY 40% -> 0%: no strategy holds it",
        "BIL 0% -> 25%: safe asset of klm, undecided since 2026-06-24, held by other, near its target",
        "TECL 0% -> 75%: decided by tecl, carried for nuclear since 2026-06-30",
    ]


def test_inside_the_band_a_position_is_left_alone():
    planned = plan(target(SPY=0.5, BIL=0.5), account(Decimal("4950.5"), SPY=Decimal("12.6")), band=Decimal("0.6"))

    assert planned.intents == ()
    assert planned.skipped == ()


@pytest.mark.parametrize(("wanted", "trades"), [(0.5099, False), (0.51, True)])
def test_a_difference_as_large_as_the_band_trades(wanted, trades):
    planned = plan(target(SPY=wanted), account(5_000, SPY=Decimal("12.5")), band=BAND)

    assert bool(planned.intents) == trades


def test_what_is_unwanted_is_sold_whole_though_inside_the_band_and_below_the_minimum():
    planned = plan(target(BIL=0.0), account(10_000, SPY=Decimal("0.000000001")))

    assert orders(planned) == [("sell", "SPY", Decimal("0.000000001"))]


def test_a_buy_below_the_minimum_notional_is_left_out_and_reported():
    planned = plan(target(SPY=0.5), account(Decimal("1.98")))

    assert planned.intents == ()
    assert planned.skipped == (
        Skipped("SPY", "0.002475 shares are missing, 0.002475 can be bought: less than an order may be"),
    )


def test_a_note_that_is_not_fractionable_trades_in_whole_shares():
    bought = plan(target(FNGU=0.5), account(1_999))
    sold = plan(target(FNGU=0.5), account(0, FNGU=41))

    assert orders(bought) == [("buy", "FNGU", 39)]
    assert orders(sold) == [("sell", "FNGU", 21)]


def test_whole_shares_may_be_asked_for_where_fractions_are_allowed():
    planned = plan(target(SPY=0.5), account(0, SPY=Decimal("10.5")), whole_shares=True)

    assert orders(planned) == [("sell", "SPY", 6)]


def test_an_unwanted_fraction_is_sold_even_when_whole_shares_are_asked_for():
    planned = plan(target(BIL=0.0), account(1_000, SPY=Decimal("2.5")), whole_shares=True)

    assert orders(planned) == [("sell", "SPY", Decimal("2.5"))]


def test_a_fraction_of_what_trades_whole_cannot_be_sold_and_is_reported():
    planned = plan(target(BIL=0.0), account(1_000, FNGU=Decimal("0.5")))

    assert planned.intents == ()
    assert planned.skipped == (Skipped("FNGU", "0.5 shares are held, less than can be sold"),)


@pytest.mark.parametrize("price", ["0", "-3", "NaN", "Infinity", "0.0000000001"])
def test_a_symbol_without_a_positive_price_is_reported_and_not_traded(price):
    planned = plan(target(SPY=0.5, BIL=0.5), account(10_000), prices=PRICES | {"SPY": price})

    assert orders(planned)[0][1] == "BIL"
    assert [left_out.symbol for left_out in planned.skipped] == ["SPY"]


def test_a_missing_price_is_reported_for_what_is_held_and_for_what_is_wanted():
    planned = plan(target(QQQ=1.0), account(1_000, SPY=5), prices={"BIL": 91})

    reason = "its price is missing; a positive one is needed"
    assert planned.skipped == (Skipped("QQQ", reason), Skipped("SPY", reason))


def test_a_symbol_that_nobody_knows_is_reported():
    planned = plan(target(SPY=1.0), account(1_000), instruments={})

    assert planned.skipped == (Skipped("SPY", "no instrument of this symbol is known"),)


def test_a_short_position_is_reported_and_not_traded():
    planned = plan(target(SPY=1.0), account(10_000, SPY=-5))

    assert planned.intents == ()
    assert "a person must close shorts" in planned.skipped[0].reason


def test_an_undecided_allocation_makes_no_orders_and_says_why():
    planned = plan(target(SleeveStatus.CARRIED, SPY=1.0), account(10_000, TECL=5))

    assert planned.intents == ()
    assert planned.reason == "no strategy decided on 2026-07-02: what is held stays"


@pytest.mark.parametrize("cash", ["-2000", "-2000.01", "NaN"])
def test_without_positive_equity_nothing_is_planned(cash):
    planned = plan(target(SPY=1.0), account(cash, SPY=5))

    assert planned.intents == ()
    assert "positive one is needed" in planned.reason


def test_the_portfolio_is_valued_at_the_plans_own_prices():
    yesterday = account(0, SPY=25)

    planned = plan(target(SPY=1.0), yesterday, prices={"SPY": 440})

    assert planned.intents == ()


def test_a_position_without_a_price_keeps_the_one_it_has():
    valued = valued_at(account(0, SPY=2, QQQ=1), dollars({"SPY": 440, "QQQ": "NaN"}))

    assert {symbol: held.price for symbol, held in valued.positions.items()} == {"SPY": 440, "QQQ": 500}


def test_float_dust_in_a_weight_costs_no_share():
    # 0.7 * 0.1 is 0.06999999999999999: seven hundred dollars, not a hair less.
    planned = plan(target(FNGU=0.7 * 0.1), account(10_000), prices={"FNGU": 100})

    assert orders(planned) == [("buy", "FNGU", 7)]


def test_buys_are_cut_to_the_cash_that_there_is_when_a_holding_cannot_be_sold():
    prices = {"SPY": 400, "TECL": 80}

    planned = plan(target(SPY=0.5, TECL=0.5), account(5_000, QQQ=10), prices)

    assert orders(planned) == [("buy", "SPY", Decimal("12.5"))]
    assert [left_out.symbol for left_out in planned.skipped] == ["QQQ", "TECL"]


def test_a_cut_buy_says_so():
    planned = plan(target(SPY=0.5, TECL=0.5), account(7_000, QQQ=6), prices={"SPY": 400, "TECL": 80})

    assert orders(planned) == [("buy", "SPY", Decimal("12.5")), ("buy", "TECL", 25)]
    assert planned.intents[1].reason == "TECL 0% -> 50%: decided by tecl; cut to the cash that is left"


def test_borrowed_money_buys_nothing():
    planned = plan(target(TECL=1.0), account(-500, SPY=5), prices={"TECL": 80})

    assert planned.intents == ()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("band", "-0.01"), ("band", "1.1"), ("minimum_notional", "-1"), ("collar", "1"), ("collar", "-0.1")],
)
def test_a_setting_outside_its_range_is_refused_by_name(setting, value):
    with pytest.raises(InvalidInput, match=setting.replace("_", " ")):
        plan(target(SPY=1.0), account(1_000), **{setting: Decimal(value)})


@st.composite
def targets(draw):
    chosen = draw(st.lists(st.sampled_from(SYMBOLS), unique=True))
    amounts = {symbol: draw(st.integers(1, 500)) for symbol in chosen}
    whole = sum(amounts.values()) + draw(st.integers(1, 500))
    cash = (whole - sum(amounts.values())) / whole
    weights = {symbol: amount / whole for symbol, amount in amounts.items()} | {"CASH": cash}
    return Allocation(
        SESSION,
        tuple(
            Contribution(symbol, "tecl", weight, SleeveStatus.DECIDED, SESSION) for symbol, weight in weights.items()
        ),
    )


def prices_of(symbols):
    price = st.decimals(Decimal("0.5"), 2_000, places=4)
    return st.fixed_dictionaries(dict.fromkeys(symbols, price))


@st.composite
def situations(draw, priced=SYMBOLS):
    prices = draw(prices_of(SYMBOLS))
    held = st.decimals(0, 500, places=9)
    shares = draw(st.dictionaries(st.sampled_from(SYMBOLS), held))
    # What trades whole is held whole, unless a corporate action left a fraction: that has a test of its own.
    shares = {symbol: count // 1 if symbol == "FNGU" else count for symbol, count in shares.items()}
    portfolio = account(draw(st.decimals(100, 100_000, places=2)), prices, **shares)
    return draw(targets()), portfolio, {symbol: prices[symbol] for symbol in priced}


def weight_of(allocation, symbol):
    return Decimal(str(allocation.weights.get(symbol, 0)))


def step_value(symbol, prices):
    return INSTRUMENTS[symbol].quantity_step() * prices[symbol]


# Frames are slow to build, and the first of them imports pandas.
with_frames = settings(max_examples=30, deadline=None)

NO_BAND = {"band": Decimal(0), "minimum_notional": Decimal(0)}
bands = st.sampled_from([Decimal(0), BAND, Decimal("0.1")])


@given(situations(), st.booleans())
def test_orders_from_differences_reach_the_target_within_a_rounding_step(situation, whole_shares):
    allocation, portfolio, prices = situation
    planned = plan(allocation, portfolio, prices, whole_shares=whole_shares, **NO_BAND)
    end = filled(valued_at(portfolio, prices), planned.intents)

    for intent in planned.intents:
        step = prices[intent.symbol] if whole_shares else step_value(intent.symbol, prices)
        missing = weight_of(allocation, intent.symbol) * portfolio.equity - end.positions[intent.symbol].market_value
        assert abs(missing) <= step + portfolio.equity * Decimal("1e-11")


@given(situations(), bands)
def test_inside_the_band_nothing_trades_but_what_is_unwanted(situation, band):
    allocation, portfolio, prices = situation
    weights = portfolio.weights()

    for intent in plan(allocation, portfolio, prices, band=band).intents:
        wanted = weight_of(allocation, intent.symbol)
        distance = abs(wanted - weights.get(intent.symbol, Decimal(0)))
        assert wanted == 0 or distance >= band - Decimal("1e-12")


@given(situations(), bands)
def test_whatever_is_unwanted_is_sold_whole(situation, band):
    allocation, portfolio, prices = situation
    planned = plan(allocation, portfolio, prices, band=band)
    sold = {intent.symbol: intent.quantity for intent in planned.intents if intent.side is Side.SELL}

    for symbol, held in portfolio.positions.items():
        if held.quantity > 0 and symbol not in allocation.weights:
            assert sold[symbol] == held.quantity


@given(situations(), bands, st.booleans())
def test_a_plan_that_was_filled_leaves_nothing_to_plan(situation, band, whole_shares):
    allocation, portfolio, prices = situation
    first = plan(allocation, portfolio, prices, band=band, whole_shares=whole_shares)

    again = plan(allocation, filled(portfolio, first.intents), prices, band=band, whole_shares=whole_shares)

    assert again.intents == ()


@given(situations(), bands, st.booleans())
def test_sells_never_exceed_what_is_held(situation, band, whole_shares):
    allocation, portfolio, prices = situation

    for intent in plan(allocation, portfolio, prices, band=band, whole_shares=whole_shares).intents:
        assert intent.side is Side.BUY or intent.quantity <= portfolio.quantity(intent.symbol)


@given(situations(priced=SYMBOLS[:3]), bands, st.booleans())
def test_buys_never_need_more_than_the_cash_and_the_proceeds_of_sales(situation, band, whole_shares):
    allocation, portfolio, prices = situation
    planned = plan(allocation, portfolio, prices, band=band, whole_shares=whole_shares)

    assert spent(planned, Side.BUY) <= portfolio.cash + spent(planned, Side.SELL)


@given(situations(), st.booleans())
def test_every_quantity_is_positive_and_on_its_grid_and_each_symbol_has_one_order(situation, whole_shares):
    allocation, portfolio, prices = situation
    planned = plan(allocation, portfolio, prices, whole_shares=whole_shares)

    for intent in planned.intents:
        assert intent.quantity > 0
        assert intent.quantity % INSTRUMENTS[intent.symbol].quantity_step() == 0
    assert len({intent.symbol for intent in planned.intents}) == len(planned.intents)


@given(situations())
def test_a_plan_passes_the_default_limits_of_risk_untouched(situation):
    allocation, portfolio, prices = situation
    planned = plan(allocation, portfolio, prices)
    assume(all(intent.notional < 900_000 for intent in planned.intents))

    decisions = decide(planned.intents, state_of(valued_at(portfolio, prices)), RiskLimits())

    assert all(isinstance(decision, Approved) for decision in decisions)


def state_of(portfolio, assets=None):
    classes = {symbol: Classification(AssetClass.EQUITY_INDEX, Sector.BROAD_MARKET, Decimal(1)) for symbol in SYMBOLS}
    return risk_state(portfolio, SYMBOLS, assets=assets or broker_words(), classes=classes)


class Word:
    def __init__(self, fractionable):
        self.tradable, self.fractionable = True, fractionable


def broker_words():
    return {symbol: Word(instrument.fractionable) for symbol, instrument in INSTRUMENTS.items()}


def through_arrow(frame):
    """What a table gives back: decimals at nine places, dates, nulls."""
    decimal = pa.decimal128(38, 9)
    money = {"quantity", "limit_price", "reference_price", "notional", "approved_quantity", "price", "market_value"}
    days = {"session", "execution_session"}
    kinds = {"sequence": pa.int64(), "weight": pa.float64(), "as_of": pa.timestamp("us", tz="UTC")}
    fields = [
        (name, decimal if name in money else pa.date32() if name in days else kinds.get(name, pa.string()))
        for name in frame.columns
    ]
    return pa.Table.from_pandas(frame, schema=pa.schema(fields), preserve_index=False).to_pandas()


@with_frames
@given(situations(), st.sampled_from([None, Decimal("0.01")]))
def test_intents_survive_the_table(situation, collar):
    intents = plan(*situation, collar=collar).intents

    assert intents_from_frame(through_arrow(intents_to_frame(intents, SESSION))) == intents


def test_the_order_plan_belongs_to_the_next_session():
    frame = intents_to_frame(plan(target(SPY=1.0), account(1_000)).intents, SESSION)

    assert frame[["session", "execution_session"]].values.tolist() == [[SESSION, NEXT_SESSION]]
    assert frame["notional"].tolist() == [1_000]


ORDER_PLAN = (
    "session execution_session client_order_id sequence symbol side quantity order_type limit_price "
    "reference_price notional time_in_force reason"
)


def test_an_empty_plan_has_all_the_columns_that_were_agreed():
    assert list(intents_to_frame([], SESSION).columns) == ORDER_PLAN.split()
    assert list(decisions_to_frame([], SESSION, PLAN_ID).columns) == [
        *ORDER_PLAN.split(),
        "plan_id",
        "decision",
        "approved_quantity",
        "breaches",
        "warnings",
    ]
    assert intents_from_frame(through_arrow(intents_to_frame([], SESSION))) == ()
    assert approved_intents_from_frame(through_arrow(decisions_to_frame([], SESSION, PLAN_ID))) == ()


def three_decisions():
    planned = plan(target(BIL=0.2, QQQ=0.2, SPY=0.6), account(10_000))
    assets = {symbol: word for symbol, word in broker_words().items() if symbol != "BIL"}
    limits = RiskLimits(max_position_weight=Decimal("0.5"))
    return decide(planned.intents, state_of(account(10_000), assets), limits)


def test_decisions_are_written_one_a_row_with_what_was_broken():
    frame = through_arrow(decisions_to_frame(three_decisions(), SESSION, PLAN_ID))

    assert frame[["symbol", "decision", "approved_quantity"]].values.tolist() == [
        ["BIL", "denied", 0],
        ["QQQ", "approved", 4],
        ["SPY", "reduced", Decimal("12.5")],
    ]
    assert frame["plan_id"].unique().tolist() == [PLAN_ID]
    assert frame["breaches"].isna().tolist() == [False, True, False]
    assert frame["breaches"][2] == "POSITION_WEIGHT 0.6 > 0.5"


def test_only_what_passed_is_read_back_and_at_the_quantity_that_passed():
    decisions = three_decisions()
    denied, approved, reduced = decisions
    assert (type(denied), type(approved), type(reduced)) == (Denied, Approved, Reduced)

    intents = approved_intents_from_frame(through_arrow(decisions_to_frame(decisions, SESSION, PLAN_ID)))

    assert intents == (approved.intent, replace(reduced.intent, quantity=Decimal("12.5")))


@with_frames
@given(situations())
def test_a_portfolio_survives_the_table(situation):
    _, portfolio, _ = situation

    assert portfolio_from_frame(through_arrow(portfolio_to_frame(portfolio, SESSION, "broker"))) == portfolio


@with_frames
@given(situations())
def test_the_weights_of_a_snapshot_sum_to_one(situation):
    _, portfolio, _ = situation

    assert portfolio_to_frame(portfolio, SESSION, "model")["weight"].sum() == pytest.approx(1, abs=1e-12)


def test_a_snapshot_names_cash_and_whose_it_is():
    frame = portfolio_to_frame(account(600, SPY=1), SESSION, "broker")

    assert frame[["symbol", "quantity", "price", "market_value", "weight"]].values.tolist() == [
        ["SPY", 1, 400, 400, 0.4],
        ["CASH", 600, 1, 600, 0.6],
    ]
    assert frame[["session", "source", "account_number"]].drop_duplicates().values.tolist() == [
        [SESSION, "broker", "SIM0001"]
    ]
    assert frame["as_of"].unique().tolist() == [AS_OF]


def test_weights_of_an_account_without_equity_are_undefined():
    assert portfolio_to_frame(account(0), SESSION, "broker")["weight"].isna().all()


def test_a_snapshot_without_its_cash_is_no_portfolio():
    frame = portfolio_to_frame(account(600, SPY=1), SESSION, "broker")

    with pytest.raises(DataError, match="has 0 in 1 rows"):
        portfolio_from_frame(frame[frame["symbol"] != "CASH"])
