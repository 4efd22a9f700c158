"""What may hold trading beside the stored state: a variable, a file, the age of the keys, the broker's own flags."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput
from trading_pipeline.domain.risk.state_sources import (
    BROKER,
    HALT_WORD,
    KEY_AGE,
    LONGEST_REASON,
    REDUCE_WORD,
    blocked_latch,
    key_age_latch,
    word_latch,
)
from trading_pipeline.domain.risk.trading_state import ACTIVE, Latch, TradingState
from trading_pipeline.ports import Broker

HALT_VARIABLE = "TRADING_HALT"
WORD_FILES = {"HALT": HALT_WORD, "REDUCE": REDUCE_WORD}


class EnvironmentWord:
    """The variable ``TRADING_HALT``: ``halt`` or ``reduce``; any other word halts as well."""

    name = f"environment {HALT_VARIABLE}"

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Look into ``environment`` anew at each reading."""
        self._environment = environment

    def read(self) -> TradingState:
        """Return what the variable holds trading to."""
        return _state(word_latch(self.name, self._environment.get(HALT_VARIABLE, "")))


class WordFiles:
    """Files called ``HALT`` or ``REDUCE``, which anybody on call may put down; what they hold is the reason."""

    name = "files HALT and REDUCE"

    def __init__(self, folders: Sequence[Path]) -> None:
        """Look for the files in each of ``folders``; the first is where they are put by :meth:`put`."""
        self._folders = tuple(folders)
        self._paths = [(folder / name, word) for folder in folders for name, word in WORD_FILES.items()]

    def read(self) -> TradingState:
        """Return what the files hold trading to; a name that is there counts, whatever it is and holds.

        Raises:
            DependencyUnavailable: a folder cannot be looked into.
        """
        latches = (word_latch(f"file {path}", word, _content(path)) for path, word in self._paths if _is_there(path))
        return ACTIVE.joined(latch for latch in latches if latch is not None)

    def put(self, reason: str) -> Path:
        """Put the file ``HALT`` down and return where.

        Raises:
            InvalidInput: it cannot be written.
        """
        path = self._folders[0] / "HALT"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(reason + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(
                f"{path} cannot be written either ({error.strerror}): trading is not halted; set {HALT_VARIABLE}=halt "
                f"where the pipeline runs, or end it"
            ) from error
        return path


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise DependencyUnavailable(
            f"whether {path} is there cannot be told ({error.strerror}); make its folder readable"
        ) from error
    return True


def _content(path: Path) -> str:
    # The file counts by being there; what it says is for people.
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST_REASON)
    except OSError:
        return ""


class KeyAge:
    """How old the account's keys are, where the settings say how old they may become."""

    name = KEY_AGE

    def __init__(self, made_on: date, longest: timedelta, now: Callable[[], datetime]) -> None:
        """Count from the beginning (UTC) of the day ``made_on``; ``now`` is this machine's time."""
        self._made_at = datetime.combine(made_on, time(), UTC)
        self._longest = longest
        self._now = now

    def read(self) -> TradingState:
        """Return what the age of the keys holds trading to."""
        return _state(key_age_latch(self._now() - self._made_at, self._longest))


class BrokerFlags:
    """Whether the broker lets the account trade: its status, and the flags that block it."""

    name = BROKER

    def __init__(self, broker: Callable[[], Broker]) -> None:
        """Ask the broker, which is opened when it is first asked."""
        self._broker = broker

    def read(self) -> TradingState:
        """Return what the broker holds trading to.

        Raises:
            TransientError: the broker gave no usable answer.
            PermanentError: the broker refused to answer, or cannot be asked.
        """
        return _state(blocked_latch(self._broker().portfolio().blocked))


def _state(latch: Latch | None) -> TradingState:
    return ACTIVE if latch is None else ACTIVE.joined([latch])
