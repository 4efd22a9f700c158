import math
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.bars import (
    COLUMNS,
    as_close_only,
    canonical_bars,
    checked_bars,
    close_panel,
    missing_sessions,
    out_of_order,
    quarantine,
    restated_symbols,
)
from trading_pipeline.domain.errors import InvalidBars
from trading_pipeline.domain.sessions import sessions_between

SESSIONS = tuple(sessions_between(date(2026, 7, 1), date(2026, 7, 31)))
MONDAY, TUESDAY, WEDNESDAY = SESSIONS[-5:-2]
NAN = math.nan
NEW_YORK = ZoneInfo("America/New_York")


def bar(symbol="SPY", session=MONDAY, **figures):
    known = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 100.0}
    return {"symbol": symbol, "session": session} | known | figures


def close_only(symbol, session, close):
    return bar(symbol, session, open=NAN, high=NAN, low=NAN, close=close, volume=NAN)


def frame(*bars):
    return pd.DataFrame(list(bars), columns=list(COLUMNS))


def test_sound_bars_come_back_sorted_with_their_types():
    found = checked_bars(frame(bar("TLT"), bar(session=TUESDAY), bar()).assign(source="x"))
    assert found.columns.tolist() == list(COLUMNS)
    assert found[["symbol", "session"]].to_numpy().tolist() == [["SPY", MONDAY], ["SPY", TUESDAY], ["TLT", MONDAY]]
    assert [str(kind) for kind in found.dtypes] == ["str", "object", *["float64"] * 5]
    assert all(type(session) is date for session in found["session"])
    assert found.index.tolist() == [0, 1, 2]


def test_a_bar_of_which_only_the_close_is_known_is_sound_and_stays_so():
    found = checked_bars(frame(close_only("SPY", MONDAY, 11.0)))
    assert found[["open", "high", "low", "volume"]].isna().all(axis=None)
    assert found["close"].tolist() == [11.0]


def test_a_volume_may_be_unknown_where_the_prices_are_known():
    assert checked_bars(frame(bar(volume=NAN)))["volume"].isna().all()


@pytest.mark.parametrize(
    "session",
    [
        MONDAY,
        datetime(2026, 7, 27),  # noqa: DTZ001 - a naive midnight is what some files hold
        pd.Timestamp("2026-07-27"),
        pd.Timestamp("2026-07-27", tz="America/New_York"),
        datetime(2026, 7, 27, 4, tzinfo=UTC),
        "2026-07-27",
        "2026-07-27T00:00:00",
        "2026-07-27 00:00:00-04:00",
    ],
    ids=str,
)
def test_a_session_is_read_from_whatever_names_its_day_without_doubt(session):
    assert checked_bars(frame(bar(session=session)))["session"].tolist() == [MONDAY]


@pytest.mark.parametrize(
    ("session", "fault"),
    [
        (datetime(2026, 7, 27, tzinfo=UTC), "must be midnight in New York"),
        (pd.Timestamp("2026-07-27", tz="Asia/Tokyo"), "must be midnight in New York"),
        (datetime(2026, 7, 27, 16, tzinfo=NEW_YORK), "must be midnight in New York"),
        (pd.Timestamp("2026-07-27 16:00"), "a session has no time of day"),
        ("2026-07-27T09:30:00", "a session has no time of day"),
        ("27.07.2026", "this is not a date"),
        (20260727, "this is not a date"),
    ],
    ids=str,
)
def test_a_session_that_could_be_another_day_is_refused(session, fault):
    with pytest.raises(InvalidBars, match=rf"the session of a bar of TLT was .*: .*{fault}.*2026-07-31"):
        checked_bars(frame(bar(), bar("TLT", session)).astype({"session": object}))


def test_columns_of_stamps_are_read_as_a_whole():
    stamps = pd.to_datetime(["2026-07-27", "2026-07-28"])
    for column in (stamps, stamps.tz_localize("America/New_York"), stamps.tz_localize(NEW_YORK).tz_convert("UTC")):
        found = checked_bars(frame(bar(), bar()).assign(session=column))
        assert found["session"].tolist() == [MONDAY, TUESDAY]


def test_a_bar_without_a_session_is_refused():
    with pytest.raises(InvalidBars, match="1 of 2 bars have no session, the first one of TLT"):
        checked_bars(frame(bar(), bar("TLT", None)))


def test_categories_single_precision_decimals_and_texts_of_numbers_are_numbers():
    raw = frame(bar(), bar("TLT")).astype({"symbol": "category", "open": "float32", "close": object, "volume": "int64"})
    raw["close"] = [Decimal("11.5"), "11.25"]
    found = checked_bars(raw)
    assert found["close"].tolist() == [11.5, 11.25]
    assert [str(kind) for kind in found.dtypes] == ["str", "object", *["float64"] * 5]


def test_missing_columns_are_named_with_those_found_and_wanted():
    with pytest.raises(InvalidBars, match="bars lack high, low: found symbol, session, open, close, volume, wanted"):
        checked_bars(frame(bar()).drop(columns=["high", "low"]))


def test_text_for_a_price_is_named_with_its_symbol_and_session():
    raw = frame(bar(), bar("TLT", TUESDAY, close="n/a"), bar("TLT", WEDNESDAY, close="-"))
    with pytest.raises(InvalidBars, match="2 values of close are not numbers, the first: 'n/a' for TLT on 2026-07-28"):
        checked_bars(raw)


FAULTY = [
    (bar("spy"), "not written as SPY or BRK.B"),
    (bar("TOOLONG"), "not written as SPY or BRK.B"),
    (bar(None), "not written as SPY or BRK.B"),
    (bar(session=date(2026, 7, 25)), "not a session"),
    (bar(session=date(2026, 7, 3)), "not a session"),
    (bar(close=NAN), "the close is missing"),
    (bar(open=NAN), "open, high and low must be all known or all missing"),
    (bar(high=NAN, low=NAN), "open, high and low must be all known or all missing"),
    (bar(low=-9.0), "a price is not a positive number"),
    (bar(close=0.0), "a price is not a positive number"),
    (bar(high=math.inf), "a price is not a positive number"),
    (close_only("SPY", MONDAY, -1.0), "a price is not a positive number"),
    (bar(high=9.0, low=12.0), "the high is below the low"),
    (bar(open=12.1), "open or close lies outside low to high"),
    (bar(close=8.9), "open or close lies outside low to high"),
    (bar(volume=-1.0), "the volume is not zero or more"),
    (bar(volume=math.inf), "the volume is not zero or more"),
]


@pytest.mark.parametrize(("faulty", "reason"), FAULTY)
def test_a_faulty_bar_is_set_apart_with_its_reason(faulty, reason):
    good, bad = quarantine(frame(bar("TLT", TUESDAY), faulty, bar("TLT")))
    assert good["session"].tolist() == [MONDAY, TUESDAY]
    assert len(bad) == 1
    assert reason in bad["reason"].item()
    assert bad.columns.tolist() == [*COLUMNS, "reason"]


@pytest.mark.parametrize(("faulty", "reason"), FAULTY)
def test_a_faulty_bar_is_refused_with_its_reason_and_row(faulty, reason):
    with pytest.raises(InvalidBars) as refusal:
        checked_bars(frame(bar("TLT"), faulty))
    message = str(refusal.value)
    assert message.startswith("1 of 2 bars are refused. ")
    assert reason in message
    assert f"{faulty['session']} (open " in message
    assert message.endswith("Correct or remove these rows")


def test_every_row_of_a_repeated_bar_is_faulty():
    good, bad = quarantine(frame(bar(), bar("TLT"), bar(close=10.0)))
    assert good["symbol"].tolist() == ["TLT"]
    assert bad["close"].tolist() == [11.0, 10.0]
    assert set(bad["reason"]) == {"symbol and session appear more than once"}


def test_rounding_to_six_digits_is_no_fault():
    good, bad = quarantine(frame(bar(open=12.0001, high=12.0, low=9.0, close=8.9999)))
    assert (len(good), len(bad)) == (1, 0)


def test_a_refusal_counts_all_and_shows_a_screenful():
    raw = frame(*(bar(session=session, close=-float(place)) for place, session in enumerate(SESSIONS, start=1)))
    with pytest.raises(InvalidBars) as refusal:
        checked_bars(raw)
    message = str(refusal.value)
    assert f"{len(SESSIONS)} of {len(SESSIONS)} bars are refused" in message
    assert "close -5" in message
    assert "close -6" not in message
    assert len(message) < 800


@given(st.lists(st.tuples(st.sampled_from(["SPY", "tlt"]), st.sampled_from(SESSIONS), st.sampled_from([1.0, NAN, -1]))))
def test_quarantine_loses_no_row_and_what_it_lets_through_is_sound(rows):
    raw = frame(*(close_only(*row) for row in rows))
    good, bad = quarantine(raw)
    assert len(good) + len(bad) == len(raw)
    pd.testing.assert_frame_equal(checked_bars(good), good)


def test_no_bars_are_sound_bars():
    assert checked_bars(frame()).empty


def test_a_bar_that_travels_flat_and_without_volume_is_close_only():
    raw = canonical_bars(frame(bar(open=5, high=5, low=5, close=5, volume=0), bar(open=5, high=5, low=5, close=5)))
    found = as_close_only(raw)
    assert found.loc[0, ["open", "high", "low", "volume"]].isna().all()
    assert found["close"].tolist() == [5.0, 5.0]
    pd.testing.assert_series_equal(found.loc[1], raw.loc[1])
    assert raw.notna().all(axis=None)


def test_closes_stand_side_by_side_with_nan_where_there_is_none():
    bars = checked_bars(
        frame(
            close_only("SPY", MONDAY, 1.0),
            close_only("SPY", WEDNESDAY, 3.0),
            close_only("TLT", TUESDAY, 20.0),
            close_only("IEF", MONDAY, 7.0),
        )
    )
    panel = close_panel(bars, ["TLT", "SPY", "GONE", "SPY"], [MONDAY, TUESDAY, WEDNESDAY])
    assert panel.symbols == ("TLT", "SPY", "GONE")
    assert panel.sessions == (MONDAY, TUESDAY, WEDNESDAY)
    np.testing.assert_array_equal(panel.values, [[NAN, 1, NAN], [20, NAN, NAN], [NAN, 3, NAN]])
    np.testing.assert_array_equal(panel.column("SPY"), [1, NAN, 3])


def test_a_symbol_that_a_panel_does_not_hold_has_no_closes():
    panel = close_panel(checked_bars(frame(bar())), ["SPY"], [MONDAY, TUESDAY])
    np.testing.assert_array_equal(panel.column("TLT"), [NAN, NAN])


def test_a_panel_of_closes_cannot_be_changed():
    panel = close_panel(checked_bars(frame(bar())), ["SPY"], [MONDAY])
    with pytest.raises(ValueError, match="read-only"):
        panel.column("SPY")[0] = 1


def test_a_panel_can_be_made_of_no_bars_and_of_no_sessions():
    assert np.isnan(close_panel(checked_bars(frame()), ["SPY"], [MONDAY]).column("SPY")).tolist() == [True]
    assert close_panel(checked_bars(frame(bar())), ["SPY"], []).column("SPY").size == 0


@given(st.lists(st.tuples(st.sampled_from(["A", "B", "C"]), st.sampled_from(SESSIONS)), unique=True))
def test_a_panel_holds_every_close_at_its_place(places):
    bars = checked_bars(
        frame(*(close_only(symbol, session, number) for number, (symbol, session) in enumerate(places, start=1)))
    )
    panel = close_panel(bars, ["A", "B"], SESSIONS)
    found = {
        (symbol, session): close
        for symbol in panel.symbols
        for session, close in zip(panel.sessions, panel.column(symbol), strict=True)
        if not math.isnan(close)
    }
    assert found == {place: number for number, place in enumerate(places, start=1) if place[0] != "C"}


def test_missing_sessions_are_named_for_the_symbols_that_have_them():
    bars = checked_bars(frame(bar(), bar(session=TUESDAY), bar("TLT")))
    assert missing_sessions(bars, ["SPY", "TLT", "GONE"], [MONDAY, TUESDAY]) == {
        "TLT": (TUESDAY,),
        "GONE": (MONDAY, TUESDAY),
    }


def test_a_symbol_is_restated_when_a_known_close_changes():
    stored = checked_bars(frame(bar(), bar("TLT"), bar("IEF"), bar("GONE")))
    fetched = checked_bars(
        frame(
            bar(close=11.0 * (1 + 1e-8)),
            bar(session=TUESDAY, close=9.5),
            bar("TLT", close=11.0 * (1 - 1e-5)),
            bar("IEF", close=10.5),
        )
    )
    assert restated_symbols(stored, fetched) == ("IEF", "TLT")
    assert restated_symbols(stored, fetched, tolerance=1e-3) == ("IEF",)
    assert restated_symbols(stored, stored) == ()


def test_rows_below_a_later_session_of_their_own_symbol_are_out_of_order():
    raw = canonical_bars(frame(bar(session=TUESDAY), bar("TLT"), bar(), bar("TLT", TUESDAY), bar(session=WEDNESDAY)))
    assert out_of_order(raw)[["symbol", "session"]].to_numpy().tolist() == [["SPY", MONDAY]]
    assert out_of_order(checked_bars(raw)).empty
