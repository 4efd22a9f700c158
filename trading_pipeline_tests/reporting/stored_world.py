"""The small account of the reports' tests in real tables, plans and alerts of a folder, without a broker."""

from trading_pipeline.adapters.storage.home import home_of
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.settings import Settings
from trading_pipeline_tests.builders import HeldTradingState, TurnedClock, make_plan
from trading_pipeline_tests.reporting.session_tables import BEFORE, SESSION, WRITTEN, HeldTables, frame, usual_rows


def stored_world(folder, settings=None, rows=None):
    """A world whose tables hold ``rows``; its clock and trading state are held in memory."""
    chosen = settings or Settings()
    world = TradingWorld(chosen, home_of(chosen, folder).prepared())
    fill_tables(world, usual_rows() if rows is None else rows)
    for session in (BEFORE, SESSION):
        world.plans.put_if_absent(make_plan(session=session))
    # No broker is there to ask.
    world.__dict__["clock"] = TurnedClock(WRITTEN)
    world.__dict__["trading_state"] = HeldTradingState()
    return world


def fill_tables(world, rows):
    """Write the rows of every table, and those of ``performance`` that follow from them."""
    for name in [*rows, "performance"]:
        found = HeldTables(rows).read(name) if name == "performance" else frame(name, rows[name])
        for session in sorted(set(found["session"])):
            own = found[found["session"] == session].reset_index(drop=True)
            world.tables.replace_session(name, session, own)
