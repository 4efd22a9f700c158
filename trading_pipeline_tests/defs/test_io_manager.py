from datetime import date

import dagster as dg
import pandas as pd
import pytest

from trading_pipeline import __version__
from trading_pipeline.adapters.storage.tables import DeltaTables
from trading_pipeline.adapters.storage.written_rows import written_beside
from trading_pipeline.defs.checks import contract_of, promised_assets
from trading_pipeline.defs.io_manager import MAY_BE_EMPTY, SESSIONS, UPSERT, WRITE, DeltaIOManager
from trading_pipeline.defs.partitions import session_partitions
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import DataError
from trading_pipeline.domain.strategies import STRATEGIES

FRIDAY = date(2026, 7, 31)
THURSDAY, WEDNESDAY = sessions.previous_session(FRIDAY), sessions.previous_session(FRIDAY, 2)


def bars(*rows):
    whole = [(symbol, session, close, close, close, close, 1.0) for symbol, session, close in rows]
    return pd.DataFrame(whole, columns=["symbol", "session", "open", "high", "low", "close", "volume"])


def allocation(session, **weights):
    rows = [(session, symbol, "tecl", weight, "decided", session) for symbol, weight in weights.items()]
    return pd.DataFrame(rows, columns=["session", "symbol", "strategy", "weight", "status", "decided_on"])


class Shelf:
    """Two tables behind the IO manager: ``bars`` is upserted, ``allocation`` replaced by session."""

    def __init__(self, root, instance):
        self.tables = DeltaTables(str(root))
        self.instance = instance
        self.told = []
        self.manager = DeltaIOManager(self.tables, lambda name, session: self.told.append((name, session)))

    def write(self, name, session, frame):
        @dg.asset(
            name=name,
            partitions_def=session_partitions(),
            io_manager_key="tables",
            metadata={WRITE: UPSERT} if name == "bars" else {},
        )
        def written(context: dg.AssetExecutionContext) -> pd.DataFrame:
            return frame

        return self.materialised(written, session)

    def read(self, name, session, count=None):
        """Return the rows that an asset downstream of ``name`` is given, and the metadata of what it wrote."""
        given = []
        inputs = {"rows": dg.AssetIn(name, metadata={SESSIONS: count} if count else None)}

        @dg.asset(name="allocation", partitions_def=session_partitions(), io_manager_key="tables", ins=inputs)
        def reader(context: dg.AssetExecutionContext, rows: pd.DataFrame) -> pd.DataFrame:
            given.append(rows)
            return allocation(session, SPY=1.0)

        metadata = self.materialised(reader, session, dg.AssetSpec(name, partitions_def=session_partitions()))
        return given[0], metadata

    def materialised(self, asset, session, *sources):
        result = dg.materialize(
            [asset, *sources],
            instance=self.instance,
            partition_key=str(session),
            resources={"tables": self.manager, "io_manager": self.manager},
            selection=[asset],
        )
        [event] = result.get_asset_materialization_events()
        return {name: value.value for name, value in event.materialization.metadata.items()}


@pytest.fixture
def shelf(tmp_path):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Shelf(tmp_path, instance)


def test_a_session_takes_the_place_of_what_it_held_before(shelf):
    shelf.write("allocation", THURSDAY, allocation(THURSDAY, SPY=1.0))
    shelf.write("allocation", FRIDAY, allocation(FRIDAY, SPY=0.5, TLT=0.5))
    shelf.write("allocation", FRIDAY, allocation(FRIDAY, BIL=1.0))

    stored = shelf.tables.read("allocation")
    assert list(zip(stored["session"], stored["symbol"], strict=True)) == [(THURSDAY, "SPY"), (FRIDAY, "BIL")]


def test_an_empty_frame_empties_its_session_only(shelf):
    shelf.write("allocation", THURSDAY, allocation(THURSDAY, SPY=1.0))
    shelf.write("allocation", FRIDAY, allocation(FRIDAY, SPY=1.0))
    metadata = shelf.write("allocation", FRIDAY, allocation(FRIDAY))

    assert list(shelf.tables.read("allocation")["session"]) == [THURSDAY]
    assert metadata["dagster/row_count"] == 0


def test_upserted_rows_may_be_of_any_session_and_replace_by_key(shelf):
    shelf.write("bars", FRIDAY, bars(("SPY", THURSDAY, 600.0), ("SPY", FRIDAY, 610.0), ("QQQ", FRIDAY, 500.0)))
    shelf.write("bars", FRIDAY, bars(("SPY", THURSDAY, 300.0)))

    stored = shelf.tables.read("bars").set_index(["symbol", "session"])["close"]
    assert stored.to_dict() == {("QQQ", FRIDAY): 500.0, ("SPY", THURSDAY): 300.0, ("SPY", FRIDAY): 610.0}


def test_no_change_writes_no_version(shelf):
    first = shelf.write("bars", FRIDAY, bars(("SPY", FRIDAY, 610.0)))
    again = shelf.write("bars", FRIDAY, bars())

    assert again["table_version"] == first["table_version"] == shelf.tables.version("bars")
    assert again["dagster/row_count"] == 0


def test_nothing_at_all_is_no_version(shelf):
    assert shelf.write("bars", FRIDAY, bars())["table_version"] == -1


def test_rows_of_another_session_are_refused(shelf):
    with pytest.raises(DataError, match="rows of session 2026-07-31 were to be written"):
        shelf.write("allocation", FRIDAY, allocation(THURSDAY, SPY=1.0))

    assert shelf.tables.read("allocation").empty


def test_a_reader_is_given_its_own_session(shelf):
    shelf.write("bars", FRIDAY, bars(("SPY", THURSDAY, 600.0), ("SPY", FRIDAY, 610.0)))

    given, _ = shelf.read("bars", FRIDAY)

    assert list(given["session"]) == [FRIDAY]


def test_a_reader_that_asks_for_a_range_is_given_the_sessions_up_to_its_own(shelf):
    monday = sessions.next_session(FRIDAY)
    days = [sessions.previous_session(FRIDAY, 3), WEDNESDAY, THURSDAY, FRIDAY, monday]
    shelf.write("bars", monday, bars(*[("SPY", day, 600.0) for day in days]))

    given, _ = shelf.read("bars", FRIDAY, count=3)

    assert list(given["session"]) == [WEDNESDAY, THURSDAY, FRIDAY]


def test_a_range_counts_sessions_not_days(shelf):
    friday_before = date(2026, 7, 24)
    monday = date(2026, 7, 27)
    shelf.write("bars", monday, bars(("SPY", friday_before, 600.0), ("SPY", monday, 601.0)))

    given, _ = shelf.read("bars", monday, count=2)

    assert list(given["session"]) == [friday_before, monday]


@pytest.mark.parametrize("count", [None, 3])
def test_a_session_that_was_never_materialised_is_an_error_that_names_it(shelf, count):
    shelf.write("bars", THURSDAY, bars(("SPY", THURSDAY, 600.0)))

    with pytest.raises(DataError, match="bars has no rows of session 2026-07-31; materialise bars for that session"):
        shelf.read("bars", FRIDAY, count)


def test_a_table_that_does_not_exist_is_the_same_error(shelf):
    with pytest.raises(DataError, match="bars has no rows of session 2026-07-31"):
        shelf.read("bars", FRIDAY)


def test_no_orders_is_an_answer(shelf):
    given, metadata = shelf.read("approved_orders", FRIDAY)

    assert given.empty
    assert {"session", "plan_id", "approved_quantity"} <= set(given.columns)
    assert "tables_read" not in metadata


def test_exactly_the_tables_whose_contracts_allow_it_may_be_empty():
    assert {table for table in promised_assets(STRATEGIES) if contract_of(table).may_be_empty} == MAY_BE_EMPTY


def test_versions_read_and_written_are_recorded(shelf):
    shelf.write("bars", THURSDAY, bars(("SPY", THURSDAY, 600.0)))
    bars_version = shelf.write("bars", FRIDAY, bars(("SPY", FRIDAY, 610.0)))["table_version"]

    _, first = shelf.read("bars", FRIDAY)
    _, second = shelf.read("bars", FRIDAY)

    assert first["tables_read"] == second["tables_read"] == {"bars": bars_version}
    assert first["table_version"] < second["table_version"] == shelf.tables.version("allocation")
    assert first["dagster/row_count"] == 1


def test_the_versions_recorded_lead_back_to_the_rows_as_they_were(shelf):
    shelf.write("bars", FRIDAY, bars(("SPY", FRIDAY, 610.0)))
    given, metadata = shelf.read("bars", FRIDAY)
    shelf.write("bars", FRIDAY, bars(("SPY", FRIDAY, 305.0)))

    then = shelf.tables.read("bars", FRIDAY, FRIDAY, version=metadata["tables_read"]["bars"])

    pd.testing.assert_frame_equal(then, given)
    assert list(shelf.tables.read("bars", FRIDAY, FRIDAY)["close"]) == [305.0]


def test_every_write_is_told(shelf):
    shelf.write("bars", THURSDAY, bars(("SPY", THURSDAY, 600.0)))
    shelf.write("allocation", FRIDAY, allocation(FRIDAY, SPY=1.0))

    assert shelf.told == [("bars", THURSDAY), ("allocation", FRIDAY)]


def kept(shelf):
    return written_beside(shelf.tables.root)


def test_upserted_rows_are_kept_a_second_time_by_version(shelf):
    first = shelf.write("bars", FRIDAY, bars(("SPY", THURSDAY, 600.0), ("SPY", FRIDAY, 610.0)))
    second = shelf.write("bars", FRIDAY, bars(("SPY", THURSDAY, 300.0)))

    assert kept(shelf).versions("bars") == {first["table_version"], second["table_version"]}
    for version in (first["table_version"], second["table_version"]):
        pd.testing.assert_frame_equal(kept(shelf).rows("bars", version), shelf.tables.read("bars", version=version))
    assert len(second["rows_sha256"]) == 64
    assert second["code_version"] == __version__


def test_what_an_older_table_holds_is_kept_before_its_first_change(shelf):
    shelf.tables.upsert("bars", bars(("SPY", THURSDAY, 600.0)))

    shelf.write("bars", FRIDAY, bars(("SPY", FRIDAY, 610.0)))

    pd.testing.assert_frame_equal(kept(shelf).rows("bars"), shelf.tables.read("bars"))
    assert kept(shelf).versions("bars") == {1, 2}


def test_tables_that_are_replaced_by_session_are_not_kept_twice(shelf):
    metadata = shelf.write("allocation", FRIDAY, allocation(FRIDAY, SPY=1.0))

    assert kept(shelf).is_empty("allocation")
    assert "rows_sha256" not in metadata
