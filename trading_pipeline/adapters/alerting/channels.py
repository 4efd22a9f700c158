"""The channels by which alerts may go, in one table: what the settings name is used, what they leave out is not."""

from collections.abc import Callable, Mapping, Sequence

from trading_pipeline.adapters.alerting.console import ConsoleChannel
from trading_pipeline.adapters.resilience import CallRules, ResiliencePolicy, RetryPolicy, Verb
from trading_pipeline.ports import Channel, Clock, Metrics, Severity
from trading_pipeline.settings.alerts import AlertSettings, ChannelSettings

Made = Callable[[AlertSettings, ResiliencePolicy, Clock], Channel]


def _console(_chosen: AlertSettings, _policy: ResiliencePolicy, _clock: Clock) -> Channel:
    return ConsoleChannel()


def _email(chosen: AlertSettings, policy: ResiliencePolicy, clock: Clock) -> Channel:
    from trading_pipeline.adapters.alerting.mail import MailChannel

    return MailChannel(chosen.email, policy, clock)


def _webhook(chosen: AlertSettings, policy: ResiliencePolicy, clock: Clock) -> Channel:
    from trading_pipeline.adapters.alerting.webhook import WebhookChannel

    return WebhookChannel(chosen.webhook, policy, clock)


# A further way to people is one more line here, one class with name and send, and one section of the settings.
CHANNELS: Mapping[str, Made] = {"email": _email, "webhook": _webhook, "console": _console}


def in_use(chosen: AlertSettings) -> Mapping[str, ChannelSettings]:
    """Return the settings of each channel that is used, by name, in the order in which they are delivered.

    >>> list(in_use(AlertSettings()))
    ['console']
    """
    used: dict[str, tuple[bool, ChannelSettings]] = {
        "email": (bool(chosen.email.host), chosen.email),
        "webhook": (bool(chosen.webhook.url.get_secret_value()), chosen.webhook),
        "console": (chosen.console.enabled, chosen.console),
    }
    return {name: used[name][1] for name in CHANNELS if used[name][0]}


def severities(chosen: AlertSettings) -> Mapping[str, Severity]:
    """Return from which severity on each channel that is used carries alerts.

    >>> severities(AlertSettings())
    {'console': <Severity.WARNING: 'warning'>}
    """
    return {name: channel.minimum_severity for name, channel in in_use(chosen).items()}


def channels(chosen: AlertSettings, clock: Clock, metrics: Metrics | None = None) -> Sequence[Channel]:
    """Return the channels that are used, each under a policy of its own; nothing is connected yet."""
    return [CHANNELS[name](chosen, _policy(name, chosen, clock, metrics), clock) for name in in_use(chosen)]


def _policy(name: str, chosen: AlertSettings, clock: Clock, metrics: Metrics | None) -> ResiliencePolicy:
    # One attempt: whether and when another follows is the outbox's, which survives this process.
    once = RetryPolicy(attempts=1, deadline_seconds=chosen.connect_seconds + chosen.answer_seconds)
    rules = CallRules(once, chosen.connect_seconds, chosen.answer_seconds)
    return ResiliencePolicy(f"alerts by {name}", {Verb.ORDER: rules}, clock, metrics=metrics)
