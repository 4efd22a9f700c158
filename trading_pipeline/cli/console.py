"""What a person sees: answers on standard output, progress and failures on standard error."""

import threading
from time import monotonic
from types import TracebackType

from rich.console import Console
from rich.markup import escape

from trading_pipeline.domain.errors import PipelineError

MOST_LINES = 30
LONGEST_SILENCE = 1.5
WIDTH_OF_FILES = 140


def answers() -> Console:
    """Return the console of answers; wide enough for tables where nobody says how wide it is."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH_OF_FILES)


def notices() -> Console:
    """Return the console of progress and failures."""
    return Console(stderr=True, highlight=False)


def explain_failure(error: PipelineError) -> None:
    """Print what failed, at most one screen of it."""
    lines = str(error).splitlines() or [type(error).__name__]
    shown = lines[:MOST_LINES] + ([f"... and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else [])
    notices().print(f"[bold red]error[/]: {escape(chr(10).join(shown))}", soft_wrap=True)


class Progress:
    """One line that says what is being done and for how long; it moves at least every two seconds.

    On a terminal the line turns and is replaced; elsewhere a line is printed
    at each new step, and while a step lasts.
    """

    def __init__(self) -> None:
        """Start with nothing to say."""
        self._console = notices()
        self._doing = "starting"
        self._since = monotonic()
        self._spoke = 0.0
        self._over = threading.Event()
        self._status = self._console.status(self._doing) if self._console.is_terminal else None
        self._beat = threading.Thread(target=self._repeat, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        """Begin to show."""
        if self._status is not None:
            self._status.start()
        self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to show."""
        self._over.set()
        self._beat.join()
        if self._status is not None:
            self._status.stop()

    def say(self, doing: str) -> None:
        """Show what is being done from now on."""
        self._doing, self._since = doing, monotonic()
        self._show()

    def _repeat(self) -> None:
        while not self._over.wait(LONGEST_SILENCE / 3):
            if self._status is not None or monotonic() - self._spoke >= LONGEST_SILENCE:
                self._show()

    def _show(self) -> None:
        self._spoke = monotonic()
        seconds = self._spoke - self._since
        line = escape(self._doing) + (f" ({seconds:.0f} s)" if seconds >= 1 else "")
        if self._status is not None:
            self._status.update(line)
        else:
            self._console.print(line, soft_wrap=True)
