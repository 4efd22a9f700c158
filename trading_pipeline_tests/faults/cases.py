"""Which plans are executed, and where a case kills, spoils and forgets: a function of seed and number."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from trading_pipeline.domain.orders import Side
from trading_pipeline_tests.faults.wire import FAULTS, KILLS, Rule

# A case ends with launches that nobody disturbs; more than these means that it does not converge.
MOST_LAUNCHES = 14
# Requests that end with an answer which is never given cost a child its patience.
COSTLY = frozenset({"slow", "silent"})
JOURNAL_LOST = 0.25
RESTLESS_MARKET = 0.3
EARLY = 2
# How many requests of each kind a launch makes at least, where what is in NEEDS happens.
REQUESTS: Mapping[str, int] = {
    "clock": 3,
    "account": 1,
    "positions": 1,
    "quotes": 1,
    "submit": 4,
    "order": 2,
    "orders": 6,
    "activities": 1,
    "cancel": 2,
}
# Without it a launch asks for no order by its id.
UNCLEAR = Rule("submit", 1, "504 before")


@dataclass(frozen=True)
class Shape:
    """An account and a plan: what is held (fractions of the cash) and what is ordered (fractions of the equity)."""

    name: str
    holdings: Mapping[str, Decimal]
    orders: Sequence[tuple[str, Side, Decimal]]
    whole_shares: bool = False


SHAPES = (
    Shape(
        "rotation",
        {"TLT": Decimal("0.3"), "GLD": Decimal("0.2")},
        (
            ("TLT", Side.SELL, Decimal("0.3")),
            ("GLD", Side.SELL, Decimal("0.1")),
            ("SPY", Side.BUY, Decimal("0.35")),
            ("QQQ", Side.BUY, Decimal("0.25")),
        ),
    ),
    Shape(
        "buys paid by sells",
        {"TLT": Decimal("0.5"), "GLD": Decimal("0.45")},
        (
            ("TLT", Side.SELL, Decimal("0.4")),
            ("GLD", Side.SELL, Decimal("0.3")),
            ("SPY", Side.BUY, Decimal("0.3")),
            ("QQQ", Side.BUY, Decimal("0.2")),
            ("IEF", Side.BUY, Decimal("0.15")),
        ),
        whole_shares=True,
    ),
    Shape(
        "first buys",
        {},
        tuple((symbol, Side.BUY, Decimal("0.15")) for symbol in ("SPY", "QQQ", "IEF", "TLT", "GLD")),
    ),
)


@dataclass(frozen=True)
class Market:
    """How the orders of the symbol at a place of the plan behave at the broker, the first or the first two of them."""

    name: str
    place: int
    times: int = 1

    def fault(self, symbol: str) -> Mapping[str, object]:
        """Return the rule of the simulator that says so."""
        return {"match": {"symbol": symbol}, "times": self.times, **MARKETS[self.name]}


MARKETS: Mapping[str, Mapping[str, object]] = {
    "fills in parts": {"action": "partial", "fractions": ["0.3", "0.2"]},
    "stops in the middle": {"action": "partial", "fractions": ["0.4"], "then": "wait"},
    "never works": {"action": "stuck", "status": "pending_new"},
    "never fills": {"action": "stuck", "status": "new"},
    "fills when it is cancelled": {"action": "cancel_race"},
}
# Of these an order is cancelled, to send its rest anew.
RESTLESS = ("stops in the middle", "never works", "never fills")


@dataclass(frozen=True)
class AtRequest:
    """Kill at the ``nth`` request of a kind that the launch makes."""

    kind: str
    nth: int
    action: str

    @property
    def rule(self) -> Rule:
        return Rule(self.kind, self.nth, self.action)


@dataclass(frozen=True)
class AtMoment:
    """Kill after so large a share of the time that an undisturbed launch takes."""

    share: float


@dataclass(frozen=True)
class AtJournalWrite:
    """Kill after so large a share of the writes to the journal that an undisturbed launch makes."""

    share: float


Kill = AtRequest | AtMoment | AtJournalWrite


@dataclass(frozen=True)
class Case:
    """One trial: a kill for each of the first launches, faults over all of them, the journal lost or not.

    ``journal_lost_after`` is the launch after which the journal is deleted.
    """

    seed: int
    number: int
    shape: Shape
    kills: tuple[Kill, ...] = ()
    faults: tuple[Rule, ...] = ()
    markets: tuple[Market, ...] = ()
    journal_lost_after: int | None = None


def protocol_points() -> Sequence[AtRequest]:
    """Return every point of the protocol at which a launch is killed."""
    return [
        AtRequest(kind, nth, action)
        for kind, count in REQUESTS.items()
        for nth in range(1, count + 1)
        for action in KILLS
    ]


def case(seed: int, number: int) -> Case:
    """Return case ``number`` of ``seed``: the first kills go through all protocol points in a shuffled order."""
    chosen = random.Random(f"{seed}/{number}")  # noqa: S311 - a case must be repeatable
    first = _first_kill(seed, number)
    kills = (first, *(_later_kill(chosen) for _ in range(_more_kills(chosen))))
    return Case(
        seed,
        number,
        SHAPES[number % len(SHAPES)],
        kills,
        faults=(*((UNCLEAR,) if first.kind == "order" else ()), *_faults(chosen)),
        markets=_markets(chosen, RESTLESS if first.kind == "cancel" else tuple(MARKETS), first.kind == "cancel"),
        journal_lost_after=chosen.randrange(len(kills)) if chosen.random() < JOURNAL_LOST else None,
    )


def _more_kills(chosen: random.Random) -> int:
    return chosen.choices((1, 2, 3), weights=(40, 35, 25))[0]


def _first_kill(seed: int, number: int) -> AtRequest:
    points = list(protocol_points())
    random.Random(f"{seed}/points").shuffle(points)  # noqa: S311 - a case must be repeatable
    return points[number % len(points)]


def _later_kill(chosen: random.Random) -> Kill:
    # There is less left to do, the more was done before.
    match chosen.randrange(4):
        case 0:
            return AtMoment(round(chosen.uniform(0, 0.6), 4))
        case 1:
            return AtJournalWrite(round(chosen.uniform(0, 0.4), 4))
        case _:
            return chosen.choice([point for point in protocol_points() if point.nth <= EARLY])


def _markets(chosen: random.Random, names: Sequence[str], needed: bool) -> tuple[Market, ...]:
    if not needed and chosen.random() >= RESTLESS_MARKET:
        return ()
    return (Market(chosen.choice(names), chosen.randrange(4), 2 if needed else chosen.choice((1, 1, 2))),)


def _faults(chosen: random.Random) -> tuple[Rule, ...]:
    count = chosen.choices((0, 1, 2, 3), weights=(35, 35, 20, 10))[0]
    return tuple(_fault(chosen) for _ in range(count))


def _fault(chosen: random.Random) -> Rule:
    # Orders are what matters: half of the faults hit their submission.
    kind = "submit" if chosen.random() < 0.5 else chosen.choice(list(REQUESTS))
    action = chosen.choice(FAULTS)
    times = 1 if action in COSTLY else chosen.randint(1, 3)
    return Rule(kind, chosen.randint(1, REQUESTS[kind]), action, times)
