"""Our log lines in Dagster's run log: its own console does not say a second time what our handler said."""

import logging
from typing import Any

from trading_pipeline.adapters.logs import is_ours


def told_once(log: Any) -> None:  # noqa: ANN401 - a DagsterLogManager, or None
    """Let the consoles of a run's log manager skip our events, which our own handler writes to standard error.

    ``dagster.yaml`` makes Dagster listen to the logger ``trading_pipeline``:
    each event reaches the run log with its level, and Dagster's consoles
    would print it once more.
    """
    consoles: list[logging.Logger] = [] if log is None else log._dagster_handler._loggers  # noqa: SLF001 - no other way in
    for console in consoles:
        if _not_ours not in console.filters:
            console.addFilter(_not_ours)


def _not_ours(record: logging.LogRecord) -> bool:
    return not is_ours(record)
