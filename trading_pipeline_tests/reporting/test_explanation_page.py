from datetime import date
from html.parser import HTMLParser

from trading_pipeline.application.altered_bars import Alteration
from trading_pipeline.application.replay import Replay, Replayed, Verdict
from trading_pipeline.application.tracing import Grid, Noun, Origin, Step
from trading_pipeline.reporting.explanation_page import explanation_page

FRIDAY = date(2026, 7, 31)
NASTY = "<script>alert('x')</script>"


class Tags(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        if tag not in {"meta", "img", "link", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def step():
    inner = Step(Noun.BARS, "7 bars", grid=Grid(("symbol", "missing"), (("SPY", "0"),)))
    return Step(Noun.FILL, NASTY, ((NASTY, NASTY),), Origin("fills", 3, NASTY), below=(inner,))


def test_whatever_comes_from_outside_is_escaped_and_every_tag_is_closed():
    page = explanation_page(step(), NASTY)

    tags = Tags(page)
    assert "script" not in tags.found
    assert tags.open == []
    assert tags.found.count("details") == 2
    assert "&lt;script&gt;" in page


def test_a_replay_that_differs_says_where_and_names_the_altered_bars():
    altered = Alteration("SPY", FRIDAY, "close", 600.0, 606.0, 5)
    steps = (
        Replayed("bars", Verdict.DIFFERS, "9 bars", (str(altered),)),
        Replayed("indicators", Verdict.DIFFERS, "", tuple(f"reading {number}" for number in range(9))),
        Replayed("risk decisions", Verdict.UNKNOWN, "the broker knew"),
    )
    page = explanation_page(step(), "synthetic", Replay(FRIDAY, "p.1", steps, (altered,), ("a note",)))

    for words in (
        "replay: differs",
        "SPY 2026-07-31 close: recorded 600, found 606 in version 5",
        "reading 0; reading 1; reading 2; and 6 more",
        "not replayed",
        "a note",
    ):
        assert words in page


def test_an_equal_replay_has_no_column_of_differences():
    page = explanation_page(step(), "synthetic", Replay(FRIDAY, "p.1", (Replayed("bars", Verdict.EQUAL, "9 bars"),)))

    assert "replay: equal" in page
    assert "what differs" not in page
