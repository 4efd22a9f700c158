"""Standard output and error that hide what may not be said, whoever writes: a command, a library, a traceback."""

import io
import sys
from typing import Any, TextIO

from trading_pipeline.domain.redaction import Redactor

_redactor: list[Redactor | None] = [None]


class NeutralStream(io.TextIOBase):
    """A text stream that redacts whole lines before they reach the stream below.

    What has no line end yet waits for it, or for a flush, so that a figure
    written in two pieces is seen whole. Until there is a redactor everything
    passes as it comes.
    """

    def __init__(self, below: TextIO) -> None:
        """Write to ``below`` what the redactor of the process leaves."""
        self.below = below
        self._waiting = ""

    def write(self, text: str) -> int:
        """Take text; pass on the lines that are whole."""
        if _redactor[0] is None:
            self.below.write(text)
            return len(text)
        *lines, self._waiting = (self._waiting + text).splitlines(keepends=True) or [""]
        if self._waiting.endswith("\n"):
            lines, self._waiting = [*lines, self._waiting], ""
        if lines:
            self.below.write(_shown("".join(lines)))
        return len(text)

    def flush(self) -> None:
        """Pass on what waits."""
        if self._waiting:
            waiting, self._waiting = self._waiting, ""
            self.below.write(_shown(waiting))
        self.below.flush()

    def isatty(self) -> bool:
        """Tell what the stream below is."""
        return self.below.isatty()

    def fileno(self) -> int:
        """Return the descriptor below; what is written to it directly is not redacted."""
        return self.below.fileno()

    def writable(self) -> bool:
        """Tell that it can be written to."""
        return True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the stream below has
        """Leave everything else, such as the encoding, to the stream below."""
        return getattr(self.below, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding below."""
        return self.below.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream below treats what it cannot encode."""
        return self.below.errors


def redact_streams(redactor: Redactor | None) -> None:
    """Let standard output and error of this process be redacted by ``redactor``, or passed on without one."""
    _redactor[0] = redactor
    if redactor is not None:
        watch_streams()


def watch_streams() -> None:
    """Put standard output and error where a redactor reaches them, should one come.

    A command does so before anything else: what draws at a terminal remembers
    the streams that it found, and puts them back.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, NeutralStream):
            setattr(sys, name, NeutralStream(stream))


def _shown(text: str) -> str:
    return text if _redactor[0] is None else _redactor[0].text(text)
