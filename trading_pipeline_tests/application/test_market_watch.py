from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters.alpaca.broker import AlpacaBroker
from trading_pipeline.adapters.alpaca.market_data import AlpacaMarketData
from trading_pipeline.adapters.alpaca.transport import Connection, Keys, data_api, trading_api
from trading_pipeline.adapters.clocks import BrokerClock
from trading_pipeline.application.market_watch import MarketPauses, MarketSources, WatchRules, market_status
from trading_pipeline.domain.errors import DependencyUnavailable, Interrupted, InvalidBars, InvalidInput, Unauthorized
from trading_pipeline.domain.risk.corporate_actions import ActionKind, CorporateAction
from trading_pipeline.domain.risk.trading_pauses import MarketBreaker, Trade
from trading_pipeline.domain.sessions import NEW_YORK
from trading_pipeline.ports import Asset, Quote
from trading_pipeline.settings import ResilienceSettings
from trading_pipeline_tests.builders import TurnedClock, bars_frame
from trading_pipeline_tests.simulator.conftest import serving

THURSDAY, FRIDAY, MONDAY = date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3)
SYMBOLS = ("SPY", "TLT", "TECL")
RULES = WatchRules(patience=timedelta(minutes=10))


def at(text, day=FRIDAY):
    return datetime.fromisoformat(f"{day} {text}").replace(tzinfo=NEW_YORK)


NOON = at("12:00")


@dataclass
class Sources:
    """One source for everything: each symbol was traded and quoted a second ago at the close of the day before."""

    prices: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, "100"))
    seen_at: dict[str, datetime] = field(default_factory=dict)
    quoted_at: dict[str, datetime] = field(default_factory=dict)
    now: datetime = NOON
    untradable: frozenset[str] = frozenset()
    quoted: dict[str, tuple[str, str]] = field(default_factory=dict)
    traded_closes: dict[str, str] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, "100"))
    adjusted_closes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 100.0))
    actions: tuple[CorporateAction, ...] = ()
    failing: dict[str, Exception] = field(default_factory=dict)
    asked: list[tuple] = field(default_factory=list)

    def _asked(self, name, *arguments):
        self.asked.append((name, *arguments))
        if name in self.failing:
            raise self.failing[name]

    def _when(self, symbol):
        return self.seen_at.get(symbol, self.now - timedelta(seconds=1))

    def assets(self, symbols):
        self._asked("assets", symbols)
        return {name: Asset(name, name, "ARCA", name not in self.untradable, True) for name in symbols}

    def latest_trades(self, symbols):
        self._asked("latest_trades", symbols)
        return {
            name: Trade(name, Decimal(self.prices[name]), self._when(name)) for name in symbols if name in self.prices
        }

    def quotes(self, symbols):
        self._asked("quotes", symbols)
        sides = {name: (price, price) for name, price in self.prices.items()} | self.quoted
        return {
            name: Quote(name, *map(Decimal, sides[name]), self.quoted_at.get(name, self._when(name)))
            for name in symbols
            if name in sides
        }

    def corporate_actions(self, symbols, first, last):
        self._asked("corporate_actions", symbols, first, last)
        return self.actions

    def unadjusted_closes(self, symbols, session):
        self._asked("unadjusted_closes", symbols, session)
        return {name: Decimal(close) for name, close in self.traded_closes.items()}

    def daily_bars(self, symbols, first, last):
        self._asked("daily_bars", symbols, first, last)
        return bars_frame({name: {last: close} for name, close in self.adjusted_closes.items()})

    def status(self, session=FRIDAY, symbols=SYMBOLS, earlier=None):
        return market_status(symbols, session, MarketSources(self, self, self), self.now, RULES, earlier)


def test_on_a_quiet_day_nothing_stands_in_the_way():
    status = Sources().status()

    assert [status.obstacles(symbol) for symbol in SYMBOLS] == [()] * 3
    assert (status.session, status.as_of, status.symbols) == (FRIDAY, NOON, frozenset(SYMBOLS))
    assert (status.halt, status.breaker) == ("", MarketBreaker())


def test_every_source_is_asked_once_for_all_symbols_and_the_market():
    sources = Sources()

    sources.status(symbols=["TLT", "TECL", "TLT"])

    assert [name for name, *_ in sources.asked] == [
        "assets",
        "corporate_actions",
        "latest_trades",
        "quotes",
        "unadjusted_closes",
        "daily_bars",
    ]
    assert all(tuple(symbols) == ("SPY", "TECL", "TLT") for _, symbols, *_ in sources.asked)
    assert sources.asked[4][2] == THURSDAY
    assert sources.asked[5][2:] == (THURSDAY, THURSDAY)


@pytest.mark.parametrize("now", [at("18:00", THURSDAY), at("09:29"), at("16:00"), at("12:00", THURSDAY)])
def test_outside_the_session_only_what_concerns_it_is_asked(now):
    late = CorporateAction("1", ActionKind.FORWARD_SPLIT, ("TECL",), FRIDAY)
    sources = Sources(now=now, untradable=frozenset({"TLT"}), actions=(late,))

    status = sources.status()

    assert [name for name, *_ in sources.asked] == ["assets", "corporate_actions"]
    assert status.obstacles("SPY") == ()
    assert status.obstacles("TLT") == ("the broker does not let it be traded",)
    assert status.obstacles("TECL") == ("forward split on 2026-07-31",)


def test_a_day_without_trading_is_refused():
    with pytest.raises(InvalidInput, match="not a session"):
        Sources().status(session=date(2026, 8, 1))


SOURCES = {
    "assets": "assets",
    "corporate_actions": "corporate actions",
    "latest_trades": "latest trades",
    "quotes": "quotes",
    "unadjusted_closes": "closes as traded",
    "daily_bars": "adjusted closes",
}


@pytest.mark.parametrize("call", SOURCES)
@pytest.mark.parametrize("error", [DependencyUnavailable("timed out"), Unauthorized("wrong key"), InvalidBars("odd")])
def test_a_source_that_gives_no_answer_is_missing_for_every_symbol(call, error):
    status = Sources(failing={call: error}).status()

    assert status.unread[SOURCES[call]] == str(error)
    assert all(status.missing(symbol) == (SOURCES[call],) for symbol in SYMBOLS)


def test_a_process_that_is_asked_to_end_ends():
    with pytest.raises(Interrupted):
        Sources(failing={"quotes": Interrupted("asked to end")}).status()


@given(st.sets(st.sampled_from(sorted(SOURCES)), min_size=1))
def test_whatever_fails_no_symbol_is_free_to_trade(failing):
    status = Sources(failing=dict.fromkeys(failing, DependencyUnavailable("timed out"))).status()

    assert {SOURCES[call] for call in failing} <= status.unread.keys()
    assert all(status.obstacles(symbol) for symbol in SYMBOLS)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"prices": {"SPY": "100", "TLT": "100"}}, ("latest trade",)),
        ({"prices": {"SPY": "100", "TLT": "100", "TECL": "0"}}, ("latest trade",)),
        ({"traded_closes": {"SPY": "100", "TLT": "100"}}, ("last close as traded",)),
        ({"traded_closes": {"SPY": "100", "TLT": "100", "TECL": "NaN"}}, ("last close as traded",)),
        ({"adjusted_closes": {"SPY": 100.0, "TLT": 100.0, "TECL": float("nan")}}, ("last adjusted close",)),
        ({"adjusted_closes": {"SPY": 100.0, "TLT": 100.0, "TECL": -1.0}}, ("last adjusted close",)),
    ],
)
def test_what_a_source_does_not_know_of_a_symbol_is_missing_for_it_alone(changes, missing):
    status = Sources(now=at("09:35"), **changes).status()

    assert status.missing("TECL") == missing
    assert status.obstacles("TLT") == ()


def test_what_is_not_known_of_the_market_is_missing_for_every_symbol():
    status = Sources(traded_closes={"TLT": "100", "TECL": "100"}).status()

    assert status.missing("TLT") == ("the market",)
    assert status.unread["the market"] == "SPY lacks last close as traded"


def test_a_symbol_that_neither_trades_nor_is_quoted_is_taken_to_be_halted():
    status = Sources(seen_at={"TLT": at("11:49")}).status()

    assert status.halted == {"TLT": "it was neither traded nor quoted since 2026-07-31 15:49 UTC"}


def test_a_quote_with_two_sides_is_a_sign_of_life_and_one_side_is_none():
    quoted = Sources(seen_at={"TLT": at("11:00")}, quoted_at={"TLT": NOON}, quoted={"TLT": ("99", "101")})

    assert quoted.status().halted == {}
    assert list(replace(quoted, quoted={"TLT": ("99", "0")}).status().halted) == ["TLT"]
    assert list(replace(quoted, quoted={"TLT": ("0", "101")}).status().halted) == ["TLT"]


def test_a_symbol_that_never_traded_is_halted_once_patience_is_over():
    prices = {"SPY": "100", "TLT": "100"}

    assert Sources(now=at("09:40"), prices=prices).status().halted == {}
    assert Sources(now=at("09:41"), prices=prices).status().halted == {
        "TECL": "it was neither traded nor quoted at all"
    }


def test_where_the_market_itself_is_silent_everything_waits():
    status = Sources(seen_at=dict.fromkeys(SYMBOLS, at("11:30"))).status()

    assert status.halted == {}
    assert status.halt == ("SPY, which stands for the market, was neither traded nor quoted since 2026-07-31 15:30 UTC")


def test_what_the_broker_says_comes_before_what_is_inferred():
    status = Sources(seen_at={"TLT": at("11:00")}, untradable=frozenset({"TLT"})).status()

    assert status.halted == {"TLT": "the broker does not let it be traded"}


@pytest.mark.parametrize(
    ("symbol", "sides", "state"),
    [
        ("TLT", ("94", "95"), "at the lower band"),
        ("TLT", ("95", "95.01"), None),
        ("TLT", ("105", "106"), "at the upper band"),
        ("TECL", ("60", "70"), "at the lower band"),
        ("TECL", ("71", "72"), None),
    ],
)
def test_a_quote_at_the_bands_around_the_last_trades_halts_its_symbol(symbol, sides, state):
    status = Sources(quoted={symbol: sides}).status()

    assert status.halted == ({} if state is None else {symbol: f"its quote is {state}"})


def test_bands_lie_around_the_trades_that_were_seen_within_five_minutes():
    first = Sources().status()
    fallen = Sources(now=at("12:02"), prices={"SPY": "100", "TLT": "94", "TECL": "100"})

    assert fallen.status().halted == {}
    assert fallen.status(earlier=first).halted == {}
    assert [trade.price for trade in fallen.status(earlier=first).trades["TLT"]] == [100, 94]
    assert replace(fallen, quoted={"TLT": ("91", "92")}).status(earlier=first).halted == {
        "TLT": "its quote is at the lower band"
    }
    assert replace(fallen, quoted={"TLT": ("91", "92")}).status().halted == {}


def test_trades_are_remembered_for_five_minutes_and_each_once():
    first = Sources().status()
    again = Sources(now=at("12:01"), seen_at=dict.fromkeys(SYMBOLS, NOON - timedelta(seconds=1))).status(earlier=first)
    later = Sources(now=at("12:06")).status(earlier=again)

    assert again.trades == first.trades
    assert [trade.at for trade in later.trades["SPY"]] == [at("12:06") - timedelta(seconds=1)]


def test_a_fall_of_the_market_stops_everything_for_a_while():
    fallen = Sources(prices=dict.fromkeys(SYMBOLS, "92.9"))

    status = fallen.status()

    assert status.breaker == MarketBreaker(1, NOON)
    assert status.obstacles("TLT") == ("the market fell by 7% at 16:00 UTC, which stops trading until 16:15 UTC",)
    for minutes, halted in ((14, True), (15, False), (60, False)):
        later = replace(fallen, now=NOON + timedelta(minutes=minutes)).status(earlier=status)
        assert bool(later.halt) is halted


def test_a_fall_by_a_fifth_ends_the_session_even_when_prices_come_back():
    crash = Sources(prices=dict.fromkeys(SYMBOLS, "79")).status()
    back = Sources(now=at("15:59")).status(earlier=crash)

    assert crash.breaker.ends_the_session
    assert "until 20:00 UTC" in back.halt
    assert Sources(now=at("10:00", MONDAY)).status(session=MONDAY, earlier=back).halt == ""


@pytest.mark.parametrize(
    "bad",
    [
        {"prices": {**dict.fromkeys(SYMBOLS, "100"), "SPY": "70"}, "quoted": {"SPY": ("99", "101")}},
        {"quoted": {"SPY": ("70", "70.1")}},
    ],
)
def test_one_bad_print_of_trade_or_quote_does_not_stop_the_market(bad):
    assert Sources(**bad).status().breaker == MarketBreaker()


def test_an_announced_split_is_told_rather_than_what_prices_say():
    split = CorporateAction("1", ActionKind.FORWARD_SPLIT, ("TECL",), FRIDAY)
    noticed = {"prices": {**dict.fromkeys(SYMBOLS, "100"), "TECL": "51"}}

    assert Sources(**noticed).status().corporate_actions == {
        "TECL": "the price went from 100.0 to 51 dollars, as by a split of 2 for 1"
    }
    assert Sources(actions=(split,), **noticed).status().corporate_actions == {"TECL": "forward split on 2026-07-31"}


def test_closes_on_two_bases_block_their_symbol():
    status = Sources(adjusted_closes={"SPY": 99.0, "TLT": 100.0, "TECL": 50.0}).status()

    assert status.corporate_actions == {"TECL": "the last close is 100 dollars as traded and 50.0 as adjusted"}


def test_announcements_are_sought_around_the_session_since_they_are_filed_when_processed():
    sources = Sources(actions=(CorporateAction("1", ActionKind.CASH_DIVIDEND, ("SPY",), FRIDAY),))

    assert sources.status().corporate_actions == {}
    assert sources.asked[1][2] < FRIDAY < sources.asked[1][3]


WATCHED = ("SPY", "TQQQ", "TLT", "UVXY")


def pauses(sources, **changes):
    for name, value in changes.items():
        setattr(sources, name, value)
    return MarketPauses(MarketSources(sources, sources, sources), lambda: sources.now, RULES)


def test_before_a_batch_each_symbol_that_does_not_trade_is_named_with_the_reason():
    found = pauses(Sources(seen_at={"TECL": at("11:30")}, quoted={"TECL": ("0", "0")}))(SYMBOLS)

    assert list(found) == ["TECL"]
    assert found["TECL"].startswith("does not trade now: it was neither traded nor quoted since")


def test_before_a_batch_what_a_source_cannot_tell_stops_nothing():
    assert pauses(Sources(failing={"corporate_actions": DependencyUnavailable("timed out")}))(SYMBOLS) == {}


def test_before_a_batch_a_pending_split_stops_its_symbol():
    split = CorporateAction("1", ActionKind.FORWARD_SPLIT, ("TLT",), FRIDAY)

    assert list(pauses(Sources(actions=(split,)))(SYMBOLS)) == ["TLT"]


def test_a_breaker_that_was_reached_is_remembered_from_one_batch_to_the_next():
    sources = Sources()
    ask = pauses(sources)
    assert ask(SYMBOLS) == {}

    sources.prices = dict.fromkeys(SYMBOLS, "92")
    assert set(ask(SYMBOLS)) == set(SYMBOLS)
    sources.prices = dict.fromkeys(SYMBOLS, "99")
    sources.now += timedelta(minutes=5)
    assert set(ask(SYMBOLS)) == set(SYMBOLS)


def test_outside_a_session_nobody_is_asked():
    sources = Sources(now=at("18:00"))

    assert pauses(sources)(SYMBOLS) == {}
    assert sources.asked == []


class Desk:
    """The real adapters on a simulator that serves in this process."""

    def __init__(self, served):
        self.control = served.control
        self.connection = Connection(served.url, served.url, ResilienceSettings())
        self.keys = Keys(*served.keys)

    def status(self, session, earlier=None):
        clock = TurnedClock(self.control.now())
        trading, data = (make(self.keys, self.connection, clock) for make in (trading_api, data_api))
        broker_clock = BrokerClock(trading, clock)
        market_data = AlpacaMarketData(data, broker_clock)
        sources = MarketSources(AlpacaBroker(trading, broker_clock), market_data, market_data)
        return market_status(WATCHED, session, sources, broker_clock.now(), RULES, earlier)


@pytest.fixture
def desk(tmp_path):
    with serving(tmp_path, start=at("16:30", THURSDAY)) as served:
        yield Desk(served)


def blocked(status):
    return {symbol: status.obstacles(symbol) for symbol in WATCHED if status.obstacles(symbol)}


def test_on_the_simulator_a_quiet_session_lets_everything_trade(desk):
    evening = desk.status(FRIDAY)
    desk.control.set_clock(at("09:35"))
    morning = desk.status(FRIDAY, evening)

    assert blocked(evening) == blocked(morning) == {}
    assert morning.trades.keys() == set(WATCHED)


def test_a_scheduled_split_blocks_its_symbol_in_its_session_and_in_no_other(desk):
    desk.control.split("TQQQ", FRIDAY, Decimal(2))
    seen = {"the evening before": desk.status(FRIDAY)}
    desk.control.set_clock(at("09:35"))
    seen["the session"] = desk.status(FRIDAY)
    desk.control.set_clock(at("17:00"))
    seen["the evening after"] = desk.status(MONDAY)
    desk.control.set_clock(at("09:35", MONDAY))
    seen["the next session"] = desk.status(MONDAY)

    split = {"TQQQ": ("forward split on 2026-07-31",)}
    assert {when: blocked(status) for when, status in seen.items()} == {
        "the evening before": split,
        "the session": split,
        "the evening after": {},
        "the next session": {},
    }


def test_a_split_of_which_no_announcement_is_read_is_noticed_by_its_closes(desk):
    desk.control.split("UVXY", FRIDAY, Decimal("0.1"))
    desk.control.set_clock(at("09:35"))
    desk.control.add_fault(action="status", status=403, match={"path_re": "^/v1/corporate-actions$"})

    status = desk.status(FRIDAY)

    assert status.missing("SPY") == ("corporate actions",)
    assert list(status.corporate_actions) == ["UVXY"]
    assert "as traded and" in status.corporate_actions["UVXY"]


def test_a_halt_shows_as_silence_and_ends_with_it(desk):
    desk.control.set_clock(at("09:35"))
    desk.control.halt("TLT")
    halted = []
    for when in ("09:36", "09:45", "09:46"):
        desk.control.set_clock(at(when))
        halted.append(list(desk.status(FRIDAY).halted))
    desk.control.resume("TLT")

    assert halted == [[], [], ["TLT"]]
    assert blocked(desk.status(FRIDAY)) == {}


def test_a_symbol_that_is_halted_for_the_whole_session_is_never_free_to_trade(desk):
    desk.control.halt("TLT", FRIDAY)
    desk.control.set_clock(at("09:31"))
    early = desk.status(FRIDAY)
    desk.control.set_clock(at("10:30"))
    late = desk.status(FRIDAY)

    assert early.missing("TLT") == late.missing("TLT") == ("latest trade",)
    assert list(late.halted) == ["TLT"]
    assert set(blocked(early)) == set(blocked(late)) == {"TLT"}


def test_a_fall_of_the_whole_market_trips_the_breaker_once(desk):
    desk.control.set_clock(at("11:00"))
    desk.control.set_symbol("SPY", quote_factor=Decimal("0.9"))
    first = desk.status(FRIDAY)
    desk.control.set_clock(at("11:14"))
    during = desk.status(FRIDAY, first)
    desk.control.set_clock(at("11:15"))
    after = desk.status(FRIDAY, during)

    assert first.breaker == during.breaker == after.breaker == MarketBreaker(1, at("11:00"))
    assert set(blocked(first)) == set(blocked(during)) == set(WATCHED)
    assert blocked(after) == {}


def test_a_symbol_that_the_broker_closes_is_told(desk):
    desk.control.set_symbol("UVXY", tradable=False)

    assert blocked(desk.status(FRIDAY)) == {"UVXY": ("the broker does not let it be traded",)}
