from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trading_pipeline.domain.bars import ClosePanel, close_panel
from trading_pipeline.domain.indicators import Indicator, IndicatorPanel
from trading_pipeline.domain.strategies import STRATEGIES, tree
from trading_pipeline.domain.strategies.evaluation import evaluate

SHARED = Path(__file__).parents[3].parent / "shared"
FIRST = date(2024, 1, 1)


@pytest.fixture(scope="session")
def goldens():
    """Read the expected answers of a strategy: session, symbol, weight."""

    def read(name) -> pd.DataFrame:
        path = SHARED / "goldens" / f"{name}.parquet"
        if not path.exists():
            pytest.skip("../shared is not here: the expected answers are not part of the repository")
        frame = pd.read_parquet(path)
        return frame.assign(session=frame["session"].dt.date)

    return read


@pytest.fixture(scope="session")
def real_closes() -> ClosePanel:
    """Real closes of every symbol that any strategy reads, all sessions."""
    path = SHARED / "data" / "bars.parquet"
    if not path.exists():
        pytest.skip("../shared is not here: real bars are not part of the repository")
    symbols = sorted({symbol for strategy in STRATEGIES.values() for symbol in tree.symbols(strategy.tree)})
    bars = pd.read_parquet(path, columns=["symbol", "date", "close"], filters=[("symbol", "in", symbols)])
    bars = bars.astype({"symbol": "str", "close": "float64"}).rename(columns={"date": "session"})
    return close_panel(bars, symbols, sorted(set(bars["session"])))


@pytest.fixture(scope="session")
def panel_of():
    """Make a panel of hand-made readings: rows of {reading's name: value}, everything else neutral."""

    def panel(node, *rows) -> IndicatorPanel:
        wanted = tree.readings(node)
        unknown = {name for row in rows for name in row}.difference(map(str, wanted))
        assert not unknown, f"{unknown} is not read"
        table = np.array([[row.get(str(reading), NEUTRAL[reading.indicator]) for reading in wanted] for row in rows])
        return IndicatorPanel(tuple(FIRST + timedelta(days=n) for n in range(len(rows))), wanted, table)

    return panel


@pytest.fixture(scope="session")
def held(panel_of):
    """Evaluate one session of hand-made readings: the weights held, or the reason for there being none."""

    def holdings(node, readings):
        evaluation = evaluate(node, panel_of(node, readings))
        if evaluation.reason(0) is not None:
            return evaluation.reason(0)
        return {s: float(w) for s, w in zip(evaluation.symbols, evaluation.weights[0], strict=True) if w}

    return holdings


# No strategy acts on these: no strength either way, prices at their means, nothing moves.
NEUTRAL = {
    Indicator.RSI: 50.0,
    Indicator.PRICE: 100.0,
    Indicator.SMA: 100.0,
    Indicator.EMA: 100.0,
    Indicator.MEAN_RETURN: 0.0,
    Indicator.CUMULATIVE_RETURN: 0.0,
    Indicator.RETURN_DEVIATION: 1.0,
    Indicator.PRICE_DEVIATION: 1.0,
    Indicator.MAX_DRAWDOWN: 0.0,
}
