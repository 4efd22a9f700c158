import dagster as dg
import pytest

from trading_pipeline.definitions import wired
from trading_pipeline.defs.checks import contract_of, promised_assets
from trading_pipeline.defs.column_lineage import COLUMN_LINEAGE, column_lineage, origins
from trading_pipeline.domain.strategies import STRATEGIES
from trading_pipeline.settings import Settings

ASSETS = promised_assets(STRATEGIES)


@pytest.fixture(scope="module")
def reads():
    """What each asset reads, by the graph."""
    specs = wired(Settings(), world=object(), tables=dg.mem_io_manager).resolve_all_asset_specs()
    return {spec.key.to_user_string(): [dep.asset_key.to_user_string() for dep in spec.deps] for spec in specs}


def columns_of(asset):
    return {column.name for column in contract_of(asset).columns}


@pytest.mark.parametrize("asset", ASSETS)
def test_every_column_that_is_named_is_promised_by_its_table(asset, reads):
    made = origins(asset, reads[asset])

    assert set(made) <= columns_of(asset)
    for origin, column in {found for several in made.values() for found in several}:
        assert column in columns_of(origin)


@pytest.mark.parametrize("asset", ASSETS)
def test_a_column_comes_from_assets_that_its_asset_can_see(asset, reads):
    seen, waiting = set(), list(reads[asset])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += reads.get(name, [])

    assert {origin for several in origins(asset, reads[asset]).values() for origin, _ in several} <= seen


def test_a_fill_is_led_back_to_the_close_of_a_bar(reads):
    def behind(asset, column):
        steps = origins(asset, reads[asset]).get(column, [])
        return {(asset, column)}.union(*(behind(*step) for step in steps))

    found = behind("fills", "quantity")

    assert {("allocation", "weight"), ("nuclear_signal", "weight"), ("indicators", "value"), ("bars", "close")} <= found


def test_what_is_known_is_said_as_dagster_draws_it():
    assert column_lineage("bars", []) == {}
    lineage = column_lineage("allocation", ["bars", "klm_signal"])[COLUMN_LINEAGE]
    assert lineage.deps_by_column["weight"] == [dg.TableColumnDep(dg.AssetKey("klm_signal"), "weight")]
