"""Which assets run together."""

import dagster as dg

from trading_pipeline.defs.kill_jobs import KILL_JOBS
from trading_pipeline.defs.liquidation_jobs import liquidate_job

DECIDE = "decide"
PLACE_ORDERS = "place_orders"
WARM_BARS = "warm_bars"

decide_job = dg.define_asset_job(
    DECIDE,
    selection=dg.AssetSelection.assets("risk_report").upstream(),
    description="After the close: from bars to the risk-checked plan of the next session, and a report on its risk.",
)
place_orders_job = dg.define_asset_job(
    PLACE_ORDERS,
    selection=dg.AssetSelection.assets("fills", "execution_quality", "reconciliation", "performance", "daily_report"),
    description=(
        "In the execution window: place the session's approved orders, say how well that went, compare the account "
        "with the broker's books, and report on the session. Launched by order_placement_sensor."
    ),
)
warm_bars_job = dg.define_asset_job(
    WARM_BARS,
    selection=dg.AssetSelection.assets("bars"),
    description="Before the open: fetch the last session's bars once more, so that nothing has to wait for them.",
)
JOBS = (decide_job, place_orders_job, warm_bars_job, *KILL_JOBS, liquidate_job)
