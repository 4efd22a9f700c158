"""Sensors that look and launch nothing: what was found is in the tick, and what could not be read is too."""

from collections.abc import Callable

import dagster as dg

from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import PipelineError


def looking_sensor(
    name: str, description: str, interval_seconds: int, look: Callable[[TradingWorld], str]
) -> dg.SensorDefinition:
    """Return a sensor that calls ``look`` every ``interval_seconds``; it returns what it found in a line for people.

    A look that fails with a PipelineError is said in its tick; the next is as good.
    """

    @dg.sensor(
        name=name,
        description=description,
        required_resource_keys={"world"},
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            return dg.SkipReason(look(context.resources.world))
        except PipelineError as error:
            return dg.SkipReason(f"{type(error).__name__}: {error}")

    return evaluate
