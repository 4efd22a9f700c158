from datetime import date

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.application.altered_bars import WHOLE_BAR, alterations, without
from trading_pipeline.domain.bars import FIGURES
from trading_pipeline.domain.sessions import sessions_between

DAYS = sessions_between(date(2026, 7, 1), date(2026, 7, 31))
SYMBOLS = ("QQQ", "SPY", "TLT")


def recorded():
    rows = [(symbol, day) for symbol in SYMBOLS for day in DAYS]
    frame = pd.DataFrame(rows, columns=["symbol", "session"])
    figures = 100 + np.arange(len(rows) * len(FIGURES), dtype=float).reshape(len(rows), len(FIGURES))
    frame[FIGURES] = figures
    frame.loc[frame["symbol"] == "TLT", ["open", "high", "low", "volume"]] = np.nan
    return frame


places = st.integers(0, len(SYMBOLS) * len(DAYS) - 1)


@given(places, st.sampled_from(FIGURES), st.sampled_from([np.nan, 0.0, 1e-9, 1e12]))
def test_whichever_figure_is_altered_that_one_is_named(place, column, value):
    before, after = recorded(), recorded()
    after.loc[place, column] = value

    found = alterations(before, after.sample(frac=1, random_state=1), 7)

    if pd.isna(before.loc[place, column]) and pd.isna(value):
        assert found == ()
        return
    [only] = found
    assert (only.symbol, only.session) == (before.loc[place, "symbol"], before.loc[place, "session"])
    assert (only.column, only.version) == (column, 7)
    np.testing.assert_equal([only.recorded, only.found], [before.loc[place, column], after.loc[place, column]])


@given(places)
def test_the_smallest_change_of_a_figure_counts(place):
    before, after = recorded(), recorded()
    after.loc[place, "close"] = np.nextafter(before.loc[place, "close"], np.inf)

    assert [each.column for each in alterations(before, after)] == ["close"]


@given(places)
def test_a_bar_that_is_gone_or_was_never_written_is_named(place):
    whole = recorded()
    part = whole.drop(index=place)

    [gone], [added] = alterations(whole, part), alterations(part, whole)

    assert gone.column == added.column == WHOLE_BAR
    assert gone.recorded == added.found == whole.loc[place, "close"]
    assert "the bar is gone" in str(gone)
    assert "never written" in str(added)


def test_equal_frames_have_no_alterations_and_missing_equals_missing():
    assert alterations(recorded(), recorded()) == ()


def test_what_is_known_already_is_not_told_twice():
    after = recorded()
    after.loc[[3, 5], "close"] = 1.0
    found = alterations(recorded(), after)

    assert without(found, found[:1]) == found[1:]
