"""Settings of the daily work: when it is done, what is watched and told, where history is computed."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from trading_pipeline.settings.section import Minutes, Seconds, Section


class LogFormat(StrEnum):
    """How log lines look; auto is console at a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From which level on our own events are logged; auto is warning at a terminal and info elsewhere."""

    AUTO = "auto"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class ScheduleSettings(Section):
    """When the schedules act, relative to the session."""

    decide_after_close_minutes: Minutes = Field(
        default=30, description="Minutes after the close at which the next session's orders are decided."
    )
    warm_before_open_minutes: Minutes = Field(
        default=45, description="Minutes before the open at which the bars are fetched once more."
    )
    sensor_interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two looks for a plan to execute."
    )


class MonitoringSettings(Section):
    """How long an order may stay where it is before a person is told, and how its changes are heard of."""

    acknowledge_within_seconds: Seconds = Field(
        default=10.0, description="Seconds within which the broker must show an order that was sent."
    )
    pending_within_seconds: Seconds = Field(
        default=30.0, description="Seconds within which a pending or accepted order must work, in the open session."
    )
    partial_within_seconds: Seconds = Field(
        default=120.0, description="Seconds within which a partially filled order must be filled or cancelled."
    )
    cancel_within_seconds: Seconds = Field(
        default=30.0, description="Seconds within which a cancellation must have taken effect."
    )
    watchdog_interval_seconds: Annotated[int, Field(ge=5, le=3600)] = Field(
        default=30, description="Seconds between two looks at the orders under way."
    )
    reduce_on_overdue: bool = Field(
        default=False, description="Let an overdue order change the trading state to reducing."
    )
    rejected_orders_before_reducing: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=3, description="Rejected or abandoned orders of a session at which the trading state becomes reducing."
    )
    reduce_on_external_orders: bool = Field(
        default=True, description="Let orders that are not ours, found in the account, change the state to reducing."
    )
    stream: bool = Field(
        default=True, description="Hear of order changes as they happen; without it they are asked for only."
    )
    stream_connect_seconds: Seconds = Field(default=10.0, description="Seconds for the stream's connection.")
    stream_authenticate_seconds: Seconds = Field(
        default=10.0, description="Seconds for the stream to accept the keys and the subscription."
    )
    stream_ping_seconds: Seconds = Field(default=10.0, description="Seconds between two pings of the stream.")
    stream_pong_seconds: Seconds = Field(
        default=10.0, description="Seconds within which a ping must be answered before the stream counts as dead."
    )
    stream_first_backoff_seconds: Seconds = Field(
        default=1.0, description="Shortest pause before the stream is connected again, in seconds."
    )
    stream_longest_backoff_seconds: Seconds = Field(
        default=30.0, description="Longest pause before the stream is connected again, in seconds."
    )
    stream_failures_before_polling: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Failures of the stream in a row at which a person is told that orders are polled only."
    )
    stream_grace_seconds: Seconds = Field(
        default=2.0, description="Seconds by which the stream may lag behind what the broker answers when asked."
    )

    @model_validator(mode="after")
    def _backs_off_further(self) -> "MonitoringSettings":
        if self.stream_longest_backoff_seconds < self.stream_first_backoff_seconds:
            raise ValueError(
                f"stream_longest_backoff_seconds, {self.stream_longest_backoff_seconds:g}, must not be below "
                f"stream_first_backoff_seconds, {self.stream_first_backoff_seconds:g}"
            )
        return self


class ObservabilitySettings(Section):
    """What is told of the work while it is done."""

    log_format: LogFormat = Field(
        default=LogFormat.AUTO,
        description="Log lines on standard error: json, console, or auto (console at a terminal).",
    )
    log_level: LogLevel = Field(
        default=LogLevel.AUTO,
        description="Lowest level of our own events that is logged; auto is warning at a terminal, info elsewhere.",
    )
    metrics: bool = Field(default=True, description="Record metrics, as lines of metrics.jsonl in the home folder.")
    neutral: bool = Field(
        default=False,
        description="Hide symbols, figures and account numbers in logs, metadata, reports, alerts, errors and metrics.",
    )


class ResearchSettings(Section):
    """Where the history of many strategies is computed: in one process, in several, or on several machines."""

    executor: Annotated[str, Field(pattern=r"^(in_process|multiprocess|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$")] = Field(
        default="in_process",
        description="What runs the steps: in_process, multiprocess, or any Dagster executor, as package.module:name.",
    )
    processes: Annotated[int, Field(ge=1, le=256)] = Field(
        default=2, description="Processes at once, where the executor is multiprocess."
    )
    shards: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        default=None, description="Parts that the strategies are dealt to; without it one for each process."
    )
    exchange_folder: str | None = Field(
        default=None,
        description="Folder, or s3:// address, where steps hand frames to each other; without it in the home folder.",
    )

    @property
    def shard_count(self) -> int:
        """How many parts the strategies are dealt to; in one process there is nothing to gain from several."""
        return self.shards or (1 if self.executor == "in_process" else self.processes)
