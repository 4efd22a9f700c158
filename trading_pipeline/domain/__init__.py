"""Values and pure functions of the trade: no input or output, no clock, no Dagster."""
