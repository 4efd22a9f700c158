"""The simulated days of ``run``: the clock is stepped from decision to execution, session by session."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from trading_pipeline.application.execution import plan_in_force
from trading_pipeline.application.planning import valued_at
from trading_pipeline.cli.workshop import Graph, failure_of
from trading_pipeline.domain import sessions
from trading_pipeline.domain.errors import InvalidInput

if TYPE_CHECKING:
    import pandas as pd

    from trading_pipeline.cli.console import Progress
    from trading_pipeline.simulator.control import SimulatorControl

DECIDE_AFTER_CLOSE = timedelta(minutes=30)


@dataclass(frozen=True)
class Day:
    """What one execution session brought.

    ``turnover`` is what was traded as a fraction of equity, ``equity`` dollars
    at the session's close; None where not known. ``trouble`` is empty when all
    went as it should.
    """

    session: date
    signals: str
    turnover: float | None
    orders: int
    fills: str
    equity: float | None
    trouble: str


def decision_time(session: date) -> datetime:
    """Return the instant at which the simulated decision of ``session`` is made."""
    return sessions.close_of(session) + DECIDE_AFTER_CLOSE


def execution_sessions(through: date, count: int) -> Sequence[date]:
    """Return the ``count`` sessions up to ``through``, oldest first.

    Raises:
        InvalidInput: ``through`` is not a session, or ``count`` is below 1.
    """
    if count < 1:
        raise InvalidInput(f"--sessions must be at least 1, was {count}")
    return sessions.sessions_between(sessions.previous_session(through, count - 1), through)


class Days:
    """Decides sessions, places their orders and says what they brought."""

    def __init__(self, graph: Graph, progress: "Progress") -> None:
        """Take the graph and where to say what is being done."""
        self._graph = graph
        self._progress = progress
        self._account = graph.world.portfolio().account_number

    def due_now(self) -> Day:
        """Decide the newest session that is over, where that is still due, and place orders if their time is now."""
        decided_on = sessions.last_completed_session(self._graph.world.clock.now())
        session = sessions.next_session(decided_on)
        trouble = self._decided(decided_on) or self._placed(session)
        return self._day(session, trouble, float(self._graph.world.portfolio().equity))

    def _decided(self, session: date) -> str:
        world = self._graph.world
        if world.journal.claimed(self._account, session) is not None:
            return ""
        self._progress.say(f"{session}: deciding from the bars of the session")
        result = self._graph.run("decide", str(session))
        return "" if result.success else failure_of(result)

    def _placed(self, session: date) -> str:
        self._progress.say(f"{session}: looking whether orders may be placed")
        requests, reason = self._graph.placements()
        if not requests:
            return f"no orders placed: {reason}"
        for request in requests:
            self._progress.say(f"{session}: placing the orders of plan {request.run_key}")
            result = self._graph.place(request)
            if not result.success:
                return failure_of(result)
        return ""

    def _day(self, session: date, trouble: str, equity: float | None) -> Day:
        decided_on = sessions.previous_session(session)
        fills = self._rows("fills", decided_on)
        return Day(
            session=session,
            signals=self._signals(decided_on),
            turnover=_turnover(fills, self._snapshot_equity(decided_on)),
            orders=len(self._rows("approved_orders", decided_on)),
            fills=_counts(fills),
            equity=equity,
            trouble=trouble,
        )

    def _rows(self, table: str, session: date) -> "pd.DataFrame":
        return self._graph.world.tables.read(table, session, session)

    def _signals(self, session: date) -> str:
        shares = self._graph.world.settings.strategies.capital_shares
        return "\n".join(f"{name}: {_weights(self._rows(f'{name}_signal', session))}" for name in shares)

    def _snapshot_equity(self, session: date) -> float | None:
        snapshot = self._rows("portfolio_snapshot", session)
        return float(sum(snapshot["market_value"])) if len(snapshot) else None


class SimulatedDays(Days):
    """Runs sessions from bars to fills on a simulator whose clock stands still unless it is moved."""

    def __init__(self, graph: Graph, control: "SimulatorControl", progress: "Progress") -> None:
        """Take the graph, the simulator's controls and where to say what is being done."""
        super().__init__(graph, progress)
        self._control = control

    def run(self, execution: Sequence[date]) -> Iterator[Day]:
        """Bring each execution session to its end, oldest first, and say what it brought.

        A session that is finished is only reported.

        Raises:
            InvalidInput: a session's time is over on the simulator's clock and it was never traded.
        """
        for session in execution:
            trouble = "" if self._is_finished(session) else self._traded(session)
            self._step_to(decision_time(session))
            yield self._day(session, trouble, self._equity(session))

    def _is_finished(self, session: date) -> bool:
        decided_on = sessions.previous_session(session)
        world = self._graph.world
        if world.journal.claimed(self._account, decided_on) is None:
            return False
        plan = plan_in_force(world.plans, world.journal, self._account, decided_on)
        entries = world.journal.entries(plan.plan_id, self._account) if plan else ()
        return all(entry.state.is_terminal for entry in entries)

    def _traded(self, session: date) -> str:
        decided_on = sessions.previous_session(session)
        self._refuse_past(session)
        self._step_to(decision_time(decided_on))
        trouble = self._decided(decided_on)
        if trouble:
            return trouble
        self._step_to(self._graph.world.rules.window(session).start)
        return self._placed(session)

    def _refuse_past(self, session: date) -> None:
        now, window = self._control.now(), self._graph.world.rules.window(session)
        if now >= window.end:
            raise InvalidInput(
                f"the simulated clock stands at {now.isoformat()}, after the execution window of {session}, which was "
                f"not traded; time does not run backwards: choose sessions after it, or another folder with --home"
            )

    def _step_to(self, instant: datetime) -> None:
        if self._control.now() < instant:
            self._control.set_clock(instant)

    def _equity(self, session: date) -> float | None:
        later = self._snapshot_equity(session)
        if later is not None:
            return later
        return self._closing_equity(session) if self._control.now() == decision_time(session) else None

    def _closing_equity(self, session: date) -> float:
        # At the closes of the bars, as the next decision will value it: the broker rounds its prices to the tick.
        from trading_pipeline.application.symbol_facts import closes

        portfolio = self._graph.world.portfolio()
        bars = self._graph.world.market_data.daily_bars(sorted(portfolio.positions), session, session)
        return float(valued_at(portfolio, closes(bars)).equity)


def _weights(signal: "pd.DataFrame") -> str:
    if signal.empty:
        return "not decided"
    if signal["status"].iloc[0] != "available":
        return f"unavailable, {signal['reason'].iloc[0]}"
    held = signal.sort_values("weight", ascending=False)
    return ", ".join(
        f"{symbol} {_percent(weight)}" for symbol, weight in zip(held["symbol"], held["weight"], strict=True)
    )


def _percent(weight: float) -> str:
    return f"{weight:.1%}".replace(".0%", "%")


def _counts(fills: "pd.DataFrame") -> str:
    bought, sold = ((fills["side"] == side).sum() for side in ("buy", "sell"))
    return f"{bought} bought, {sold} sold"


def _turnover(fills: "pd.DataFrame", equity: float | None) -> float | None:
    return float(sum(fills["quantity"] * fills["price"])) / equity if equity else None
