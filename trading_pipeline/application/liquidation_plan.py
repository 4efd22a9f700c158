"""The plan of a liquidation: which orders bring every position to zero, and what the risk engine says of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from trading_pipeline.application.halting import is_ours
from trading_pipeline.application.liquidation_desk import LiquidationDesk, session_of_orders
from trading_pipeline.application.planning import valued_at
from trading_pipeline.application.risk_inputs import open_orders, sent_orders
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import TradingHalted
from trading_pipeline.domain.instruments import QUANTITY_STEP, WHOLE_SHARE
from trading_pipeline.domain.liquidation import (
    LeftOut,
    LiquidationRequest,
    LiquidationTerms,
    LiquidationTrigger,
    Reduction,
    as_seen,
    begun,
    reduction,
)
from trading_pipeline.domain.orders import BrokerOrder, OrderIntent
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.domain.risk.day_trades import DayTradeRule
from trading_pipeline.domain.risk.decisions import Denied, RiskDecision
from trading_pipeline.domain.risk.engine import decide
from trading_pipeline.domain.risk.limits import RiskLimits
from trading_pipeline.domain.risk.market_status import MarketStatus
from trading_pipeline.domain.risk.rules import LIQUIDATION_RULES
from trading_pipeline.domain.risk.state import RiskState
from trading_pipeline.ports import Asset

ZERO = Decimal(0)

NO_LIMITS = RiskLimits(
    max_position_weight=None,
    max_leveraged_weight=None,
    max_strategy_share=None,
    max_gross_leverage=None,
    max_net_leverage=None,
    max_effective_leverage=None,
    max_concentration=None,
    max_class_exposure=None,
    max_sector_exposure=None,
    max_unclassified_exposure=None,
    max_order_value=None,
    max_orders_per_session=None,
    max_session_turnover=None,
    max_identical_orders=None,
    max_participation=None,
    max_price_deviation=None,
    max_value_at_risk=None,
    max_expected_shortfall=None,
    margin_buffer=None,
    day_trade_rule=DayTradeRule.INTRADAY_MARGIN,
)
"""No limit keeps a position from being closed; orders without a limit price stay forbidden."""


@dataclass(frozen=True)
class Preview:
    """What a liquidation would do now: the risk engine's decisions, and what no order is made of."""

    portfolio: Portfolio
    decisions: tuple[RiskDecision, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def orders(self) -> tuple[OrderIntent, ...]:
        """The orders that may leave, at the quantities that were decided."""
        allowed = [made for made in self.decisions if not isinstance(made, Denied) and made.quantity > 0]
        return tuple(replace(made.intent, quantity=made.quantity) for made in allowed)

    @property
    def staying(self) -> tuple[LeftOut, ...]:
        """What stays, and why: no order could be made of it, or the risk engine denies it."""
        denied = [made for made in self.decisions if isinstance(made, Denied)]
        told = [
            LeftOut(made.intent.symbol, self.portfolio.quantity(made.intent.symbol), "; ".join(map(str, made.breaches)))
            for made in denied
        ]
        return (*self.left_out, *told)


def preview(desk: LiquidationDesk) -> Preview:
    """Return what a liquidation would do now, once our open orders are cancelled; nothing is changed or sent.

    Raises:
        TransientError: the broker or the market data gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    now = desk.venue.clock.now()
    asked = LiquidationRequest(LiquidationTrigger.PERSON, "preview", "", 0, now, now)
    return decided(desk, asked, session_of_orders(now), now)


def plan_id_of(request: LiquidationRequest, session: date) -> str:
    """Return the id of the plan that carries ``request`` out in ``session``: the same for whoever makes it again."""
    return f"{sessions.previous_session(session)}.{request.name}"


def decided(desk: LiquidationDesk, request: LiquidationRequest, session: date, now: datetime) -> Preview:
    """Return the orders that close every position, as decided by the risk engine.

    Of a request without an account it is what would be decided once our open orders are cancelled.

    Raises:
        TradingHalted: the account is another one.
        TransientError: the broker or the market data gave no usable answer.
        PermanentError: the broker refused to answer.
    """
    broker = desk.venue.broker
    listed, portfolio = broker.orders(), broker.portfolio()
    if request.account_number and portfolio.account_number != request.account_number:
        raise TradingHalted(
            f"{request.name} is of account {request.account_number}, the broker answers for "
            f"{portfolio.account_number}; nothing was sold: check the keys"
        )
    is_preview = not request.account_number
    # By then our own are cancelled; what others placed is not touched.
    standing = [order for order in listed if not (is_preview and is_ours(order))]
    symbols = sorted(symbol for symbol, held in portfolio.positions.items() if held.quantity != 0)
    assets = desk.assets(symbols) if symbols else {}
    terms = _terms(desk, symbols, assets, standing, portfolio)
    valued = valued_at(portfolio, terms.prices)
    found: Reduction = reduction(
        valued,
        terms,
        account=portfolio.account_number,
        plan_id=plan_id_of(request, session),
        reason=f"{request.name}, {request.trigger}: {request.reason}",
    )
    state = _risk_state(desk, valued, assets, standing, session, now, is_preview=is_preview)
    return Preview(valued, decide(found.intents, state, NO_LIMITS, LIQUIDATION_RULES), found.left_out)


def _terms(
    desk: LiquidationDesk,
    symbols: Sequence[str],
    assets: Mapping[str, Asset],
    standing: Sequence[BrokerOrder],
    portfolio: Portfolio,
) -> LiquidationTerms:
    quotes = desk.venue.market_data.quotes(symbols) if symbols else {}
    known = {symbol: desk.instruments[symbol] for symbol in symbols if symbol in desk.instruments}
    under_way: dict[str, Decimal] = {}
    for order in standing:
        held = portfolio.quantity(order.symbol)
        if held and (held > 0) == (order.side.value == "sell"):
            under_way[order.symbol] = under_way.get(order.symbol, ZERO) + order.quantity - order.filled_quantity
    return LiquidationTerms(
        prices={symbol: quote.mid for symbol, quote in quotes.items()},
        steps={s: QUANTITY_STEP if s in assets and assets[s].fractionable else WHOLE_SHARE for s in symbols},
        multiples={symbol: instrument.leverage for symbol, instrument in known.items()},
        under_way=under_way,
        collars=desk.rules.collars,
    )


def _risk_state(
    desk: LiquidationDesk,
    portfolio: Portfolio,
    assets: Mapping[str, Asset],
    standing: Sequence[BrokerOrder],
    session: date,
    now: datetime,
    *,
    is_preview: bool,
) -> RiskState:
    """Return what the engine decides from, as if every symbol traded: whether it does is asked before each batch."""
    since = sessions.close_of(sessions.previous_session(session))
    state = desk.trading_state.read()
    return RiskState(
        portfolio=portfolio,
        trading_state=as_seen(begun(state, "", "", now, by_a_person=True) if is_preview else state),
        at=now,
        session=session,
        assets={symbol: replace(asset, tradable=True) for symbol, asset in assets.items()},
        classes={},
        open_orders=open_orders(standing),
        sent=sent_orders(desk.venue.broker.orders(since)),
        market=MarketStatus(session, now, frozenset(portfolio.positions)),
        locks=(),
    )
