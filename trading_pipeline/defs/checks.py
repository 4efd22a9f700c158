"""The contracts of ``dbt_like_checks`` as asset checks, and as the gate that the code itself keeps."""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import dagster as dg
import pandas as pd

from dbt_like_checks.contract import Contract, Severity, contract
from trading_pipeline.defs.assets.signals import is_signal, signal_name
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain.errors import BrokenContract

BEFORE_SIGNALS = ("asset_catalog", "bars", "indicators")
AFTER_SIGNALS = (
    *("allocation", "portfolio_snapshot", "order_plan", "approved_orders", "risk_report"),
    *("fills", "execution_quality", "reconciliation"),
)


def promised_assets(strategies: Iterable[str]) -> tuple[str, ...]:
    """Return every asset of the trading graph that keeps a contract, upstream first."""
    return (*BEFORE_SIGNALS, *(signal_name(name) for name in strategies), *AFTER_SIGNALS)


def contract_of(asset: str) -> Contract:
    """Return the contract that an asset's table keeps; signals share one."""
    return contract("signals" if is_signal(asset) else asset)


@functools.cache
def contract_checks(strategies: tuple[str, ...]) -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks of every asset, one step an asset and one check a promise."""
    from dbt_like_checks.dagster_checks import asset_checks

    with warnings.catch_warnings():
        # Partitions of checks are a preview feature of Dagster, whose version is pinned for that.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            asset_checks(contract_of(asset), dg.AssetKey(asset), session_partitions(), related=_related(asset))
            for asset in promised_assets(strategies)
        ]


def _related(asset: str) -> Mapping[str, dg.AssetKey]:
    return {table: dg.AssetKey(table) for table in contract_of(asset).related}


def blocking_checks(strategies: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """Return the names of the checks of each asset that must pass before anything trades."""
    return {
        asset: [promise.name for promise in contract_of(asset).promises if promise.severity is Severity.ERROR]
        for asset in promised_assets(strategies)
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
