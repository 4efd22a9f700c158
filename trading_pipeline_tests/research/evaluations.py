from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from trading_pipeline.domain.bars import ClosePanel
from trading_pipeline.domain.strategies.evaluation import Evaluation

FIRST = date(2026, 3, 2)


def days(count: int, first: date = FIRST) -> tuple[date, ...]:
    return tuple(first + timedelta(days=day) for day in range(count))


def evaluation_of(*holdings: Mapping[str, float] | str, first: date = FIRST) -> Evaluation:
    """Return what was held after each session: weights by symbol, or the reason for there being none."""
    symbols = tuple(sorted({symbol for held in holdings if not isinstance(held, str) for symbol in held})) or ("NONE",)
    reasons = ("", *sorted({held for held in holdings if isinstance(held, str)}))
    weights = [
        [np.nan if isinstance(held, str) else float(held.get(symbol, 0.0)) for symbol in symbols] for held in holdings
    ]
    codes = [reasons.index(held) if isinstance(held, str) else 0 for held in holdings]
    return Evaluation(
        sessions=days(len(holdings), first),
        symbols=symbols,
        weights=np.array(weights, dtype=np.float64).reshape(len(holdings), len(symbols)),
        codes=np.array(codes, dtype=np.int64),
        reasons=reasons,
    )


def closes_of(first: date = FIRST, **closes: Sequence[float]) -> ClosePanel:
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in closes.values()])
    return ClosePanel(days(len(values), first), tuple(closes), values)
