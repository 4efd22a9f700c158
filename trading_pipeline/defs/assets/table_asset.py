"""What every asset of the trading graph has in common: a table, and one partition a session."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from trading_pipeline.defs.metadata import definition_metadata
from trading_pipeline.defs.neutral_errors import neutral_errors
from trading_pipeline.defs.partitions import session_partitions

OWNERS = ["team:trading"]
STAGE, TRADES = "trading_pipeline/stage", "trading_pipeline/trades"


def table_asset(
    name: str,
    group: str,
    *kinds: str,
    metadata: Mapping[str, Any] | None = None,
    trades: bool = False,
    **options: Any,  # noqa: ANN401 - Dagster's own
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare the asset of table ``name``; ``kinds`` are shown beside Delta Lake, ``options`` are Dagster's own.

    The tag ``trades`` tells a person what clicking *Materialize* may do to the account.
    """
    declare: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=name,
        group_name=group,
        partitions_def=session_partitions(),
        required_resource_keys={"world"},
        io_manager_key="tables",
        kinds={*kinds, "deltalake"},
        owners=OWNERS,
        code_version="1",
        tags={STAGE: group, TRADES: "inside-its-window-only" if trades else "never"},
        metadata={**definition_metadata(name), **(metadata or {})},
        **options,
    )
    return lambda compute: declare(neutral_errors(compute))
