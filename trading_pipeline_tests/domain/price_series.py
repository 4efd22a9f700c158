"""Series of prices for hypothesis, gaps and repeats among them, and how close two answers must be."""

import math

import numpy as np
from hypothesis import strategies as st

from trading_pipeline.domain.indicators import Indicator

NAN = math.nan

prices = st.integers(1, 10**7).map(lambda cents: cents / 100)
series = st.lists(st.one_of(prices, st.sampled_from([100.0, 101.0]), st.just(NAN)), min_size=1, max_size=60).map(
    np.array
)
whole_series = st.lists(prices, min_size=1, max_size=60).map(np.array)
indicators = st.sampled_from(Indicator)
windows = st.integers(2, 12)


def assert_close(found, wanted, relative=1e-9, absolute=1e-9):
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=absolute, equal_nan=True)
