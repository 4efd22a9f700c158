"""The outbox of alerts, wired; without Dagster, whose import takes longer than a halt should."""

from functools import partial

from trading_pipeline.adapters.alerting.channels import severities
from trading_pipeline.adapters.neutral_mode import lasting_name, redactor_of
from trading_pipeline.adapters.notifiers import AlertOutbox
from trading_pipeline.adapters.storage.home import Home
from trading_pipeline.domain.redaction import Redactor
from trading_pipeline.settings import Settings


def outbox_of(settings: Settings, home: Home, redactor: Redactor | None = None) -> AlertOutbox:
    """Return the outbox of a folder: what is told there reaches people by every channel of the settings.

    In neutral mode a ``redactor`` that has learned more than the settings may be given.
    """
    hides = redactor or redactor_of(settings)
    redact = None if hides is None else hides.text
    return AlertOutbox(home.alerts, severities(settings.alerts), redact, partial(lasting_name, settings))
