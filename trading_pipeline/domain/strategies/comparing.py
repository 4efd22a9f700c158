"""When one reading is above another, which of many are at the top, and the shares that deviations give.

In a comparison readings are equal within 1e-10, or within that part of
themselves if they are large: otherwise the rounding of a quotient would decide
whether 5.5 is above 5.5. Rankings take readings as they are.
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


def best(ranked_by: FloatArray, end: End, count: int) -> npt.NDArray[np.intp]:
    """Return the places of the ``count`` candidates at that end on each session, one a column, the best first.

    ``ranked_by`` has a row for each candidate. Readings are compared as they
    are; equal ones go to the order listed. A candidate whose reading is NaN is
    never kept: where too few are left, the last places are -1.

    >>> best(np.array([[1.0, np.nan], [2.0, 5.0], [1.0, np.nan]]), End.TOP, 2)
    array([[ 1,  1],
           [ 0, -1]])
    """
    ascending = -ranked_by if end is End.TOP else ranked_by
    if count == 1:
        places = np.where(np.isnan(ascending), np.inf, ascending).argmin(axis=0)[np.newaxis]
    else:
        # NaN sorts last, and a stable sort leaves ties in the order listed.
        places = np.argsort(ascending, axis=0, kind="stable")[:count]
    return np.where(np.isnan(np.take_along_axis(ranked_by, places, axis=0)), -1, places)


def inverse_shares(deviations: FloatArray) -> FloatArray:
    """Return shares proportional to 1 / deviation that sum to 1, a row for each holding and a column for each session.

    Deviations are positive; one that is infinite has no share.

    >>> inverse_shares(np.array([[1.0, 2.0], [3.0, np.inf]]))
    array([[0.75, 1.  ],
           [0.25, 0.  ]])
    """
    inverse = 1 / deviations
    shares: FloatArray = inverse / inverse.sum(axis=0)
    return shares


def kept(ranked_by: FloatArray, end: End, count: int) -> BoolArray:
    """Tell which candidates, one a row, are among the ``count`` at that end on each session, one a column.

    >>> kept(np.array([[1.0, np.nan], [2.0, 5.0], [1.0, np.nan]]), End.TOP, 2)
    array([[ True, False],
           [ True,  True],
           [False, False]])
    """
    numbers = np.arange(len(ranked_by))[:, np.newaxis, np.newaxis]
    among: BoolArray = (best(ranked_by, end, count) == numbers).any(axis=1)
    return among
