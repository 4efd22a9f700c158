"""Rehearsal of quotes that are too old: what they would price waits, the rest goes on."""

from trading_pipeline.application.execution import execute
from trading_pipeline.cli.drills.script import Script
from trading_pipeline.cli.drills.stage import Stage
from trading_pipeline.ports import IntentState

# Not the fund that stands for the market: without its quotes nothing at all is sent.
FRESH, STALE = "GLD", ("TLT", "TQQQ")


def rehearse(stage: Stage, script: Script) -> None:
    """Make the quotes of two of three symbols old, execute a plan, and let them be new again."""
    venue, rules = stage.world.venue, stage.world.rules
    age = rules.quote_age.total_seconds()
    with script.step(f"quotes of {' and '.join(STALE)} are older than {age / 60:g} minutes") as step:
        for symbol in STALE:
            stage.control.set_symbol(symbol, quote_age=age * 4)
        now, quotes = venue.clock.now(), venue.market_data.quotes(STALE)
        oldest = min((now - quote.at).total_seconds() for quote in quotes.values())
        step.verify(f"the newest of them is {oldest / 60:.0f} minutes old", right=oldest > age)
    plan = stage.sales(1, [*STALE, FRESH])
    with script.step("a plan sells a share of each") as step:
        before, sent = stage.held(), stage.sent
        done = execute(plan, venue, rules)
        after, states = stage.held(), {plan.symbols[entry.client_order_id]: entry for entry in done.entries}
        for symbol in STALE:
            entry = states[symbol]
            is_parked = entry.state is IntentState.PARKED and bool(entry.detail)
            step.verify(f"{symbol} {entry.state}: {entry.detail}", right=is_parked and after[symbol] == before[symbol])
        step.verify(f"{FRESH} {states[FRESH].state}", right=before[FRESH] - after[FRESH] == 1)
        step.verify(f"{stage.sent - sent} order reached the broker", right=stage.sent - sent == 1)
    with script.step("quotes are new again") as step:
        for symbol in STALE:
            stage.control.set_symbol(symbol, quote_age=0)
        done = execute(plan, venue, rules)
        sold = {symbol: before[symbol] - stage.held()[symbol] for symbol in before}
        step.verify(f"{len(done.unresolved)} orders wait", right=not done.unresolved)
        step.verify(
            f"{stage.sent - sent} orders in all, one share of each sold",
            right=stage.sent - sent == len(plan.orders) and all(sold[symbol] == 1 for symbol in (*STALE, FRESH)),
        )
