from datetime import date
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.reporting.data_age_plot import FRESH, AgeBar, data_age_plot

SESSION = date(2026, 7, 30)
STATUSES = ("fresh", "stale", "frozen", "never seen", "listed later")
OLD = AgeBar("TLT", "stale", 4, "its newest bar is of 2026-07-24, 4 sessions before 2026-07-30")
OLDER = AgeBar("UVXY", "stale", 8, "its newest bar is of 2026-07-20, 8 sessions before 2026-07-30")
UNSEEN = AgeBar("FNGU", "never seen", None, "no bar of it is known until 2026-07-30")
SOUND = [AgeBar(symbol, FRESH, 0) for symbol in ("SPY", "QQQ")]


def drawn(*bars):
    return ET.fromstring(data_age_plot(SESSION, bars))  # noqa: S314 - our own drawing


def elements(root, tag):
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def texts(root):
    return [element.text for element in elements(root, "text")]


def titles(root):
    return [element.text for element in elements(root, "title")]


def width_of(root, words):
    [group] = [group for group in elements(root, "g") if group.findtext("{http://www.w3.org/2000/svg}title") == words]
    return next(float(child.get("width")) for child in group if child.get("width"))


def test_the_oldest_come_first_and_each_says_how_old_it_is_and_why():
    root = drawn(OLD, *SOUND, UNSEEN, OLDER)

    shown = [words for words in texts(root) if words in {"TLT", "UVXY", "FNGU", "SPY", "QQQ"}]
    assert shown == ["FNGU", "UVXY", "TLT"]
    assert {"4 sessions", "8 sessions", "no bar", OLD.reason, OLDER.reason, UNSEEN.reason} < set(texts(root))
    assert texts(root)[-1] == "The others are fresh."


def test_a_bar_is_as_long_as_its_symbol_is_old():
    root = drawn(OLD, OLDER)

    assert width_of(root, f"UVXY: stale, {OLDER.reason}") == 2 * width_of(root, f"TLT: stale, {OLD.reason}")


def test_the_strip_shares_the_symbols_out_by_status():
    root = drawn(OLD, OLDER, UNSEEN, *SOUND)

    assert {"fresh: 2", "stale: 2", "never seen: 1"} < set(titles(root))
    assert width_of(root, "fresh: 2") == pytest.approx(2 * width_of(root, "never seen: 1"), abs=0.01)
    assert {"frozen: 0", "listed later: 0"} < set(texts(root))


def test_where_all_is_fresh_it_says_so():
    assert texts(drawn(*SOUND))[-1] == "All 2 symbols are fresh."


def test_of_many_the_rest_is_counted():
    many = [AgeBar(f"S{n}", "stale", n, "old") for n in range(1, 61)]

    root = drawn(*many)

    assert texts(root)[-1] == "20 more are not fresh; see the table."
    assert "S60" in texts(root)
    assert "S20" not in texts(root)


some_bars = st.builds(
    AgeBar, st.text(max_size=8), st.sampled_from(STATUSES), st.none() | st.integers(0, 5000), st.text(max_size=90)
)


@given(st.lists(some_bars, max_size=60))
def test_whatever_there_is_is_drawn_inside_the_picture_and_fetches_nothing(bars):
    svg = data_age_plot(SESSION, bars)
    root = ET.fromstring(svg)  # noqa: S314 - our own drawing

    tall = float(root.get("height"))
    assert all(float(row.get("y")) <= tall for row in elements(root, "text"))
    assert not any(tag in svg for tag in ("<script", "<image", "href"))
    for box in elements(root, "rect"):
        assert 0 <= float(box.get("x", 0)) + float(box.get("width")) <= 900
