"""Settings of the watch over the pipeline itself: whether it is alive, and who is told when it is not."""

from typing import Annotated

from pydantic import Field, model_validator

from trading_pipeline.settings.section import Minutes, Section

Interval = Annotated[int, Field(ge=5, le=3600)]


class HealthSettings(Section):
    """How often the pipeline says that it is alive, what counts as late, and where `health` answers."""

    heartbeat_interval_seconds: Interval = Field(default=30, description="Seconds between two heartbeats.")
    heartbeat_stale_after_seconds: Annotated[int, Field(ge=10, le=86_400)] = Field(
        default=180, description="Seconds after which a heartbeat is too old, and `health` says that nothing is alive."
    )
    look_interval_seconds: Interval = Field(
        default=30, description="Seconds between two looks for failed checks, failed runs and missed deadlines."
    )
    results_per_look: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=100, description="Results of checks that one look reads at most; the next look goes on with the rest."
    )
    decision_deadline_minutes: Minutes = Field(
        default=30, description="Minutes before the execution window at which its orders must have been decided."
    )
    tick_grace_minutes: Annotated[int, Field(ge=1, le=240)] = Field(
        default=10, description="Minutes after which a schedule's tick that did not happen counts as missed."
    )
    longest_run_minutes: Annotated[int, Field(ge=1, le=10_080)] = Field(
        default=180, description="Minutes after which a run that is still under way is told of."
    )
    bars_behind_sessions: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0, description="Sessions by which the newest bars may lag behind the newest that are due."
    )
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(
        default=0, description="Port of the endpoint /health on this machine; 0 takes a free one and prints it."
    )
    ui_url: str = Field(
        default="http://127.0.0.1:3000", description="Address of Dagster's UI, for the links in what is told."
    )

    @model_validator(mode="after")
    def _outlasts_a_beat(self) -> "HealthSettings":
        if self.heartbeat_stale_after_seconds <= self.heartbeat_interval_seconds:
            raise ValueError(
                f"heartbeat_stale_after_seconds, {self.heartbeat_stale_after_seconds}, must be above "
                f"heartbeat_interval_seconds, {self.heartbeat_interval_seconds}, or every beat is too old at times"
            )
        return self
