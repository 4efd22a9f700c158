"""The circuit breaker of a strategy: after too many sessions without a signal its sleeve goes to a safe asset.

Closed, a strategy that has no signal keeps what it last decided. The breaker
opens on the session that is one too many without a signal: the sleeve is parked
in its safe asset. It stays so until the strategy has a signal again, and for
the cool-down at least. Everything follows from the session on which the
strategy last had a signal that counted, so that a session is judged alike
whether it is decided live, again, or in a backtest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput


@dataclass(frozen=True)
class BreakerRules:
    """When breakers open, for how long, and where sleeves go.

    Attributes:
        failures: sessions in a row without a signal, the last of which opens the breaker; at least 1. A session on
            which nothing was decided at all counts.
        cool_down_sessions: sessions that the sleeve stays parked at least, the one that opens the breaker included;
            at least 1, with which the first signal that comes afterwards counts.
        safe_asset: the symbol that sleeves are parked in.
        safe_assets: by strategy, another one.
    """

    failures: int
    cool_down_sessions: int = 1
    safe_asset: str = "BIL"
    safe_assets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse breakers that open before anything fails, or do not open.

        Raises:
            InvalidInput: ``failures`` or ``cool_down_sessions`` is below 1.
        """
        if self.failures < 1 or self.cool_down_sessions < 1:
            raise InvalidInput(
                f"a breaker opens after at least one failure and for at least one session, was given {self.failures} "
                f"and {self.cool_down_sessions}"
            )

    def safe_asset_of(self, strategy: str) -> str:
        """Return the symbol that the sleeve of ``strategy`` is parked in.

        >>> BreakerRules(4, safe_assets={"tecl": "SHY"}).safe_asset_of("tecl")
        'SHY'
        """
        return self.safe_assets.get(strategy, self.safe_asset)

    @property
    def symbols(self) -> frozenset[str]:
        """Every symbol that a sleeve may be parked in."""
        return frozenset({self.safe_asset, *self.safe_assets.values()})


class BreakerStatus(StrEnum):
    """CLOSED: it has a signal. FAILING: it has none, and keeps its sleeve. OPEN: parked. COOLING: parked, with one."""

    CLOSED = "closed"
    FAILING = "failing"
    OPEN = "open"
    COOLING = "cooling down"


@dataclass(frozen=True)
class Breaker:
    """The breaker of a strategy on a session.

    Attributes:
        status: where it stands.
        failures: sessions in a row, this one included, without a signal that counted; 0 when closed.
        opened_on: the session that opened it; None while it is closed or failing.
        counts_from: the first session whose signal counts again; None likewise.
    """

    status: BreakerStatus
    failures: int = 0
    opened_on: date | None = None
    counts_from: date | None = None

    @property
    def is_parked(self) -> bool:
        """Tell whether the sleeve is in its safe asset."""
        return self.status in {BreakerStatus.OPEN, BreakerStatus.COOLING}


CLOSED = Breaker(BreakerStatus.CLOSED)


def breaker_on(
    session: date, last_signal: date | None, rules: BreakerRules, *, has_signal: bool, was_parked: bool = False
) -> Breaker:
    """Return where the breaker of a strategy stands on ``session``.

    >>> monday, rules = date(2026, 7, 27), BreakerRules(failures=2, cool_down_sessions=2)
    >>> [str(breaker_on(date(2026, 7, day), monday, rules, has_signal=False).status) for day in (28, 29)]
    ['failing', 'open']
    >>> [
    ...     str(breaker_on(date(2026, 7, day), monday, rules, has_signal=True, was_parked=True).status)
    ...     for day in (30, 31)
    ... ]
    ['cooling down', 'closed']

    Args:
        session: the session that is decided.
        last_signal: the session on which the strategy last had a signal that counted; None where none is known,
            so that there is no sleeve to keep or to park.
        rules: when it opens and for how long.
        has_signal: whether the strategy has a signal today.
        was_parked: whether its sleeve was in the safe asset before today; a breaker that opened stays open without
            a signal, whatever the rules have become since.

    Raises:
        InvalidInput: ``last_signal`` is not a session, or leads out of the calendar.
    """
    if last_signal is None:
        return CLOSED if has_signal else Breaker(BreakerStatus.FAILING, 1)
    failures = sessions.count_between(last_signal, session)
    if has_signal and not was_parked:
        return CLOSED
    if not was_parked and failures < rules.failures:
        return Breaker(BreakerStatus.FAILING, failures)
    opened_on = min(sessions.next_session(last_signal, rules.failures), session)
    counts_from = sessions.next_session(opened_on, rules.cool_down_sessions)
    if has_signal and session >= counts_from:
        return CLOSED
    status = BreakerStatus.COOLING if has_signal else BreakerStatus.OPEN
    return Breaker(status, failures, opened_on, counts_from)
