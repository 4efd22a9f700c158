"""What every asset of the trading graph has in common: a table, and one partition a session."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from trading_pipeline.defs.metadata import definition_metadata
from trading_pipeline.defs.partitions import session_partitions

OWNERS = ["team:trading"]


def table_asset(
    name: str,
    group: str,
    *kinds: str,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,  # noqa: ANN401 - Dagster's own
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Declare the asset of table ``name``; ``kinds`` are shown beside Delta Lake, ``options`` are Dagster's own."""
    declare: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=name,
        group_name=group,
        partitions_def=session_partitions(),
        required_resource_keys={"world"},
        io_manager_key="tables",
        kinds={*kinds, "deltalake"},
        owners=OWNERS,
        code_version="1",
        metadata={**definition_metadata(name), **(metadata or {})},
        **options,
    )
    return declare
