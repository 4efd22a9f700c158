"""What runs of Dagster with checks have in common."""

import dagster as dg
import pandas as pd

SESSIONS = dg.TimeWindowPartitionsDefinition(
    "2026-07-27", fmt="%Y-%m-%d", end="2026-08-04", cron_schedule="0 0 * * 1-5"
)
FRIDAY = "2026-07-31"
RANGE = {"dagster/asset_partition_range_start": "2026-07-29", "dagster/asset_partition_range_end": FRIDAY}


class Memory(dg.IOManager):
    """Rows by asset and session; a range gives the rows of all its sessions in one frame."""

    def __init__(self):
        self.rows = {}
        self.loads = []

    def handle_output(self, context, obj):
        for session in context.asset_partition_keys:
            alone = len(context.asset_partition_keys) == 1
            self.rows[context.asset_key, session] = obj if alone else obj[obj["session"].astype(str) == session]

    def load_input(self, context):
        self.loads.append((context.asset_key.to_user_string(), list(context.asset_partition_keys)))
        return pd.concat([self.rows[context.asset_key, session] for session in context.asset_partition_keys])


def verdicts(result):
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def steps(result):
    return {event.step_key for event in result.all_events if event.event_type_value == "STEP_START"}
