from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.metrics import NoMetrics
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.objects import FileObjects
from trading_pipeline.adapters.storage.risk_watch import RISK_WATCH_KEY, StoredRiskWatch
from trading_pipeline.adapters.storage.trading_state import StoredTradingState
from trading_pipeline.application.risk_watch import RiskSources, RiskWatchRules, watch
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DependencyUnavailable, TradingHalted, Unauthorized
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.trading_pauses import Trade
from trading_pipeline.domain.risk.trading_state import TradingMode
from trading_pipeline.domain.risk.watch_state import AccountFigures
from trading_pipeline.ports import CashMovement, Quote, Severity

FRIDAY, MONDAY = date(2026, 7, 31), date(2026, 8, 3)


@dataclass
class Desk:
    """An account that holds 100 shares of TECL at 100 dollars, and a market at 500, of which everything can be set."""

    folder: object
    tecl: str = "100"
    tecl_trade: str | None = None
    spy: str = "500"
    spy_quote: str | None = None
    equity: str | None = "price"
    account: str = "SIM1"
    trade_age: float = 1
    movements: list[CashMovement] = field(default_factory=list)
    failing: dict[str, Exception] = field(default_factory=dict)
    now: datetime = datetime(2026, 7, 31, 13, 30, tzinfo=UTC)
    said: str = ""

    def __post_init__(self):
        self.start()

    def start(self):
        """As a process that has just started."""
        objects = FileObjects(self.folder)
        self.store, self.trading_state = StoredRiskWatch(objects), StoredTradingState(objects)
        self.outbox = AlertOutbox(self.folder / "alerts.sqlite")
        return self

    def _asked(self, name):
        if name in self.failing:
            raise self.failing[name]

    def figures(self):
        self._asked("account")
        held = {"TECL": Position("TECL", Decimal(100), Decimal(self.tecl))}
        told = str(Decimal(self.tecl) * 100) if self.equity == "price" else self.equity
        equity = None if told is None else Decimal(told)
        return AccountFigures(Portfolio(self.account, self.now, Decimal(0), held), equity, Decimal(10_000))

    def latest_trades(self, symbols):
        self._asked("trades")
        assert symbols in (["SPY", "TECL"], ["SPY"])
        prices = {"SPY": self.spy, "TECL": self.tecl_trade or self.tecl}
        at = self.now - timedelta(seconds=self.trade_age)
        return {symbol: Trade(symbol, Decimal(prices[symbol]), at) for symbol in symbols}

    def quotes(self, symbols):
        self._asked("quotes")
        price = Decimal(self.spy_quote or self.spy)
        return {"SPY": Quote("SPY", price, price, self.now)}

    def unadjusted_closes(self, symbols, session):
        self._asked("closes")
        assert (symbols, session) == (["SPY"], sessions.previous_session(self.now.date()))
        return {"SPY": Decimal(500)}

    def cash_movements(self, after):
        self._asked("movements")
        assert self.now - after == timedelta(days=7)
        return self.movements

    def look(self, later=30, **changes):
        """Look so many seconds later, once what is said has changed."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.now += timedelta(seconds=later)
        events = SimpleNamespace(latest_trades=self.latest_trades, unadjusted_closes=self.unadjusted_closes)
        sources = RiskSources(
            self.figures,
            SimpleNamespace(cash_movements=self.cash_movements),
            SimpleNamespace(quotes=self.quotes),
            events,
        )
        self.said = watch(self.store, self.trading_state, self.outbox, NoMetrics(), sources, RiskWatchRules(), self.now)
        return self

    def looks(self, *prices):
        for price in prices:
            self.look(tecl=price)
        return self

    @property
    def told(self):
        return [alert.title for alert in self.outbox.alerts()]

    @property
    def latched(self):
        return {latch.name: latch.mode for latch in self.trading_state.read().latches}


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_a_quiet_session_is_measured_and_nothing_is_told(desk):
    desk.looks("100", "101", "101")

    assert desk.said == "intraday drawdown 0.00%, daily loss 0.00%, trailing drawdown 0.00%; 0 told"
    assert (desk.told, desk.latched) == ([], {})


def test_rungs_are_told_and_latched_once_over_restarts(desk):
    for price in ("100", "100", "93", "93", "89", "89", "89", "84", "84"):
        desk.start().look(tecl=price)

    assert desk.told == [
        "Daily loss: warning",
        "Intraday drawdown: warning",
        "Daily loss: reducing",
        "Intraday drawdown: reducing",
        "Daily loss: halted",
    ]
    assert desk.latched == {"daily loss": TradingMode.HALTED, "intraday drawdown": TradingMode.REDUCING}
    # Daily twice, intraday once.
    assert desk.trading_state.read().epoch == 3


def test_what_a_person_has_reset_is_not_latched_again_by_the_same_rung(desk):
    desk.looks("100", "100", "89", "89")
    desk.trading_state.change(
        lambda state: state.cleared(["daily loss"], "meant", "a person", desk.now, overrides_risk=True)
    )

    assert desk.looks("89", "89", "88").latched == {}
    assert desk.looks("84", "84").latched == {
        "daily loss": TradingMode.HALTED,
        "intraday drawdown": TradingMode.REDUCING,
    }


def test_who_dies_before_the_state_is_stored_latches_and_tells_once_all_the_same(desk, monkeypatch):
    desk.looks("100", "100", "89")
    with monkeypatch.context() as patched:
        patched.setattr(StoredRiskWatch, "replace", lambda *_: False)
        desk.look()
    assert desk.said.endswith("another look came in between")
    (before,) = [latch for latch in desk.trading_state.read().latches if latch.name == "daily loss"]

    desk.start().looks("89", "89")

    assert desk.trading_state.read().latch("daily loss") == before
    assert sorted(desk.told) == ["Daily loss: reducing", "Daily loss: warning", "Intraday drawdown: warning"]


def test_a_deposit_is_no_gain_and_a_dividend_is_one(desk):
    desk.looks("100", "100")
    desk.movements = [CashMovement("1", "CSD", Decimal(10_000), FRIDAY), CashMovement("2", "DIV", Decimal(9), FRIDAY)]
    desk.look(equity="20000").look().look(equity="18000")

    assert "daily loss 10.00%" in desk.said


def test_equity_that_contradicts_positions_reduces_at_once(desk):
    desk.looks("100", "100").look(equity="8900")

    assert desk.latched == {"inconsistent equity": TradingMode.REDUCING}
    assert desk.told == ["Inconsistent equity: reducing"]


@pytest.mark.parametrize(("age", "latched"), [(900, ["inconsistent equity"]), (901, [])])
def test_a_trade_of_long_ago_prices_no_position(desk, age, latched):
    desk.look(tecl="80", tecl_trade="100", trade_age=age)

    assert list(desk.latched) == latched


@pytest.mark.parametrize("source", ["account", "movements"])
@pytest.mark.parametrize("error", [DependencyUnavailable("timed out"), Unauthorized("wrong key")])
def test_figures_that_cannot_be_read_trip_nothing_and_are_told_after_a_while(desk, source, error):
    desk.looks("100", "100", "93")
    desk.failing = {source: error}

    desk.look(tecl="50").look(299)
    assert (desk.told, desk.latched) == ([], {})
    desk.look(1).look(30)

    assert desk.told == ["Drawdown is not watched"]
    desk.failing = {}
    assert desk.look(tecl="93").told[1:] == ["Daily loss: warning", "Drawdown is watched again"]
    assert desk.looks("93", "93").told[3:] == []
    assert [alert.title for alert in desk.outbox.unanswered(desk.now + timedelta(days=999))] == []


def test_a_pause_of_figures_that_nobody_was_told_of_is_not_told_as_over(desk):
    desk.look().look(failing={"account": DependencyUnavailable("timed out")}).look(200)
    desk.look(failing={})

    assert desk.told == []


def test_figures_that_come_back_in_a_later_session_are_told_and_another_pause_is_another_one(desk):
    blind = {"account": DependencyUnavailable("timed out")}
    desk.look(failing=blind).look(400)
    overnight = sessions.open_of(sessions.next_session(desk.now.date())) - desk.now
    desk.look(overnight.total_seconds() + 60).look(30)
    assert desk.told == ["Drawdown is not watched"]

    desk.look(failing={}).look(failing=blind).look(400)

    assert desk.told == ["Drawdown is not watched", "Drawdown is watched again", "Drawdown is not watched"]


def test_without_an_equity_of_the_broker_it_is_missing(desk):
    desk.look(equity=None)

    assert "missing: equity" in desk.said


@pytest.mark.parametrize("source", ["trades", "quotes", "closes"])
def test_drawdown_is_watched_where_the_market_cannot_be_read(desk, source):
    desk.failing = {source: DependencyUnavailable("timed out")}

    desk.looks("100", "100", "93", "93")

    assert desk.told == ["Daily loss: warning"]
    assert "missing: " in desk.said


def test_a_market_wide_breaker_that_ends_the_session_halts(desk):
    desk.look(spy="399").look()

    assert desk.latched == {"market-wide breaker": TradingMode.HALTED}
    latch = desk.trading_state.read().latch("market-wide breaker")
    assert (latch.session, latch.is_risk) == (FRIDAY, True)
    assert latch.reason == "the market fell by 20% at 13:30 UTC, which stops trading until 20:00 UTC"
    assert desk.start().look().look(spy="500").told == ["Market-wide breaker: halted"]


@pytest.mark.parametrize(("trade", "quote"), [("436", "436"), ("399", "480")])
def test_a_market_that_only_pauses_or_only_printed_badly_halts_nothing(desk, trade, quote):
    desk.look(spy=trade, spy_quote=quote).look().look()

    assert desk.latched == {}


def test_one_bad_print_of_the_market_halts_nothing(desk):
    desk.look(spy="300").look(spy="500").look(spy="300").look(4)

    assert desk.latched == {}


def test_the_next_session_knows_no_breaker_of_the_one_before(desk):
    desk.look(spy="399")
    desk.now = sessions.open_of(MONDAY)
    desk.look(spy="399")

    assert desk.latched == {}


def test_another_account_begins_anew(desk):
    desk.looks("100", "100", "93").look(account="SIM2")

    assert desk.look().told == ["Daily loss: warning"]
    assert desk.store.read().state.account_number == "SIM2"


def test_an_account_that_is_not_meant_is_not_watched(desk):
    desk.failing = {"account": TradingHalted("mode live met another account")}

    with pytest.raises(TradingHalted, match="another account"):
        desk.look()


def test_outside_the_session_nothing_is_looked_at(desk):
    desk.failing = {"account": AssertionError("nobody asks")}
    desk.now = sessions.close_of(FRIDAY)

    assert desk.look(0).said == "the exchange is closed at 2026-07-31T20:00:00+00:00"


@pytest.mark.parametrize("change", [b'"schema_version":2', b"100", b"{"])
def test_a_state_that_was_changed_by_others_is_lost_reduces_and_begins_anew(desk, change):
    desk.looks("100", "100", "93")
    path = desk.folder / RISK_WATCH_KEY
    path.write_bytes(path.read_bytes().replace(change, b'"schema_version":9' if b"schema" in change else b"7"))

    desk.start().look()

    assert desk.latched == {"risk watch": TradingMode.REDUCING}
    assert desk.told == ["Risk watch: reducing"]
    assert "cannot be read" in desk.trading_state.read().reason
    assert desk.look().told[1:] == ["Daily loss: warning"]


def test_a_warning_is_less_grave_than_what_is_latched(desk):
    desk.looks("100", "100", "89", "89")

    grave = {alert.title: alert.severity for alert in desk.outbox.alerts()}
    assert grave["Daily loss: warning"] is Severity.WARNING
    assert grave["Daily loss: reducing"] is Severity.CRITICAL
