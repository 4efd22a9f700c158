"""What sets a liquidation off, looked for while the session is open: halting latches, and a spike of the market."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from trading_pipeline.application.liquidation import agreed, asked, confirmed, told_of
from trading_pipeline.application.liquidation_desk import LiquidationDesk
from trading_pipeline.domain import sessions
from trading_pipeline.domain.liquidation import Consent, LiquidationRequest, LiquidationTrigger, Stage, triggers
from trading_pipeline.ports import MarketData, MarketEvents
from trading_pipeline.settings import LiquidationSettings

LOOK_BACK = 90
"""Sessions of closes behind the market's volatility: several times the memory of its average."""


@dataclass(frozen=True)
class Cause:
    """What would set a liquidation off, and why, for people."""

    trigger: LiquidationTrigger
    reason: str


def looked(desk: LiquidationDesk, events: MarketEvents, chosen: LiquidationSettings, market: str) -> str:
    """Ask for what is set off now, or agree to it where the settings do, and return what was found in a line.

    Each cause is asked about once: not again after a liquidation that came
    later than it, and not while a question stands.

    Raises:
        TransientError: broker, market data or store gave no usable answer; the next look is as good.
        TradingHalted: the trading state cannot be read.
    """
    now = desk.venue.clock.now()
    session = sessions.session_at(now)
    if session is None:
        return f"the exchange is closed at {now.isoformat()}"
    portfolio = desk.venue.broker.portfolio()
    under_way = agreed(desk, portfolio.account_number)
    if under_way is not None:
        return f"{under_way.name} is {under_way.stage}"
    if not any(held.quantity for held in portfolio.positions.values()):
        return "nothing is held"
    newest = desk.requests.newest(portfolio.account_number)
    for cause in _causes(desk, events, chosen, market, session, newest):
        return _answered(desk, cause, chosen.consent(cause.trigger))
    return "nothing sets a liquidation off"


def _answered(desk: LiquidationDesk, cause: Cause, consent: Consent) -> str:
    request = asked(desk, cause.trigger, cause.reason, consent)
    if consent is Consent.AUTOMATIC:
        request = confirmed(desk, request.code, f"the settings: {cause.trigger} is automatic")
        return f"{request.name} is {request.stage}: {cause.reason}"
    desk.notifier.notify(told_of(request, desk.venue.clock.now()))
    return f"a person was asked about {request.name}: {cause.reason}"


def _causes(
    desk: LiquidationDesk,
    events: MarketEvents,
    chosen: LiquidationSettings,
    market: str,
    session: date,
    newest: LiquidationRequest | None,
) -> Iterator[Cause]:
    state = desk.trading_state.read()
    for trigger, latch in triggers(state):
        consent = chosen.consent(trigger)
        since_then = newest is not None and latch.set_at is not None and newest.made_at >= latch.set_at
        if consent is not Consent.OFF and not (since_then and _is_answered(newest, consent, state.epoch)):
            yield Cause(trigger, str(latch))
    spike = LiquidationTrigger.VOLATILITY_SPIKE
    if chosen.consent(spike) is Consent.OFF or _was_asked(newest, spike, session):
        return
    moved = market_move(desk.venue.market_data, events, market, session)
    if moved is not None and moved >= chosen.volatility_multiple:
        yield Cause(spike, f"{market} moved by {moved:.1f} of its daily deviations since the close before")


def _is_answered(newest: LiquidationRequest | None, consent: Consent, epoch: int) -> bool:
    """Tell whether the newest request, made since, was agreed to, or asks a person of the state as it is.

    One by which a person only looks at what would be sold asks nobody.
    """
    if newest is None or newest.stage is not Stage.REQUESTED:
        return newest is not None
    asks = newest.trigger is not LiquidationTrigger.PERSON and consent is not Consent.AUTOMATIC
    return asks and newest.epoch == epoch


def _was_asked(newest: LiquidationRequest | None, trigger: LiquidationTrigger, session: date) -> bool:
    return newest is not None and newest.trigger is trigger and sessions.session_at(newest.made_at) == session


def market_move(market_data: MarketData, events: MarketEvents, market: str, session: date) -> float | None:
    """Return the market's move since the close before ``session``, in its daily standard deviations, sign ignored.

    The deviation is EWMA's, of the returns until then. Of latest trade and
    quote the one that moved less counts, so that a bad print is no spike.
    None where no move can be measured.

    Raises:
        TransientError: the market data gave no usable answer.
    """
    import numpy as np

    from trading_pipeline.domain.risk.volatility import ewma_sigma

    first, before = sessions.previous_session(session, LOOK_BACK), sessions.previous_session(session)
    bars = market_data.daily_bars([market], first, before).sort_values("session")
    closes = bars["close"].dropna().to_numpy(dtype=float)
    trade, quote = events.latest_trades([market]).get(market), market_data.quotes([market]).get(market)
    prices = [float(price) for price in (trade and trade.price, quote and quote.mid) if price and price > 0]
    if len(prices) < 2 or len(closes) < LOOK_BACK // 2 or bars["session"].iloc[-1] != before:  # noqa: PLR2004 - trade and quote
        return None
    sigma = float(ewma_sigma(np.diff(closes) / closes[:-1])[-1])
    moves = [abs(price / closes[-1] - 1) for price in prices]
    return min(moves) / sigma if sigma > 0 else None
