"""The error tree, cut by what the caller does next.

::

    PipelineError
    ├── TransientError            the world is busy: try again later
    │   ├── DependencyUnavailable no answer, a broken answer, or a server error
    │   │   └── CircuitOpen       it failed so often that it is left alone for a while
    │   └── RateLimited           asked too often; carries when to ask again
    ├── PermanentError            asking again gives the same answer: a person must act
    │   ├── InvalidInput          a file, option or setting is wrong
    │   ├── Unauthorized          keys are missing, wrong or lack a permission
    │   └── RequestRefused        the other side understood and said no
    ├── DataError                 figures cannot be used; nothing was written
    │   ├── InvalidBars           bars break their schema
    │   ├── BrokenContract        a table breaks a promise of its contract
    │   └── AlreadyEnded          the journal says that an intent is over
    └── HaltedError               trading is not allowed now
        ├── TradingHalted         the trading state says stop
        ├── OutsideExecutionWindow  the session's window is not now
        └── Interrupted           the process was asked to end; what was begun is journalled

Every message says what was found, what was wanted and what to do.
"""

from collections.abc import Mapping
from datetime import datetime


class PipelineError(Exception):
    """Any failure that the pipeline foresees."""


class TransientError(PipelineError):
    """The same request may succeed later."""


class DependencyUnavailable(TransientError):
    """A dependency gave no usable answer: refused, timed out, cut off, 5xx or undecodable."""


class CircuitOpen(DependencyUnavailable):
    """A dependency failed so often that it is not asked for a while; nothing was sent."""


class RateLimited(TransientError):
    """A dependency asked us to slow down."""

    def __init__(self, message: str, retry_at: datetime | None = None) -> None:
        """Remember ``retry_at``, the UTC instant named by the other side, if it named one."""
        super().__init__(message)
        self.retry_at = retry_at


class PermanentError(PipelineError):
    """Repeating the request cannot help."""


class InvalidInput(PermanentError):
    """A file, option or setting is wrong; the message names the place and the remedy."""


class Unauthorized(PermanentError):
    """Keys are missing, wrong, or lack the permission that was needed."""


class RequestRefused(PermanentError):
    """The other side understood the request and refused it."""

    def __init__(self, message: str, code: str = "", details: Mapping[str, str] | None = None) -> None:
        """Remember ``code``, the refusal's code in the other side's own terms, and the figures that came with it."""
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class DataError(PipelineError):
    """Figures that must not be used; the tables are as they were."""


class InvalidBars(DataError):
    """Bars that break their schema."""


class BrokenContract(DataError):
    """A table that breaks a promise of its contract."""


class AlreadyEnded(DataError):
    """An intent that the journal says is over, in another state than the one to be recorded."""


class HaltedError(PipelineError):
    """Trading is not allowed now."""


class TradingHalted(HaltedError):
    """The trading state stops orders."""


class OutsideExecutionWindow(HaltedError):
    """Orders of this session may not be placed at this instant."""


class Interrupted(HaltedError):
    """The process was asked to end: what had begun was finished and journalled, the rest was not begun."""
