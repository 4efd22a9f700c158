import io
import threading

import pytest
from rich.console import Console

from trading_pipeline.cli import console
from trading_pipeline.domain.errors import InvalidInput


class Heard(io.StringIO):
    """A stream that tells when enough lines were written."""

    def __init__(self, enough):
        super().__init__()
        self.enough = threading.Event()
        self._wanted = enough

    def write(self, text):
        written = super().write(text)
        if self.getvalue().count("\n") >= self._wanted:
            self.enough.set()
        return written


@pytest.fixture
def heard(monkeypatch):
    def listen(enough):
        stream = Heard(enough)
        monkeypatch.setattr(console, "notices", lambda: Console(file=stream, width=80))
        return stream

    return listen


def test_progress_says_each_step_once_where_it_is_not_a_terminal(heard):
    stream = heard(2)

    with console.Progress() as progress:
        progress.say("reading [brackets] as they are")
        progress.say("deciding")

    assert stream.getvalue().splitlines()[:2] == ["reading [brackets] as they are", "deciding"]


def test_progress_speaks_again_while_a_step_lasts(heard, monkeypatch):
    monkeypatch.setattr(console, "LONGEST_SILENCE", 0.01)
    stream = heard(4)

    with console.Progress() as progress:
        progress.say("a step that lasts")
        assert stream.enough.wait(120)

    assert stream.getvalue().splitlines()[-1].startswith("a step that lasts")


def test_progress_is_never_silent_for_two_seconds():
    assert console.LONGEST_SILENCE + console.LONGEST_SILENCE / 3 <= 2


def test_progress_turns_on_a_terminal_and_leaves_nothing_behind(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(console, "notices", lambda: Console(file=stream, force_terminal=True, width=80))

    with console.Progress() as progress:
        progress.say("deciding")

    assert stream.getvalue().endswith("\x1b[1A\x1b[2K") or "\x1b[?25h" in stream.getvalue()


def test_a_failure_is_one_screen(heard):
    stream = heard(1)

    console.explain_failure(InvalidInput("\n".join(f"line {number}" for number in range(100))))

    lines = stream.getvalue().splitlines()
    assert lines[0] == "error: line 0"
    assert lines[-1] == "... and 70 more lines"
    assert len(lines) == console.MOST_LINES + 1
