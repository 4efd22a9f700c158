"""Dagster's own freshness of the assets that a decision makes: green in its UI as long as one is made in time.

Dagster knows when an asset was materialised, neither what session it is of nor
when the exchange is shut. A deadline by cron would be missed on every holiday;
so the longest pause that the exchange plans is let pass, and no more. A
decision that is missing on one evening is told of by its deadline; how old
prices are, by the asset ``data_freshness``.
"""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

LONGEST_PAUSE = timedelta(days=4, hours=3)
"""From the close of a half day to that of the session after a long weekend, such as from Christmas Eve to the 28th."""

GRACE = timedelta(hours=3)
"""How long after the close, at the latest, a decision is there."""

DECIDED_DAILY = dg.FreshnessPolicy.time_window(fail_window=LONGEST_PAUSE + GRACE)


def decided_daily(assets: Sequence[dg.AssetsDefinition]) -> Sequence[dg.AssetsDefinition]:
    """Return ``assets`` with the policy that each is materialised once a session."""
    return [asset.map_asset_specs(lambda spec: dg.apply_freshness_policy(spec, DECIDED_DAILY)) for asset in assets]
