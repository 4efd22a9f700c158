"""A contract and its singular tests as Dagster asset checks: the only module here that knows Dagster.

All promises of an asset are judged in one step, on the rows of one partition,
and every verdict is recorded before a broken one stops what is downstream:
Dagster raises for broken blocking checks only after the last result of a step.
A blocking check guards its own run alone; whoever must never act on a broken
table verifies it again in code (:func:`dbt_like_checks.verification.verify`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pandas as pd

from dbt_like_checks.contract import Contract, Promise, Severity
from dbt_like_checks.generic_tests import Context
from dbt_like_checks.singular_tests import SingularTest
from dbt_like_checks.verification import SAMPLE_ROWS, Result, evaluate

SESSION_COLUMN = "session"
Related = Mapping[str, dg.AssetKey | Sequence[dg.AssetKey]]


def asset_checks(
    contract: Contract,
    asset_key: dg.AssetKey,
    partitions_def: dg.PartitionsDefinition,
    *,
    blocking: bool = True,
    related: Related | None = None,
    singular: Sequence[SingularTest] = (),
) -> dg.AssetChecksDefinition:
    """Return the checks of one asset: one step, one check a promise and one a singular test.

    The step loads the rows of its partition through the asset's IO manager, and
    the same partition of each asset in ``related`` (asset by table name, or
    several whose rows together are the table), so these come before it.
    Partition keys are sessions as ISO dates. What is of severity error blocks
    what is downstream of the asset in the same run, unless ``blocking`` is
    false.

    In a run over a range of partitions each partition is judged by itself, its
    rows told by the column ``session``; the verdict of a check is then that of
    all of them together, and Dagster records it without a partition.

    Raises:
        ValueError: the contract or a test refers to a table that ``related`` does not hold.
    """
    inputs = _inputs(contract, singular, related or {})
    promises: Sequence[Promise | SingularTest] = (*contract.promises, *singular)
    upstream = [key for _, key in inputs.values()]

    @dg.multi_asset_check(
        name=f"{asset_key.to_python_identifier()}_contract",
        description=contract.description,
        specs=[_spec(promise, asset_key, partitions_def, upstream, blocking=blocking) for promise in promises],
        ins={"frame": dg.AssetIn(asset_key), **{name: dg.AssetIn(key) for name, (_, key) in inputs.items()}},
    )
    def judge(context: dg.AssetCheckExecutionContext, frame: pd.DataFrame, **others: pd.DataFrame) -> Iterator[Any]:
        sessions = _sessions(context, partitions_def)
        reports = {}
        for session in sessions:
            known = Context(
                date.fromisoformat(session),
                _earlier(session, contract.reach, partitions_def),
                _by_table({name: _of_session(other, session, sessions) for name, other in others.items()}, inputs),
            )
            reports[session] = _report(_of_session(frame, session, sessions), contract, singular, known)
        for position, promise in enumerate(promises):
            yield _verdict(promise, asset_key, {session: report[position] for session, report in reports.items()})

    return judge


def _inputs(
    contract: Contract, singular: Sequence[SingularTest], related: Related
) -> Mapping[str, tuple[str, dg.AssetKey]]:
    """Return the table and the asset behind each further input of the step, by the input's name."""
    wanted = sorted({*contract.related, *(table for test in singular for table in test.related)})
    if missing := [table for table in wanted if not related.get(table)]:
        told = ", ".join(missing)
        raise ValueError(f"what is promised of {contract.table} refers to {told}: name the assets in related")
    found: dict[str, tuple[str, dg.AssetKey]] = {}
    for table in wanted:
        keys = related[table]
        for number, key in enumerate([keys] if isinstance(keys, dg.AssetKey) else keys):
            found[f"{table}_{number}" if number else table] = (table, key)
    return found


def _by_table(
    frames: Mapping[str, pd.DataFrame], inputs: Mapping[str, tuple[str, dg.AssetKey]]
) -> Mapping[str, pd.DataFrame]:
    parts: dict[str, list[pd.DataFrame]] = {}
    for name, frame in frames.items():
        parts.setdefault(inputs[name][0], []).append(frame)
    return {table: found[0] if len(found) == 1 else pd.concat(found) for table, found in parts.items()}


def _report(
    frame: pd.DataFrame, contract: Contract, singular: Sequence[SingularTest], known: Context
) -> tuple[Result, ...]:
    promised = evaluate(frame, contract, known)
    if not singular:
        return promised
    # Brings DuckDB, which a graph without such tests does without.
    from dbt_like_checks.sql_tables import evaluate_singular

    return (*promised, *evaluate_singular(singular, {**known.related, contract.table: frame}))


def _spec(
    promise: Promise | SingularTest,
    asset_key: dg.AssetKey,
    partitions_def: dg.PartitionsDefinition,
    related: Sequence[dg.AssetKey],
    *,
    blocking: bool,
) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        promise.name,
        asset=asset_key,
        description=promise.sentence,
        additional_deps=related,
        blocking=blocking and promise.severity is Severity.ERROR,
        # Without it a check on a partitioned asset leaves a row per partition that never gets a verdict.
        partitions_def=partitions_def,
    )


def _sessions(context: dg.AssetCheckExecutionContext, partitions_def: dg.PartitionsDefinition) -> Sequence[str]:
    # Not `partition_keys`: where a run holds checks alone it knows no partitions definition.
    if context.has_partition_key:
        return [context.partition_key]
    return partitions_def.get_partition_keys_in_range(context.op_execution_context.partition_key_range)


def _of_session(frame: pd.DataFrame, session: str, sessions: Sequence[str]) -> pd.DataFrame:
    if len(sessions) == 1:
        return frame
    return frame[frame[SESSION_COLUMN].astype(str) == session]


def _earlier(session: str, count: int, partitions_def: dg.PartitionsDefinition) -> Sequence[date]:
    if count == 0:
        return ()
    keys = partitions_def.get_partition_keys()
    place = keys.index(session)
    return [date.fromisoformat(key) for key in reversed(keys[max(place - count, 0) : place])]


def _verdict(
    promise: Promise | SingularTest, asset_key: dg.AssetKey, results: Mapping[str, Result]
) -> dg.AssetCheckResult:
    broken = {session: result for session, result in results.items() if not result.passed}
    metadata: dict[str, Any] = {
        "failing_rows": sum(result.failing_rows for result in results.values()),
        "checked_rows": sum(result.checked_rows for result in results.values()),
    }
    if metadata["failing_rows"]:
        metadata["failing"] = _table(pd.concat([result.sample for result in broken.values()]))
    return dg.AssetCheckResult(
        passed=not broken,
        asset_key=asset_key,
        check_name=promise.name,
        severity=dg.AssetCheckSeverity.ERROR if promise.severity is Severity.ERROR else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{session} {result.summary}" for session, result in broken.items()) or None,
        metadata=metadata,
    )


def _table(rows: pd.DataFrame) -> dg.TableMetadataValue:
    records = [dg.TableRecord(_shown(row)) for row in rows.head(SAMPLE_ROWS).to_dict("records")]
    return dg.MetadataValue.table(records, dg.TableSchema(columns=[dg.TableColumn(str(name)) for name in rows.columns]))


def _shown(row: Mapping[Any, Any]) -> Mapping[str, str]:
    # As text: a table of metadata knows neither decimals nor dates, and JSON knows no NaN.
    return {str(name): "" if pd.isna(value) else _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    # Beside a null, pandas carries whole numbers as floats: an age of 1 session is not 1.0.
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value)
