"""Getting out of positions in an emergency: who may start it, what it sees of the trading state, which orders it makes.

An order only ever lowers a position: sales of what is held, purchases of what
is short, each up to zero and no further. Their ids follow from the change of
the trading state that set it off, so that whoever does it again repeats them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import WHOLE_SHARE, round_price, round_quantity
from trading_pipeline.domain.orders import OrderIntent, OrderType, Side, TimeInForce, client_order_id
from trading_pipeline.domain.portfolio import Portfolio, Position
from trading_pipeline.domain.risk.drawdown_limits import Measure
from trading_pipeline.domain.risk.trading_state import (
    CODE_LENGTH,
    PERSON,
    Latch,
    TradingMode,
    TradingState,
)

COLLARS = (Decimal("0.005"), Decimal("0.01"), Decimal("0.02"))
"""How far beyond the quote the slices of an order go one after the other, as fractions, times the fund's multiple."""

LIQUIDATION, RECONCILIATION = "liquidation", "reconciliation"
"""The names of the latch that a liquidation sets, and of one that may set it off; the others are the drawdown's."""

ZERO = Decimal(0)


class LiquidationTrigger(StrEnum):
    """What may set a liquidation off."""

    EQUITY_DRAWDOWN = "equity drawdown"
    VOLATILITY_SPIKE = "volatility spike"
    BROKEN_RECONCILIATION = "broken reconciliation"
    PERSON = PERSON


class Consent(StrEnum):
    """What a trigger leads to: nothing, a question to a person, or the liquidation itself."""

    OFF = "off"
    CONFIRM = "confirm"
    AUTOMATIC = "automatic"


_HALTS_ONLY = frozenset(measure.value for measure in Measure)
_TRIGGERS: Mapping[str, LiquidationTrigger] = {
    **dict.fromkeys(sorted(_HALTS_ONLY), LiquidationTrigger.EQUITY_DRAWDOWN),
    RECONCILIATION: LiquidationTrigger.BROKEN_RECONCILIATION,
}


def triggers(state: TradingState) -> tuple[tuple[LiquidationTrigger, Latch], ...]:
    """Return what in ``state`` sets a liquidation off, in the order of the triggers, each with the latch that says so.

    A volatility spike is not among them: it latches nothing, and is measured.
    A drawdown does where it halts; where it only reduces, the strategies may
    still sell. Of several latches of one trigger the first that was set counts.

    >>> from datetime import date
    >>> drawdown = Latch("daily loss", TradingMode.HALTED, session=date(2026, 7, 31), is_risk=True)
    >>> [trigger.value for trigger, _ in triggers(TradingState(TradingMode.ACTIVE).latched(drawdown))]
    ['equity drawdown']
    """
    found: dict[LiquidationTrigger, Latch] = {}
    for latch in state.latches:
        trigger = _TRIGGERS.get(latch.name)
        if trigger and (latch.mode is TradingMode.HALTED or latch.name not in _HALTS_ONLY):
            found.setdefault(trigger, latch)
    return tuple((trigger, found[trigger]) for trigger in LiquidationTrigger if trigger in found)


def as_seen(state: TradingState) -> TradingState:
    """Return what ``state`` leaves to a liquidation: sales of what is held, where nothing but a trigger halts.

    What a trigger halted is reducing for the liquidation that it set off. A
    person's halt, a source that cannot be read, the broker's own flags and
    whatever else there is stop it as they stop everything. Without the latch
    of the liquidation itself somebody has ended it, and it sends nothing.
    """
    if state.latch(LIQUIDATION) is None:
        ended = "the latch of the liquidation was reset, which ends it"
        return state.joined([Latch(LIQUIDATION, TradingMode.HALTED, ended, LIQUIDATION)])
    lowered = [_lowered(latch) if latch.name in _TRIGGERS else latch for latch in state.latches]
    return replace(TradingState(TradingMode.ACTIVE).joined(lowered), epoch=state.epoch)


def _lowered(latch: Latch) -> Latch:
    return replace(latch, mode=TradingMode.REDUCING)


def begun(state: TradingState, reason: str, set_by: str, at: datetime, *, by_a_person: bool) -> TradingState:
    """Return ``state`` held to reducing by a liquidation; whoever confirmed it also lowers a person's own halt.

    What rules have latched stays as it is.
    """
    own = [name for name in (LIQUIDATION, *((PERSON,) if by_a_person else ())) if state.latch(name)]
    kept = state.cleared(own, reason, set_by, at) if own else state
    person = state.latch(PERSON)
    if PERSON in own and person is not None:
        kept = kept.latched(_lowered(person))
    return kept.latched(Latch(LIQUIDATION, TradingMode.REDUCING, reason, set_by, at))


def ended(state: TradingState, mode: TradingMode, reason: str, at: datetime) -> TradingState:
    """Return ``state`` after a liquidation that is over, held to ``mode``; itself where somebody has ended it before.

    Raises:
        InvalidInput: ``mode`` is ACTIVE: only a person lets trading go on.
    """
    if mode is TradingMode.ACTIVE:
        raise InvalidInput("after a liquidation trading is reducing or halted until a person resets it, was active")
    held = state.latch(LIQUIDATION)
    if held is None or (held.mode, held.reason) == (mode, reason):
        return state
    without = state.cleared([LIQUIDATION], reason, LIQUIDATION, at)
    return without.latched(Latch(LIQUIDATION, mode, reason, LIQUIDATION, at))


class Stage(StrEnum):
    """How far a liquidation has come."""

    REQUESTED = "requested"
    CONFIRMED = "confirmed"
    UNDER_WAY = "under way"
    OVER = "over"

    @property
    def is_agreed(self) -> bool:
        """Tell whether it is to be carried out, and is not yet."""
        return self in {Stage.CONFIRMED, Stage.UNDER_WAY}


@dataclass(frozen=True)
class LiquidationRequest:
    """A liquidation that somebody or something asks for.

    Attributes:
        trigger: what set it off.
        reason: why, for people.
        account_number: whose positions are closed.
        epoch: the change of the trading state that it answers; its number, of which there is one liquidation.
        made_at: when it was asked for, UTC.
        expires_at: until when its code confirms it, UTC.
        stage: how far it has come.
        agreed_by: who confirmed it, or what setting did.
        session: the session in which its orders are sent; None before the plan is made.
        outcome: how it ended, for people.
    """

    trigger: LiquidationTrigger
    reason: str
    account_number: str
    epoch: int
    made_at: datetime
    expires_at: datetime
    stage: Stage = Stage.REQUESTED
    agreed_by: str = ""
    session: date | None = None
    outcome: str = ""

    @property
    def name(self) -> str:
        """What it is called, as part of its plan's id.

        >>> from datetime import UTC
        >>> at = datetime(2026, 7, 31, 14, tzinfo=UTC)
        >>> LiquidationRequest(LiquidationTrigger.PERSON, "drill", "SIM0001", 12, at, at).name
        'liq-12'
        """
        return f"liq-{self.epoch}"

    @property
    def standing(self) -> str:
        """How far one that was agreed to has come, for people."""
        return f"{self.name} is {self.stage}, agreed to by {self.agreed_by}: what is held is sold"

    @property
    def code(self) -> str:
        """What a person repeats to confirm it: six characters that change with what was asked, and when it expires."""
        told = [self.trigger, self.reason, self.account_number, self.epoch, self.expires_at.isoformat()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[-CODE_LENGTH:]

    def confirmed(self, code: str, by: str, epoch: int, now: datetime) -> "LiquidationRequest":
        """Return it as agreed to by whoever repeats its code; itself where it is agreed to already.

        Raises:
            InvalidInput: it is over, the code is another's, or has expired, or something else holds trading since.
        """
        if code != self.code or self.stage is Stage.OVER:
            raise InvalidInput(
                f"the code {code!r} is of no liquidation that waits for one; `trading-pipeline liquidate` shows what "
                f"would be sold, and a code"
            )
        if self.stage.is_agreed:
            return self
        if now >= self.expires_at:
            raise InvalidInput(f"the code {code!r} expired at {self.expires_at.isoformat()}; ask for another one")
        if epoch != self.epoch:
            raise InvalidInput(
                f"the code {code!r} is of change {self.epoch} of the trading state, and change {epoch} holds now; look "
                f"at `trading-pipeline kill status`, and ask for another code"
            )
        return replace(self, stage=Stage.CONFIRMED, agreed_by=by)


@dataclass(frozen=True)
class LeftOut:
    """What stays of a position, in shares (negative when short), and why no order is made of it."""

    symbol: str
    quantity: Decimal
    reason: str


@dataclass(frozen=True)
class Reduction:
    """The orders that get out of positions, sales first, each side by symbol; and what stays."""

    intents: tuple[OrderIntent, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True)
class LiquidationTerms:
    """What is known of the symbols that are got out of; one that is not known is taken at its plainest.

    Attributes:
        prices: dollars a share by which limits are set; without one, the position's own price counts.
        steps: smallest quantities in shares; whole ones without.
        multiples: the funds' own daily multiples; 1 without.
        under_way: shares that open orders take out of a position already, ours and others'.
        collars: how far beyond the quote the slices go, as fractions that grow, times the multiple.
    """

    prices: Mapping[str, Decimal] = field(default_factory=dict)
    steps: Mapping[str, Decimal] = field(default_factory=dict)
    multiples: Mapping[str, Decimal] = field(default_factory=dict)
    under_way: Mapping[str, Decimal] = field(default_factory=dict)
    collars: Sequence[Decimal] = COLLARS

    def __post_init__(self) -> None:
        """Refuse collars that do not widen.

        Raises:
            InvalidInput: there are none, they shrink, or one is not a fraction between 0 and 0.1.
        """
        collars = list(self.collars)
        if not collars or collars != sorted(collars) or not all(0 < collar <= Decimal("0.1") for collar in collars):
            raise InvalidInput(f"collars are fractions above 0, up to 0.1, that do not shrink; were {collars}")

    def offsets(self, symbol: str) -> tuple[Decimal, ...]:
        """Return how far beyond the quote each slice of an order in ``symbol`` is placed.

        >>> LiquidationTerms(multiples={"TQQQ": Decimal(3)}).offsets("TQQQ")
        (Decimal('0.015'), Decimal('0.03'), Decimal('0.06'))
        """
        multiple = max(Decimal(1), abs(self.multiples.get(symbol, Decimal(1))))
        return tuple(collar * multiple for collar in self.collars)

    def price(self, position: Position) -> Decimal | None:
        """Return the price of a position in dollars a share, or None where there is no usable one."""
        usable = [self.prices.get(position.symbol), position.price]
        return next((price for price in usable if price is not None and price.is_finite() and price > 0), None)


def reduction(portfolio: Portfolio, terms: LiquidationTerms, *, account: str, plan_id: str, reason: str) -> Reduction:
    """Return the orders that bring every position of ``portfolio`` to zero, one for each symbol, as limits for the day.

    A quantity is what is held (or short) less what open orders take out of it
    already, rounded down to the symbol's step: none crosses zero. The limit is
    the widest collar away from the price, rounded outwards to the tick. A
    position without a usable price, or of which less than a step is left, is
    left out and named.
    """
    found = [
        _reduced(position, terms, account=account, plan_id=plan_id, reason=reason)
        for _, position in sorted(portfolio.positions.items())
        if position.quantity != 0
    ]
    intents = [outcome for outcome in found if isinstance(outcome, OrderIntent)]
    ordered = sorted(intents, key=lambda intent: (intent.side is Side.BUY, intent.symbol))
    numbered = tuple(replace(intent, sequence=number) for number, intent in enumerate(ordered, start=1))
    return Reduction(numbered, tuple(outcome for outcome in found if isinstance(outcome, LeftOut)))


def _reduced(
    position: Position, terms: LiquidationTerms, *, account: str, plan_id: str, reason: str
) -> OrderIntent | LeftOut:
    symbol, price = position.symbol, terms.price(position)
    side = Side.SELL if position.quantity > 0 else Side.BUY
    taken = max(terms.under_way.get(symbol, ZERO), ZERO)
    rest = max(abs(position.quantity) - taken, ZERO)
    if not rest.is_finite() or price is None:
        found = f"{position.quantity} shares at price {position.price} are no usable figures"
        return LeftOut(symbol, position.quantity, found)
    quantity = round_quantity(rest, terms.steps.get(symbol, WHOLE_SHARE))
    if quantity <= 0:
        why = f"{taken:f} shares are in open orders" if taken else "it is less than can be traded"
        return LeftOut(symbol, position.quantity, why)
    widest = terms.offsets(symbol)[-1]
    beyond = 1 - widest if side is Side.SELL else 1 + widest
    return OrderIntent(
        client_order_id=client_order_id(account, plan_id, symbol, side),
        sequence=0,
        symbol=symbol,
        side=side,
        quantity=quantity,
        order_type=OrderType.LIMIT,
        limit_price=round_price(price * beyond, up=side is Side.BUY),
        reference_price=price,
        time_in_force=TimeInForce.DAY,
        reason=reason,
    )
