"""The contracts of ``dbt_like_checks`` as asset checks, and as the gate that the code itself keeps."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from datetime import date

import dagster as dg
import pandas as pd

from dbt_like_checks.contract import Contract, Severity, contract
from trading_pipeline.defs.assets.signals import signal_name
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain.errors import BrokenContract
from trading_pipeline.domain.strategies import STRATEGIES

CONTRACT_OF: Mapping[str, str] = {
    "asset_catalog": "asset_catalog",
    "bars": "bars",
    "indicators": "indicators",
    **{signal_name(name): "signals" for name in STRATEGIES},
    "allocation": "allocation",
    "portfolio_snapshot": "portfolio_snapshot",
    "order_plan": "order_plan",
    "approved_orders": "approved_orders",
    "fills": "fills",
}


def contract_of(asset: str) -> Contract:
    """Return the contract that an asset's table keeps."""
    return contract(CONTRACT_OF[asset])


@functools.cache
def contract_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks of every asset, one step an asset and one check a promise."""
    from dbt_like_checks.dagster_checks import asset_checks

    with warnings.catch_warnings():
        # Partitions of checks are a preview feature of Dagster, whose version is pinned for that.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            asset_checks(contract_of(asset), dg.AssetKey(asset), session_partitions(), related=_related(asset))
            for asset in CONTRACT_OF
        ]


def _related(asset: str) -> Mapping[str, dg.AssetKey]:
    return {table: dg.AssetKey(table) for table in contract_of(asset).related}


@functools.cache
def blocking_checks() -> Mapping[str, Sequence[str]]:
    """Return the names of the checks of each asset that must pass before anything trades."""
    return {
        asset: [promise.name for promise in contract_of(asset).promises if promise.severity is Severity.ERROR]
        for asset in CONTRACT_OF
    }


def verified(session: date, **frames: pd.DataFrame) -> None:
    """Refuse frames of a session that break their contracts; related tables are those given beside them.

    Raises:
        BrokenContract: a promise of severity error is broken.
    """
    from dbt_like_checks.generic_tests import Context
    from dbt_like_checks.verification import BrokenPromise, verify

    context = Context(session=session, related=frames)
    for asset, frame in frames.items():
        try:
            verify(frame, contract_of(asset), context)
        except BrokenPromise as broken:
            raise BrokenContract(str(broken)) from broken
