"""Closes that were not seen anywhere: fat-tailed, correlated, with calm and stormy years."""

from datetime import date

import numpy as np
import pandas as pd

START = date(2020, 1, 1)


def sessions(count):
    return [START + pd.Timedelta(days=day).to_pytimedelta() for day in range(count)]


def returns_of(count, symbols=3, seed=7):
    """Daily returns, sessions by symbols, of about 1 % a day."""
    generator = np.random.default_rng(seed)
    shared = generator.standard_t(5, (count, 1))
    own = generator.standard_t(5, (count, symbols))
    storm = 1 + np.sin(np.arange(count) / 40)[:, np.newaxis] * 0.5
    return 0.006 * storm * (0.8 * shared + 0.6 * own)


def closes_of(returns, names="ABCDEFGH"):
    """Closes that rise and fall by ``returns`` from 100, a row more than returns."""
    values = 100 * np.cumprod(np.vstack([np.ones(returns.shape[1]), 1 + returns]), axis=0)
    return pd.DataFrame(
        values, index=pd.Index(sessions(len(values)), dtype=object), columns=list(names[: values.shape[1]])
    )
