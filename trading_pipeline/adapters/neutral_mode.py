"""The redactor in force: one for each process, with one key for all processes that a command starts.

The key is a variable of the environment, made by the first process that asks
for it and inherited by those that it starts, so that their lines correlate.
Whoever wants lines of separately started processes to correlate sets it.
"""

import hashlib
import hmac
import os
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, SecretStr

from trading_pipeline.adapters.logs import configure_logging
from trading_pipeline.adapters.neutral_streams import redact_streams
from trading_pipeline.domain.errors import PipelineError
from trading_pipeline.domain.redaction import Redactor
from trading_pipeline.settings import FILE_VARIABLE, PREFIX, ObservabilitySettings, Settings, load_settings

KEY_VARIABLE = "TRADING_PIPELINE_NEUTRAL_KEY"
NEUTRAL_VARIABLE = f"{PREFIX}OBSERVABILITY__NEUTRAL"
_NEUTRAL_LINE = re.compile(
    r"^\s*neutral:\s*(?:true|yes|on)\b|observability:.*neutral:\s*true", re.MULTILINE | re.IGNORECASE
)
_known: dict[str, Redactor] = {}
_lock = threading.Lock()
_in_force: list[Redactor | None] = []


def redactor_of(settings: Settings) -> Redactor | None:
    """Return the redactor of these settings, the same object for the same settings; None where all may be shown."""
    if not settings.observability.neutral:
        return None
    with _lock:
        name = settings.fingerprint()
        if name not in _known:
            _known[name] = Redactor(_symbols(settings), _key(), _hidden(settings))
        return _known[name]


def put_in_force(settings: Settings) -> Redactor | None:
    """Let what belongs to the process, such as Dagster's records, be redacted as ``settings`` say."""
    _in_force[:] = [redactor_of(settings)]
    return _in_force[0]


def speak_as_chosen(settings: Settings) -> None:
    """Let everything this process says be as ``settings`` say: log lines, standard output and error, its records."""
    redactor, told = put_in_force(settings), settings.observability
    redact_streams(redactor)
    configure_logging(told.log_format, told.log_level, redactor=redactor)


def redactor_in_force() -> Redactor | None:
    """Return the redactor of the process: what was put in force, else what the environment's settings say.

    Where the settings cannot be read but ask for neutral mode, what the
    catalogue knows is hidden.
    """
    if not _in_force:
        try:
            put_in_force(load_settings(None, os.environ).settings)
        except PipelineError:
            return (
                redactor_of(Settings(observability=ObservabilitySettings(neutral=True)))
                if _is_asked_for(os.environ)
                else None
            )
    return _in_force[0]


def _is_asked_for(environment: Mapping[str, str]) -> bool:
    if environment.get(NEUTRAL_VARIABLE):
        return environment[NEUTRAL_VARIABLE].lower() not in {"false", "0", "no", "off"}
    file = Path(environment.get(FILE_VARIABLE) or os.devnull)
    try:
        return _NEUTRAL_LINE.search(file.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeDecodeError):
        return False


def lasting_name(settings: Settings, text: str) -> str:
    """Return a name for ``text`` that is the same in every run, for what is looked up again, such as a run key.

    Out of neutral mode it is the text itself. It is made with the keys of the
    broker: whoever does not have them cannot find the text by trying. A
    simulated account has none, and nothing to hide.
    """
    if not settings.observability.neutral:
        return text
    key = "".join(sorted(secret_values(settings))) or "simulated"
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]


def secret_values(settings: BaseModel) -> frozenset[str]:
    """Return the values of all settings that are secret and set."""
    found: set[str] = set()
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, BaseModel):
            found |= secret_values(value)
        elif isinstance(value, SecretStr) and value.get_secret_value():
            found.add(value.get_secret_value())
    return frozenset(found)


def _symbols(settings: Settings) -> frozenset[str]:
    # Strategies bring arrays and frames, for which a command that halts trading does not wait.
    from trading_pipeline.adapters.symphony_files import known_strategies
    from trading_pipeline.domain.strategies import STRATEGIES, tree

    try:
        strategies = known_strategies(settings.strategies.folder)
    except PipelineError:
        # Whoever needs them says so; what is said about it is redacted all the same.
        strategies = STRATEGIES
    read = {symbol for strategy in strategies.values() for symbol in tree.symbols(strategy.tree)}
    held = set(settings.simulator.holdings)
    return frozenset({*read, *held, *settings.known_instruments(), *settings.strategies.breaker_rules.symbols})


def _hidden(settings: Settings) -> frozenset[str]:
    return secret_values(settings) | {settings.broker.live_account}


def _key() -> bytes:
    return os.environ.setdefault(KEY_VARIABLE, secrets.token_hex(16)).encode()
