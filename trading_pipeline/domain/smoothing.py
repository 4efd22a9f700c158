"""How the RSI averages; apart from the indicators, so that a command can name it without loading arrays."""

from enum import StrEnum


class Smoothing(StrEnum):
    """How the RSI averages gains and losses."""

    WILDER = "wilder"
    """Wilder's recursion, started on a plain mean."""
    CUTLER = "cutler"
    """Plain means of the window."""
