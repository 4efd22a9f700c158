from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from trading_pipeline.adapters.storage.liquidations import StoredLiquidations
from trading_pipeline.adapters.storage.objects import FileObjects, StoredPlans
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.execution import execute
from trading_pipeline.application.liquidation import agreed, asked, confirmed, liquidate, opens_at, withdrawn
from trading_pipeline.application.liquidation_desk import LiquidationDesk, LiquidationRules
from trading_pipeline.application.liquidation_plan import preview
from trading_pipeline.application.liquidation_watch import looked, market_move
from trading_pipeline.domain.errors import InvalidInput, OutsideExecutionWindow, TradingHalted
from trading_pipeline.domain.instruments import catalogue
from trading_pipeline.domain.liquidation import Consent, LiquidationTrigger, Stage
from trading_pipeline.domain.orders import PlanPurpose, Side
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.trading_pauses import Trade
from trading_pipeline.domain.risk.trading_state import ACTIVE, PERSON, Latch, TradingMode
from trading_pipeline.domain.sessions import sessions_between
from trading_pipeline.ports import IntentState
from trading_pipeline.settings import LiquidationSettings
from trading_pipeline_tests.builders import (
    ACCOUNT,
    INSIDE_WINDOW,
    RULES,
    SESSION,
    WORKING,
    Killed,
    ListedMarketData,
    Tripwire,
    bars_frame,
    buy,
    make_plan,
    make_venue,
    states,
)

HELD = {"TLT": "10", "GLD": "5", "SPY": "2.5"}
PRICES = {"TLT": "100", "GLD": "100", "SPY": "100"}
OPEN = date(2026, 7, 31)
DRAWDOWN = Latch("daily loss", TradingMode.HALTED, "15 %", "daily loss", INSIDE_WINDOW, OPEN, is_risk=True)
EXECUTION = replace(RULES, last_stays=True, time_limit=timedelta(days=1))


@dataclass
class Told:
    alerts: list = field(default_factory=list)

    def notify(self, alert):
        is_new = alert.key not in {told.key for told in self.alerts}
        self.alerts += [alert] if is_new else []
        return is_new


@dataclass
class Office:
    """A desk over a scripted broker, opened anew for each process; ``halted`` names what does not trade."""

    folder: object
    venue: object
    told: Told = field(default_factory=Told)
    halted: dict = field(default_factory=dict)
    cleared: list = field(default_factory=list)
    afterwards: TradingMode = TradingMode.HALTED

    @property
    def state(self):
        return StoredTradingState(FileObjects(self.folder / "objects"))

    def desk(self, broker=None):
        objects = FileObjects(self.folder / "objects")
        venue = replace(self.venue, trading_state=self.state, broker=broker or self.venue.broker)
        return LiquidationDesk(
            venue=venue,
            plans=StoredPlans(objects),
            requests=StoredLiquidations(objects),
            notifier=self.told,
            assets=self.venue.broker.assets,
            market=lambda symbols, session, now: MarketStatus(session, now, frozenset(symbols), halted=self.halted),
            clear=self.cleared.append,
            instruments=catalogue(),
            rules=LiquidationRules(EXECUTION, patience=0, afterwards=self.afterwards),
        )

    def agreed(self, reason="drill", by=PERSON):
        desk = self.desk()
        return confirmed(desk, asked(desk, LiquidationTrigger.PERSON, reason).code, by)

    @property
    def sold(self):
        return sorted((fill.symbol, fill.quantity) for fill in self.venue.broker.fills if fill.side is Side.SELL)

    @property
    def held(self):
        return {symbol: held for symbol, held in self.venue.broker.shares.items() if held}


ALL = [("GLD", Decimal(5)), ("SPY", Decimal("2.5")), ("TLT", Decimal(10))]


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path, make_venue(tmp_path, held=HELD, prices=PRICES))


def test_everything_that_is_held_is_sold_and_trading_is_halted_afterwards(office):
    done = liquidate(office.desk(), office.agreed())

    assert (office.sold, office.held) == (ALL, {})
    assert (done.is_over, done.left, done.request.stage) == (True, (), Stage.OVER)
    assert office.state.read().mode is TradingMode.HALTED
    assert [alert.title for alert in office.told.alerts] == ["Liquidation 0 is over: everything is sold"]
    assert office.cleared == ["liq-0: everything is sold"]


def test_every_order_has_a_decision_of_the_risk_engine_in_a_plan_of_its_own_purpose(office):
    plan = liquidate(office.desk(), office.agreed()).plan

    [stored] = StoredPlans(FileObjects(office.folder / "objects")).liquidations(ACCOUNT, SESSION)
    assert stored == plan
    assert (plan.purpose, plan.liquidation, plan.execution_session) == (PlanPurpose.LIQUIDATION, 0, OPEN)
    assert {made.client_order_id: made.decision for made in plan.decisions} == {
        order.client_order_id: "approved" for order in plan.orders
    }
    assert {sent.client_order_id for sent in office.venue.broker.sent} == set(plan.symbols)


def test_trading_is_reducing_while_orders_are_sent(office):
    modes = []

    class Watched:
        def __getattr__(self, name):
            return getattr(office.venue.broker, name)

        def submit(self, intent):
            modes.append(office.state.read().mode)
            return office.venue.broker.submit(intent)

    liquidate(office.desk(Watched()), office.agreed())

    assert modes == [TradingMode.REDUCING] * 3


def test_it_goes_beside_the_plan_of_its_session_and_takes_nothing_from_it(office):
    plan = make_plan(buy("TLT", "1"))
    office.venue.journal.claim(plan, INSIDE_WINDOW)

    liquidate(office.desk(), office.agreed())

    assert office.venue.journal.claimed(ACCOUNT, SESSION) == plan.plan_id
    assert office.venue.journal.claimed(ACCOUNT, SESSION, 0) == "2026-07-30.liq-0"
    assert StoredPlans(FileObjects(office.folder / "objects")).versions(ACCOUNT, SESSION) == []
    # What the session's plan would still buy waits, for trading is halted.
    with pytest.raises(TradingHalted):
        execute(plan, replace(office.venue, trading_state=office.state), RULES)


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("calls", range(1, 15))
def test_killed_at_any_call_of_the_broker_and_begun_again_it_sells_everything_once(tmp_path, calls, after_effect):
    office = Office(tmp_path, make_venue(tmp_path, held=HELD, prices=PRICES))
    request, wire = office.agreed(), Tripwire(calls, Killed, after_effect)

    with pytest.raises(Killed):
        liquidate(office.desk(wire.around(office.venue.broker)), request)
    # Another process knows the request by its code alone.
    again = office.desk()
    done = liquidate(again, agreed(again, ACCOUNT) or request)

    assert (office.sold, office.held, done.is_over) == (ALL, {}, True)
    assert set(office.venue.broker.known) == set(done.plan.symbols)
    assert office.state.read().mode is TradingMode.HALTED


@pytest.mark.parametrize("calls", range(1, 14))
def test_killed_at_any_write_to_the_journal_it_sells_everything_once(office, calls):
    request, wire = office.agreed(), Tripwire(calls, Killed, after_effect=True)
    desk = office.desk()

    with pytest.raises(Killed):
        liquidate(replace(desk, venue=replace(desk.venue, journal=wire.around(desk.venue.journal))), request)
    done = liquidate(office.desk(), request)

    assert (office.sold, office.held, done.is_over) == (ALL, {}, True)
    assert len(office.venue.broker.known) == 3


def test_a_symbol_that_does_not_trade_is_queued_and_the_rest_goes_on(office):
    office.halted["TLT"] = "halted as told"
    request = office.agreed()

    first = liquidate(office.desk(), request)

    assert office.held == {"TLT": Decimal(10)}
    assert not first.is_over
    assert states(office.venue, first.plan)["TLT"] is IntentState.PARKED
    assert "halted as told" in first.left[0].reason
    assert office.state.read().mode is TradingMode.REDUCING

    office.halted.clear()
    assert liquidate(office.desk(), request).is_over
    assert office.sold == ALL


def test_a_symbol_without_a_quote_is_queued_until_it_has_one(office):
    del office.venue.market_data.prices["GLD"]
    request = office.agreed()
    assert [left.symbol for left in liquidate(office.desk(), request).left] == ["GLD"]

    office.venue.market_data.prices["GLD"] = "100"
    liquidate(office.desk(), request)

    assert office.sold == ALL


def test_slices_go_further_from_the_quote_and_the_last_stays_at_the_broker(office):
    office.venue.broker.steps["SPY"] = [WORKING]

    done = liquidate(office.desk(), office.agreed())

    limits = [sent.limit_price for sent in office.venue.broker.sent if sent.symbol == "SPY"]
    assert limits == [Decimal("99.50"), Decimal("99.00"), Decimal("98.00")]
    assert len(office.venue.broker.cancelled) == 2
    assert states(office.venue, done.plan)["SPY"] is IntentState.ACKNOWLEDGED
    assert not done.is_over


def test_a_drawdown_that_halts_trading_does_not_stop_what_it_set_off(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))

    assert liquidate(office.desk(), office.agreed(by="the settings")).is_over

    assert office.sold == ALL
    # A limit on risk stays tripped.
    assert office.state.read().latch("daily loss") == DRAWDOWN


def test_whoever_halts_meanwhile_stops_it(office):
    class HaltsAtTheFirst:
        def __getattr__(self, name):
            return getattr(office.venue.broker, name)

        def submit(self, intent):
            now = INSIDE_WINDOW + timedelta(seconds=1)
            office.state.change(lambda state: state.tightened(TradingMode.HALTED, "stop", PERSON, now))
            return office.venue.broker.submit(intent)

    request = office.agreed()
    with pytest.raises(TradingHalted, match="stop"):
        liquidate(office.desk(HaltsAtTheFirst()), request)
    with pytest.raises(TradingHalted, match="stop"):
        liquidate(office.desk(), request)

    assert len(office.venue.broker.sent) == 1


def test_a_halt_between_consent_and_beginning_ends_it(office):
    request = office.agreed()
    office.state.change(lambda state: state.tightened(TradingMode.HALTED, "stop", PERSON, INSIDE_WINDOW))

    with pytest.raises(InvalidInput, match="change 1 holds now"):
        liquidate(office.desk(), request)

    assert office.venue.broker.sent == []
    assert agreed(office.desk(), ACCOUNT) is None
    assert office.state.read().latch(PERSON).mode is TradingMode.HALTED


def test_outside_the_window_nothing_is_sent_and_trading_is_not_touched(office):
    request = office.agreed()
    office.venue.clock.instant = datetime(2026, 7, 31, 21, tzinfo=UTC)

    with pytest.raises(OutsideExecutionWindow, match="next window"):
        liquidate(office.desk(), request)

    assert office.state.read() == ACTIVE
    assert agreed(office.desk(), ACCOUNT) == request


def test_what_was_agreed_to_after_the_close_is_sold_in_the_next_session(office):
    office.venue.clock.instant = datetime(2026, 7, 30, 21, tzinfo=UTC)
    request = office.agreed()
    office.venue.clock.instant = INSIDE_WINDOW

    assert liquidate(office.desk(), request).is_over
    assert office.sold == ALL


def test_what_is_left_when_the_session_is_over_ends_it_and_a_person_is_told(office):
    office.halted["TLT"] = "halted as told"
    request = office.agreed()
    liquidate(office.desk(), request)
    office.venue.clock.instant = datetime(2026, 7, 31, 20, 30, tzinfo=UTC)

    done = liquidate(office.desk(), request)

    assert done.is_over
    assert [(left.symbol, left.quantity) for left in done.left] == [("TLT", Decimal(10))]
    assert office.told.alerts[-1].title.endswith("positions are left")


def test_shares_that_somebody_sells_by_hand_are_not_sold_twice(office):
    # An order of somebody else's works on 4 of the 10.
    office.venue.broker.steps["TLT"] = [WORKING]
    by_hand = replace(buy("TLT", "4"), side=Side.SELL, client_order_id="by hand", limit_price=Decimal(150))
    office.venue.broker.submit(by_hand)
    del office.venue.broker.steps["TLT"]

    done = liquidate(office.desk(), office.agreed())

    assert {order.symbol: order.quantity for order in done.plan.orders}["TLT"] == 6
    assert office.held == {"TLT": Decimal(4)}


def test_a_short_position_is_named_and_left_for_nothing_is_bought_while_trading_reduces(office):
    office.venue.broker.shares["SPY"] = Decimal(-3)

    done = liquidate(office.desk(), office.agreed())

    assert [(left.symbol, left.quantity) for left in done.left] == [("SPY", Decimal(-3))]
    assert "reducing" in done.left[0].reason
    assert all(sent.side is Side.SELL for sent in office.venue.broker.sent)


def test_a_preview_shows_the_orders_and_changes_nothing(office):
    office.state.change(lambda state: state.tightened(TradingMode.HALTED, "odd fills", PERSON, INSIDE_WINDOW))
    before = office.state.read().epoch

    found = preview(office.desk())

    assert sorted((order.symbol, order.quantity) for order in found.orders) == ALL
    assert (office.venue.broker.sent, office.cleared, office.state.read().epoch) == ([], [], before)


def test_who_asks_again_is_given_the_same_code_until_it_expires(office):
    first = asked(office.desk(), LiquidationTrigger.PERSON, "drill")
    assert asked(office.desk(), LiquidationTrigger.PERSON, "another") == first

    office.venue.clock.instant += timedelta(minutes=15)
    second = asked(office.desk(), LiquidationTrigger.PERSON, "drill")

    assert second.code != first.code
    with pytest.raises(InvalidInput, match="no liquidation"):
        confirmed(office.desk(), first.code, PERSON)


def test_a_question_that_was_set_off_stands_when_a_person_looks_what_would_be_sold(office):
    first = asked(office.desk(), LiquidationTrigger.EQUITY_DRAWDOWN, "15 %")

    assert asked(office.desk(), LiquidationTrigger.PERSON, "what would be sold?") == first


def test_while_one_is_under_way_whoever_asks_is_given_that(office):
    office.halted["TLT"] = "halted as told"
    request = office.agreed()
    liquidate(office.desk(), request)

    assert asked(office.desk(), LiquidationTrigger.PERSON, "another").epoch == request.epoch


def test_whoever_resets_the_latch_ends_it_and_another_one_may_be_asked_for(office):
    office.halted["TLT"] = "halted as told"
    request = office.agreed()
    liquidate(office.desk(), request)
    office.state.change(lambda state: state.cleared(["liquidation"], "enough", PERSON, INSIDE_WINDOW))
    office.halted.clear()

    with pytest.raises(TradingHalted, match="reset"):
        liquidate(office.desk(), request)
    second = asked(office.desk(), LiquidationTrigger.PERSON, "again")
    done = liquidate(office.desk(), confirmed(office.desk(), second.code, PERSON))

    assert second.epoch > request.epoch
    assert (done.is_over, office.sold) == (True, ALL)


def test_what_was_agreed_to_and_has_not_begun_can_be_withdrawn_and_asked_for_anew(office):
    request = office.agreed()
    assert withdrawn(office.desk(), PERSON).outcome == "withdrawn by a person before anything was sold"
    assert agreed(office.desk(), ACCOUNT) is None
    with pytest.raises(InvalidInput, match="none to withdraw"):
        withdrawn(office.desk(), PERSON)
    with pytest.raises(InvalidInput):
        confirmed(office.desk(), request.code, PERSON)

    office.venue.clock.instant += timedelta(seconds=1)
    again = asked(office.desk(), LiquidationTrigger.PERSON, "after all")
    assert again.code != request.code
    assert liquidate(office.desk(), confirmed(office.desk(), again.code, PERSON)).is_over


def test_a_question_that_was_withdrawn_is_not_asked_again(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))
    watched(office)
    withdrawn(office.desk(), PERSON)

    assert watched(office, equity_drawdown=Consent.AUTOMATIC) == "nothing sets a liquidation off"


def test_what_is_under_way_is_not_withdrawn_but_ended_by_its_latch(office):
    office.halted["TLT"] = "halted as told"
    liquidate(office.desk(), office.agreed())

    with pytest.raises(InvalidInput, match="kill reset --latch liquidation"):
        withdrawn(office.desk(), PERSON)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-07-31T14:00", None),
        ("2026-07-31T12:00", "2026-07-31T13:31"),
        ("2026-07-31T19:50", "2026-08-03T13:31"),
        ("2026-08-01T12:00", "2026-08-03T13:31"),
    ],
)
def test_a_liquidation_waits_for_the_next_window(office, now, opens):
    request = office.agreed()
    office.venue.clock.instant = datetime.fromisoformat(now).replace(tzinfo=UTC)

    wanted = None if opens is None else datetime.fromisoformat(opens).replace(tzinfo=UTC)
    assert opens_at(office.desk(), request) == wanted


def test_without_a_reason_nothing_is_asked_for(office):
    with pytest.raises(InvalidInput, match="reason"):
        asked(office.desk(), LiquidationTrigger.PERSON, " ")


class Events:
    """The market's latest trade."""

    def __init__(self, price="100"):
        self.price = Decimal(price)

    def latest_trades(self, symbols):
        return {symbol: Trade(symbol, self.price, INSIDE_WINDOW) for symbol in symbols}


def watched(office, events=None, **chosen):
    return looked(office.desk(), events or Events(), LiquidationSettings(**chosen), "SPY")


def test_a_halting_drawdown_asks_a_person_once_and_sells_nothing(office):
    assert watched(office) == "nothing sets a liquidation off"
    office.state.change(lambda state: state.latched(DRAWDOWN))

    assert watched(office).startswith("a person was asked about liq-1: daily loss")
    watched(office)
    office.venue.clock.instant += timedelta(minutes=20)
    watched(office)

    [alert] = office.told.alerts
    request = StoredLiquidations(FileObjects(office.folder / "objects")).newest(ACCOUNT)
    assert f"trading-pipeline liquidate --code {request.code}" in alert.text
    assert (request.stage, request.trigger) == (Stage.REQUESTED, LiquidationTrigger.EQUITY_DRAWDOWN)
    assert office.venue.broker.sent == []


def test_what_is_off_is_not_asked_about(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))

    assert watched(office, equity_drawdown=Consent.OFF) == "nothing sets a liquidation off"


def test_what_is_automatic_is_agreed_to_once_and_not_again_after_it_is_over(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))

    assert "liq-1 is confirmed" in watched(office, equity_drawdown=Consent.AUTOMATIC)
    assert watched(office, equity_drawdown=Consent.AUTOMATIC) == "liq-1 is confirmed"
    assert liquidate(office.desk(), agreed(office.desk(), ACCOUNT)).is_over
    office.venue.broker.shares["SPY"] = Decimal(1)

    assert watched(office, equity_drawdown=Consent.AUTOMATIC) == "nothing sets a liquidation off"


@pytest.mark.parametrize("minutes", [0, 40], ids=["its code is valid", "its code has expired"])
def test_who_only_looks_what_would_be_sold_does_not_stop_what_is_automatic(office, minutes):
    office.state.change(lambda state: state.latched(DRAWDOWN))
    asked(office.desk(), LiquidationTrigger.PERSON, "what would be sold?")
    office.venue.clock.instant += timedelta(minutes=minutes)

    assert "liq-1 is confirmed: daily loss" in watched(office, equity_drawdown=Consent.AUTOMATIC)
    request = StoredLiquidations(FileObjects(office.folder / "objects")).newest(ACCOUNT)
    assert (request.trigger, request.agreed_by) == (
        LiquidationTrigger.EQUITY_DRAWDOWN,
        "the settings: equity drawdown is automatic",
    )


def test_who_only_looks_what_would_be_sold_does_not_keep_others_from_being_asked(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))
    asked(office.desk(), LiquidationTrigger.PERSON, "what would be sold?")

    assert watched(office).startswith("a person was asked about liq-1: daily loss")
    assert watched(office) == "nothing sets a liquidation off"
    assert [alert.title for alert in office.told.alerts] == ["Sell everything? equity drawdown"]


def test_a_question_to_a_person_does_not_stop_another_cause_that_is_automatic(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))
    watched(office)
    office.venue = replace(office.venue, market_data=market_of("90"))

    assert "confirmed: SPY moved by" in watched(office, Events("90"), volatility_spike=Consent.AUTOMATIC)
    request = StoredLiquidations(FileObjects(office.folder / "objects")).newest(ACCOUNT)
    assert request.trigger is LiquidationTrigger.VOLATILITY_SPIKE


def test_where_nothing_is_held_or_the_exchange_is_closed_nobody_is_asked(office):
    office.state.change(lambda state: state.latched(DRAWDOWN))
    office.venue.broker.shares.clear()
    assert watched(office) == "nothing is held"

    office.venue.clock.instant = datetime(2026, 7, 31, 21, tzinfo=UTC)
    assert watched(office).startswith("the exchange is closed")


def market_of(last="100"):
    """A market that moved by one percent each day, up and down, and is quoted at ``last``."""
    days = sessions_between(date(2026, 1, 2), SESSION)
    closes = {day: 100.0 if place % 2 else 101.0 for place, day in enumerate(reversed(days), start=1)}
    return ListedMarketData(bars_frame({"SPY": closes}), {"SPY": last})


@pytest.mark.parametrize(("trade", "quote", "multiples"), [("94", "94", 6), ("94", "97", 3), ("50", "100", 0)])
def test_the_market_moves_as_far_as_trade_and_quote_both_say(trade, quote, multiples):
    moved = market_move(market_of(quote), Events(trade), "SPY", OPEN)

    assert moved == pytest.approx(multiples, rel=0.02, abs=1e-9)


def test_without_a_quote_or_with_little_history_no_move_is_known():
    assert market_move(ListedMarketData(market_of().bars), Events(), "SPY", OPEN) is None
    assert market_move(market_of(), Events(), "SPY", date(2026, 2, 3)) is None


def test_a_spike_of_the_market_asks_a_person_once_a_session(office):
    office.venue = replace(office.venue, market_data=market_of("90"))

    assert "SPY moved by" in watched(office, Events("90"))
    assert watched(office, Events("90")) == "nothing sets a liquidation off"
    assert len(office.told.alerts) == 1
    assert watched(office, Events("90"), volatility_spike=Consent.OFF) == "nothing sets a liquidation off"


def test_a_spike_is_asked_about_as_itself_after_a_person_looked_what_would_be_sold(office):
    asked(office.desk(), LiquidationTrigger.PERSON, "what would be sold?")
    office.venue = replace(office.venue, market_data=market_of("90"))
    watched(office, Events("90"))

    [alert] = office.told.alerts
    assert alert.title == "Sell everything? volatility spike"
    assert "SPY moved by" in alert.text


def test_while_the_stored_state_cannot_be_read_nothing_is_asked_or_taken_for_ended(office):
    office.halted["TLT"] = "halted as told"
    request = office.agreed()
    liquidate(office.desk(), request)
    stored = FileObjects(office.folder / "objects")
    before = stored.get("state/trading_state.json")
    stored.put("state/trading_state.json", b"{}")

    for ask in (lambda desk: asked(desk, LiquidationTrigger.PERSON, "x"), lambda desk: agreed(desk, ACCOUNT)):
        with pytest.raises(TradingHalted, match="cannot be read"):
            ask(office.desk())
    with pytest.raises(TradingHalted, match="cannot be read"):
        liquidate(office.desk(), request)

    stored.put("state/trading_state.json", before)
    assert agreed(office.desk(), ACCOUNT).stage is Stage.UNDER_WAY
