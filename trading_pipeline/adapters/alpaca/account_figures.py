"""What Alpaca itself says the account is worth, beside cash and positions."""

from decimal import Decimal

from trading_pipeline.adapters.alpaca import translation
from trading_pipeline.adapters.alpaca.translation import Row
from trading_pipeline.adapters.alpaca.transport import Api
from trading_pipeline.domain.risk.watch_state import AccountFigures
from trading_pipeline.ports import Clock


class AlpacaAccountFigures:
    """The figures of the account behind one pair of keys."""

    def __init__(self, trading: Api, clock: Clock) -> None:
        """Ask ``trading``; ``clock`` stamps what is read."""
        self._trading = trading
        self._clock = clock

    def read(self) -> AccountFigures:
        """Return equity, cash and positions as they are now; an equity that is no number is None.

        Raises:
            TransientError: no usable answer inside the deadline.
            PermanentError: the request was refused.
        """
        as_of = self._clock.now()
        account: Row = self._trading.get("/account")
        portfolio = translation.portfolio(account, self._trading.get("/positions"), as_of)
        return AccountFigures(portfolio, _amount(account.get("equity")), _amount(account.get("last_equity")))


def _amount(value: str | float | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return translation.decimal(value)
    except (ValueError, ArithmeticError):
        return None
