"""How the research graph runs: which executor, where its steps hand frames to each other, how it is checked."""

import importlib
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from dbt_like_checks.contract import Severity, contract
from dbt_like_checks.verification import Result, evaluate
from trading_pipeline.defs import metadata
from trading_pipeline.defs.partitions import year_partitions
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import ResearchSettings

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

RESEARCH_HISTORY = "research_history"
SIGNAL_HISTORY = "signal_history"
STRATEGY_DIVERSITY = "strategy_diversity"
SIZING_COMPARISON = "sizing_comparison"
TAIL_BACKTEST = "tail_backtest"
RISK_HISTORY = "risk_history"
EXCHANGE = "exchange"
# Loaded once and forked from there, which spares each step the seconds that its imports take.
LOADED_BEFORE = ["trading_pipeline.definitions", "trading_pipeline.defs.assets.research"]


def research_job(chosen: ResearchSettings) -> "UnresolvedAssetJobDefinition":
    """Return the job that computes ``signal_history``, of one year or a range, on the executor of the settings.

    Raises:
        InvalidInput: the settings name an executor that cannot be found.
    """
    return dg.define_asset_job(
        RESEARCH_HISTORY,
        selection=dg.AssetSelection.assets(SIGNAL_HISTORY),
        description="What every strategy held after each session of the years, dealt to processes by the settings.",
        executor_def=executor_of(chosen),
    )


def executor_of(chosen: ResearchSettings) -> dg.ExecutorDefinition:
    """Return the executor that the settings choose.

    Raises:
        InvalidInput: the settings name an executor that cannot be found.
    """
    if chosen.executor == "in_process":
        return dg.in_process_executor
    if chosen.executor == "multiprocess":
        start = {"forkserver": {"preload_modules": LOADED_BEFORE}}
        return dg.multiprocess_executor.configured({"max_concurrent": chosen.processes, "start_method": start})
    return _imported(chosen.executor)


def _imported(place: str) -> dg.ExecutorDefinition:
    module, _, name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise InvalidInput(f"research.executor names {place}, and {module} cannot be imported: {error}") from error
    if not isinstance(found, dg.ExecutorDefinition):
        raise InvalidInput(
            f"research.executor names {place}, which is {found!r}; it must be one of Dagster's executor definitions, "
            f"such as dagster:multiprocess_executor"
        )
    return found


class ParquetExchange(dg.IOManager):
    """Frames that the steps of one run hand to each other, as Parquet files by run, step and output.

    The folder is a path or an address such as ``s3://bucket/folder``, which
    every machine that runs steps must see. It is read by running runs and by
    those that are started again from a failure; otherwise it may be emptied.
    """

    def __init__(self, folder: str) -> None:
        """Keep the address; nothing is opened yet."""
        self._folder = folder

    def handle_output(self, context: dg.OutputContext, obj: pd.DataFrame) -> None:
        """Write the frame to the file of the step's output."""
        system, root = self._opened
        file = _file(root, context)
        system.create_dir(file.rpartition("/")[0])
        pq.write_table(pa.Table.from_pandas(obj, preserve_index=False), file, filesystem=system)

    def load_input(self, context: dg.InputContext) -> pd.DataFrame:
        """Read the frame of the step's output that the input comes from."""
        system, root = self._opened
        if context.upstream_output is None:
            raise InvalidInput(f"input {context.name} comes from no step; the exchange holds what steps put out")
        frame: pd.DataFrame = pq.read_table(_file(root, context.upstream_output), filesystem=system).to_pandas()
        return frame

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        there = self._folder if "://" in self._folder else Path(self._folder).absolute().as_uri()
        system, root = fs.FileSystem.from_uri(there)
        return system, root


def _file(root: str, output: dg.OutputContext) -> str:
    return "/".join([root, *output.get_identifier()]) + ".parquet"


@dg.io_manager(required_resource_keys={"world"}, description="Frames on their way from step to step.")
def exchange(context: dg.InitResourceContext) -> ParquetExchange:
    """Return the exchange of the settings, in the home folder where they name none."""
    world = context.resources.world
    return ParquetExchange(world.settings.research.exchange_folder or str(world.home.folder / EXCHANGE))


def research_checks() -> Sequence[dg.AssetChecksDefinition]:
    """Return the checks of the research graph's assets, one step an asset and one check a promise."""
    with warnings.catch_warnings():
        # Partitions of checks are a preview feature of Dagster, whose version is pinned for that.
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return [
            _checks(dg.AssetKey(SIGNAL_HISTORY), year_partitions()),
            _checks(dg.AssetKey(STRATEGY_DIVERSITY), None),
            _checks(dg.AssetKey(SIZING_COMPARISON), None),
            _checks(dg.AssetKey(TAIL_BACKTEST), None),
            _checks(dg.AssetKey(RISK_HISTORY), None),
        ]


def _checks(asset: dg.AssetKey, partitions_def: dg.PartitionsDefinition | None) -> dg.AssetChecksDefinition:
    """Return the checks of an asset whose rows are judged all together, however many partitions a run is over."""
    promised = contract(asset.path[-1])

    @dg.multi_asset_check(
        name=f"{asset.to_python_identifier()}_contract",
        description=promised.description,
        specs=[
            dg.AssetCheckSpec(
                promise.name,
                asset=asset,
                description=promise.sentence,
                blocking=promise.severity is Severity.ERROR,
                partitions_def=partitions_def,
            )
            for promise in promised.promises
        ],
        ins={"frame": dg.AssetIn(asset)},
    )
    def judge(frame: pd.DataFrame) -> Iterator[dg.AssetCheckResult]:
        for result in evaluate(frame, promised):
            yield _verdict(asset, result)

    return judge


def _verdict(asset: dg.AssetKey, result: Result) -> dg.AssetCheckResult:
    counts = {"failing_rows": result.failing_rows, "checked_rows": result.checked_rows}
    failing = {"failing": metadata.table(result.sample)} if result.failing_rows else {}
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=asset,
        check_name=result.name,
        severity=dg.AssetCheckSeverity.ERROR if result.severity is Severity.ERROR else dg.AssetCheckSeverity.WARN,
        description=None if result.passed else result.summary,
        metadata=metadata.shown({**counts, **failing}),
    )
