"""What holds trading beside the stored state, and what counts while a source of it cannot be read.

Every source speaks in latches, so that the severest of all decides and each is
seen under its own name. Nothing here asks anybody: readings come in as values.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingMode, TradingState

HALT_WORD, REDUCE_WORD = "halt", "reduce"
WORDS = {HALT_WORD: TradingMode.HALTED, REDUCE_WORD: TradingMode.REDUCING}
"""What a person writes to stop trading, or all of it that opens a position."""

BROKER = "broker"
KEY_AGE = "key age"
HALTING_AGE = 1.2
"""Keys that are older than their longest age let exposures be reduced, older than this multiple of it nothing."""

LONGEST_REASON = 200


@dataclass(frozen=True)
class SourcePatience:
    """What is borne of a source that cannot be read.

    Attributes:
        last_known: seconds after its last reading for which that still counts.
        errors: readings in a row that may fail after that; with the last of them trading is halted.
    """

    last_known: float = 30.0
    errors: int = 3

    def __post_init__(self) -> None:
        """Refuse a patience that never ends, or that no reading can begin.

        Raises:
            InvalidInput: ``last_known`` is negative or no number, or ``errors`` is less than 1.
        """
        if not 0 <= self.last_known < float("inf") or self.errors < 1:
            raise InvalidInput(
                f"patience with a source needs 0 or more seconds and 1 or more errors, was {self.last_known}, "
                f"{self.errors}"
            )


@dataclass(frozen=True)
class KnownSource:
    """What one source was last heard to say.

    Attributes:
        state: the state that it said, ACTIVE without latches where it holds nothing; None before it was ever read.
        read_at: when that was, in seconds of a clock that is never set back.
        asked_at: when it was asked last, likewise, whether or not it answered.
        errors: readings in a row that failed after ``patience`` with the last good one had ended.
        failure: why it cannot be read; empty where it can.
        is_final: whether asking again cannot help, as with content that is damaged.
    """

    state: TradingState | None = None
    read_at: float = 0.0
    asked_at: float = 0.0
    errors: int = 0
    failure: str = ""
    is_final: bool = False

    def read(self, state: TradingState, asked_at: float) -> "KnownSource":
        """Return what is known after it said ``state`` to a question of that time; older answers change nothing."""
        if self.state is not None and asked_at < self.read_at:
            return self
        return KnownSource(state, asked_at, max(asked_at, self.asked_at))

    def failed(self, failure: str, asked_at: float, patience: SourcePatience, *, is_final: bool) -> "KnownSource":
        """Return what is known after a question of that time was not answered; older ones change nothing."""
        if self.state is not None and asked_at < self.read_at:
            return self
        is_late = self.state is None or asked_at - self.read_at > patience.last_known
        return replace(
            self,
            asked_at=max(asked_at, self.asked_at),
            errors=self.errors + (1 if is_late else 0),
            failure=failure,
            # What is damaged does not heal by being out of reach.
            is_final=self.is_final or is_final,
        )

    def in_force(self, name: str, now: float, patience: SourcePatience) -> TradingState:
        """Return what the source holds trading to at ``now``: what it said, or what its silence means.

        Its last word counts for a while, then only exposures are reduced, and
        after some more failures nothing is traded. The failures count once the
        while is over, so that several orders that ask at once do not leave out
        what lies between. A source that never said anything, or whose content
        cannot be used, allows nothing: there is no last word to go by.

        >>> patience, known = SourcePatience(30.0, 2), KnownSource().read(ACTIVE, asked_at=0.0)
        >>> for at in (30.0, 31.0, 32.0):
        ...     known = known.failed("no answer", at, patience, is_final=False)
        ...     print(known.in_force("store", at, patience).mode)
        active
        reducing
        halted
        """
        if not self.failure:
            return self.state or TradingState(TradingMode.HALTED, "it was never read", name)
        known = self.state
        if known is None or self.is_final or self.errors >= patience.errors:
            return (known or ACTIVE).joined([Latch(name, TradingMode.HALTED, self.failure, name)])
        if now - self.read_at <= patience.last_known:
            return known
        return known.joined([Latch(name, TradingMode.REDUCING, self.failure, name)])


def word_latch(name: str, word: str, reason: str = "") -> Latch | None:
    """Return what a person's word holds trading to: ``halt`` or ``reduce``; None where there is no word.

    Any other word halts: somebody meant something by it.

    >>> str(word_latch("environment", "Reduce"))
    'environment: reducing'
    >>> word_latch("environment", "stop").mode.value, word_latch("environment", " ")
    ('halted', None)
    """
    said = word.strip()
    if not said:
        return None
    mode = WORDS.get(said.casefold())
    if mode is None:
        found = f"{said[:LONGEST_REASON]!r} is none of {', '.join(WORDS)}; correct it, or take it away to trade again"
        return Latch(name, TradingMode.HALTED, found, name)
    return Latch(name, mode, " ".join(reason.split())[:LONGEST_REASON], name)


def blocked_latch(blocked: str) -> Latch | None:
    """Return the latch of an account that the broker lets trade nothing, for the reason ``blocked``; None without."""
    return Latch(BROKER, TradingMode.HALTED, f"it blocks the account: {blocked}", BROKER) if blocked else None


def key_age_latch(age: timedelta, longest: timedelta) -> Latch | None:
    """Return the latch of keys of that age, of which nobody should be older than ``longest``; None while they are not.

    Older keys reduce, a fifth older ones halt, and so do keys that are not made yet: one of the clocks is wrong.

    >>> [str(key_age_latch(timedelta(days=days), timedelta(days=90))) for days in (90, 91, 109)]
    ['None', 'key age: reducing (the keys are 91 of at most 90 days old; rotate them)', \
'key age: halted (the keys are 109 of at most 90 days old; rotate them)']
    """
    if timedelta(0) <= age <= longest:
        return None
    if age < timedelta(0):
        found = "the keys are not made yet; correct the day in the settings, or this machine's clock"
        return Latch(KEY_AGE, TradingMode.HALTED, found, KEY_AGE)
    mode = TradingMode.HALTED if age > longest * HALTING_AGE else TradingMode.REDUCING
    return Latch(KEY_AGE, mode, f"the keys are {age.days} of at most {longest.days} days old; rotate them", KEY_AGE)


def merged(stored: TradingState, others: Collection[TradingState]) -> TradingState:
    """Return the stored state with the latches of all other sources: the severest decides, the order does not."""
    return stored.joined(latch for state in others for latch in state.latches)
