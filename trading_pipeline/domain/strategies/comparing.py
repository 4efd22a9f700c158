"""When one reading is above another: readings that differ by rounding alone are equal.

Readings are equal within 1e-10, or within that part of themselves if they are
large: otherwise the rounding of a quotient or of a compounded level would
decide comparisons and rankings.
"""

from typing import assert_never

import numpy as np
import numpy.typing as npt

from trading_pipeline.domain.indicators import FloatArray
from trading_pipeline.domain.strategies.tree import End, Operator

BoolArray = npt.NDArray[np.bool_]

EQUAL_WITHIN = 1e-10


def holds(left: FloatArray, operator: Operator, right: FloatArray | float) -> tuple[BoolArray, BoolArray]:
    """Tell where ``left operator right`` is true, and where it is false; neither where a side is NaN.

    >>> true, false = holds(np.array([0.1 + 0.2, 0.4, np.nan]), Operator.ABOVE, 0.3)
    >>> true, false
    (array([False,  True, False]), array([ True, False, False]))
    """
    margin = EQUAL_WITHIN * np.maximum(np.abs(right), 1)
    match operator:
        case Operator.ABOVE:
            return left > right + margin, left <= right + margin
        case Operator.AT_MOST:
            return left <= right + margin, left > right + margin
        case Operator.BELOW:
            return left < right - margin, left >= right - margin
        case Operator.AT_LEAST:
            return left >= right - margin, left < right - margin
        case _:
            assert_never(operator)


def kept(ranked_by: FloatArray, end: End, count: int) -> BoolArray:
    """Tell which candidates, one a row, are among the ``count`` at that end on each session, one a column.

    What equals the last one kept shares the remaining places in the order
    listed. A candidate whose reading is NaN is never kept.

    >>> kept(np.array([[1.0, np.nan], [2.0, 5.0], [1.0, 4.0]]), End.TOP, 2)
    array([[ True, False],
           [ True,  True],
           [False,  True]])
    """
    ranked: BoolArray = ~np.isnan(ranked_by)
    if count >= len(ranked_by):
        return ranked
    ascending = np.where(ranked, ranked_by if end is End.TOP else -ranked_by, -np.inf)
    last = _from_the_top(ascending, count)
    margin = EQUAL_WITHIN * np.maximum(np.abs(np.where(np.isfinite(last), last, 0)), 1)
    better = ascending > last + margin
    equal = (ascending >= last - margin) & ~better & ranked
    places = count - better.sum(axis=0)
    chosen: BoolArray = better | (equal & (np.cumsum(equal, axis=0) <= places))
    return chosen


def _from_the_top(ascending: FloatArray, count: int) -> FloatArray:
    if count == 1:
        best: FloatArray = ascending.max(axis=0)
        return best
    last: FloatArray = np.partition(ascending, -count, axis=0)[-count]
    return last
