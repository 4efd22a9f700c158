"""The contracts of ``dbt_like_checks`` as asset checks, and as the gate that the code itself keeps."""

import functools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import MappingProxyType

import dagster as dg
import pandas as pd

from dbt_like_checks.contract import Contract, InvalidContract, Promise, Severity, contract
from dbt_like_checks.singular_tests import SingularTest, singular_on, singular_tests
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.defs.signal_names import is_signal, signal_name
from trading_pipeline.domain.errors import BrokenContract, InvalidInput

BEFORE_SIGNALS = ("asset_catalog", "bars", "data_freshness", "indicators")
AFTER_SIGNALS = (
    *("allocation", "portfolio_snapshot", "order_plan", "approved_orders", "risk_report"),
    *("fills", "execution_quality", "reconciliation", "performance"),
)


def promised_assets(strategies: Iterable[str]) -> tuple[str, ...]:
    """Return every asset of the trading graph that keeps a contract, upstream first."""
    return (*BEFORE_SIGNALS, *(signal_name(name) for name in strategies), *AFTER_SIGNALS)


def contract_of(asset: str) -> Contract:
    """Return the contract that an asset's table keeps; signals share one."""
    return contract(_table_of(asset))


def singular_of(asset: str, folder: Path | None = None) -> tuple[SingularTest, ...]:
    """Return the singular tests that are shown on an asset, those of a folder of one's own among them."""
    return singular_on(_table_of(asset), known_singular(folder))


def known_singular(folder: Path | None = None) -> tuple[SingularTest, ...]:
    """Return the singular tests that are built in, and those of a folder of one's own.

    Raises:
        InvalidInput: the folder is none, a file of it cannot be understood (the message names its line), or is named
            like a test that is built in.
    """
    return singular_tests() if folder is None else (*singular_tests(), *own_singular(folder))


@functools.cache
def own_singular(folder: Path) -> tuple[SingularTest, ...]:
    """Return the singular tests of a folder of one's own, each looked at down to its columns; read once.

    Raises:
        InvalidInput: see :func:`known_singular`.
    """
    from dbt_like_checks.sql_tables import refuse_wrong_body

    if not folder.is_dir():
        raise InvalidInput(f"checks.folder names {folder}, which is no folder; create it, or unset checks.folder")
    taken = {test.name for test in singular_tests()}
    try:
        found = singular_tests(folder)
        for test in found:
            refuse_wrong_body(test)
    except InvalidContract as problem:
        raise InvalidInput(str(problem)) from problem
    if doubled := [test.name for test in found if test.name in taken]:
        raise InvalidInput(f"{folder} holds {', '.join(doubled)}, like tests that are built in; rename the files")
    for test in found:
        _refuse_elsewhere(test)
    return found


def _refuse_elsewhere(test: SingularTest) -> None:
    """Refuse a test that no asset of the graph would show, or that would have to wait for what comes after it."""
    lineage = list(dict.fromkeys(map(_table_of, promised_assets(("any",)))))
    if strange := [table for table in test.tables if table not in lineage]:
        raise InvalidInput(f"{test.path}: {', '.join(strange)} is no table of the trading graph: {', '.join(lineage)}")
    last = max(test.tables, key=lineage.index)
    if test.on != last:
        raise InvalidInput(f"{test.path}: on is the last of its tables in the lineage, {last}, was {test.on}")


def _table_of(asset: str) -> str:
    return "signals" if is_signal(asset) else asset


@functools.cache
def contract_checks(strategies: tuple[str, ...], folder: Path | None = None) -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks of every asset: one step an asset, one check a promise and one a singular test.

    ``folder`` holds singular tests of one's own.
    """
    from dbt_like_checks.dagster_checks import asset_checks

    with warnings.catch_warnings():
        # Partitions of checks are a preview feature of Dagster, whose version is pinned for that.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            asset_checks(
                contract_of(asset),
                dg.AssetKey(asset),
                session_partitions(),
                related=_related(strategies),
                singular=singular_of(asset, folder),
            )
            for asset in promised_assets(strategies)
        ]


def _related(strategies: Iterable[str]) -> Mapping[str, Sequence[dg.AssetKey]]:
    """Return the assets whose rows together are each table."""
    found: dict[str, list[dg.AssetKey]] = {}
    for asset in promised_assets(strategies):
        found.setdefault(_table_of(asset), []).append(dg.AssetKey(asset))
    return found


def _promises_of(asset: str, folder: Path | None) -> Sequence[Promise | SingularTest]:
    return (*contract_of(asset).promises, *singular_of(asset, folder))


def blocking_checks(strategies: Iterable[str], folder: Path | None = None) -> Mapping[str, Sequence[str]]:
    """Return the names of the checks of each asset that must pass before anything trades."""
    return {
        asset: [promise.name for promise in _promises_of(asset, folder) if promise.severity is Severity.ERROR]
        for asset in promised_assets(strategies)
    }


def verified(
    session: date, beside: Mapping[str, pd.DataFrame] = MappingProxyType({}), /, **frames: pd.DataFrame
) -> None:
    """Refuse frames of a session that break their contracts, or a singular test that all of them together can answer.

    Related tables are those given beside them; tables ``beside`` were verified before and are only referred to.

    Raises:
        BrokenContract: a promise of severity error is broken.
    """
    from dbt_like_checks.generic_tests import Context
    from dbt_like_checks.sql_tables import verify_singular
    from dbt_like_checks.verification import BrokenPromise, verify

    together = {**beside, **frames}
    context = Context(session=session, related=together)
    try:
        for asset, frame in frames.items():
            verify(frame, contract_of(asset), context)
        verify_singular(together, [test for test in singular_tests() if frames.keys() & set(test.tables)])
    except BrokenPromise as broken:
        raise BrokenContract(str(broken)) from broken
