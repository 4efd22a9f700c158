from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.portfolio import Portfolio, Position

AS_OF = datetime(2026, 7, 31, 20, tzinfo=UTC)

cash_amounts = st.decimals(Decimal(1), Decimal(1_000_000), places=2)
holdings = st.dictionaries(
    st.sampled_from(["SPY", "QQQ", "TECL", "BIL"]),
    st.tuples(st.decimals(0, 10_000, places=9), st.decimals(Decimal("0.01"), 10_000, places=4)),
)


def portfolio(cash, **held):
    positions = {symbol: Position(symbol, Decimal(shares), Decimal(price)) for symbol, (shares, price) in held.items()}
    return Portfolio("SIM0001", AS_OF, Decimal(cash), positions)


def test_equity_is_cash_and_what_the_positions_are_worth():
    assert portfolio(100, SPY=(2, 400), TECL=("0.5", 80)).equity == 940


def test_a_short_position_takes_from_equity():
    assert portfolio(1000, SPY=(-1, 400)).equity == 600


def test_equity_without_positions_is_the_cash():
    assert portfolio(100).equity == 100


def test_money_is_exact_where_floats_are_not():
    assert portfolio("0.10", SPY=("0.2", 1)).equity == Decimal("0.30")


def test_what_is_not_held_has_quantity_zero():
    assert portfolio(100, SPY=(2, 400)).quantity("QQQ") == 0


@given(cash_amounts, holdings)
def test_weights_and_the_share_of_cash_make_one_whole(cash, held):
    account = portfolio(cash, **held)

    whole = sum(account.weights().values()) + account.cash / account.equity

    assert whole == pytest.approx(Decimal(1), abs=Decimal("1e-25"))


@given(cash_amounts, holdings)
def test_equity_less_cash_is_the_sum_of_market_values(cash, held):
    account = portfolio(cash, **held)

    assert account.equity - account.cash == sum(position.market_value for position in account.positions.values())


@pytest.mark.parametrize("cash", [0, -5])
def test_weights_of_an_account_without_equity_are_refused(cash):
    with pytest.raises(InvalidInput, match=f"SIM0001 has equity {cash}"):
        portfolio(cash).weights()
