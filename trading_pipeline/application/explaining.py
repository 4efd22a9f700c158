"""From an execution back to the bars: fill, order, risk decision, plan, allocation, signals, readings, bars."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from trading_pipeline.application import planning
from trading_pipeline.application.evidence import signal_step
from trading_pipeline.application.records import Chain, Records
from trading_pipeline.application.sized_allocation import first_session, sized_allocation
from trading_pipeline.application.tracing import AuditMark, Grid, Noun, Origin, Step, instant, the_one
from trading_pipeline.domain.allocation import Allocation, Contribution, SleeveStatus
from trading_pipeline.domain.audit import AuditEvent
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import CASH
from trading_pipeline.domain.orders import ArchivedDecision, OrderIntent, Plan, PlanPurpose
from trading_pipeline.domain.risk.decisions import BreachCode
from trading_pipeline.domain.sizing.options import SizingOptions

if TYPE_CHECKING:
    from trading_pipeline.domain.portfolio import Portfolio
    from trading_pipeline.ports import JournalEntry

RUN_FIRST = "`trading-pipeline run` makes some; --home names the folder where they are"
STANDING = {
    SleeveStatus.DECIDED: "decided by its signal",
    SleeveStatus.HELD: "held as it was, near its target",
    SleeveStatus.CARRIED: "carried for want of a signal",
    SleeveStatus.FALLBACK: "parked in its safe asset",
    SleeveStatus.CASH: "cash, with nothing to carry",
}


@dataclass(frozen=True)
class Explainer:
    """Answers from what is recorded. ``sizing`` and ``whole_shares`` are the settings of now."""

    records: Records
    sizing: SizingOptions
    whole_shares: bool = False

    def fill(self, asked: str) -> tuple[Step, Plan]:
        """Explain the execution whose id is, or alone begins with, ``asked``.

        Raises:
            InvalidInput: there is none, or several.
            DataError: the plan behind it is gone.
        """
        fills = self.records.tables.read("fills").sort_values("filled_at", ascending=False)
        execution_id = the_one(asked, fills["execution_id"].tolist(), "fill", RUN_FIRST)
        row = fills[fills["execution_id"] == execution_id].to_dict("records")[0]
        plan = self._plan(row["session"], row["plan_id"])
        found = self.records.runs.newest("fills", row["session"])
        origin = self.records.origin_of(
            found, "fills", self._audited(AuditEvent.FILL, row["client_order_id"], execution_id)
        )
        verb = "bought" if row["side"] == "buy" else "sold"
        title = f"{execution_id}: {verb} {_amount(row['quantity'])} {row['symbol']} at {_amount(row['price'])} dollars"
        facts = (
            ("filled at", instant(row["filled_at"])),
            ("value", f"{row['quantity'] * row['price']:,.2f} dollars"),
            ("commission", f"{_amount(row['commission'])} dollars"),
            ("session", f"decided on {row['session']}, executed in {row['execution_session']}"),
        )
        below = (self._order(plan, row["client_order_id"]),)
        return Step(Noun.FILL, title, facts, origin, below=below), plan

    def order(self, asked: str) -> tuple[Step, Plan]:
        """Explain the order whose client order id, or that of one of its slices, is or alone begins with ``asked``.

        Raises:
            InvalidInput: there is none, or several.
            DataError: the plan behind it is gone.
        """
        known = self._known_orders()
        name = the_one(asked, list(known), "order", RUN_FIRST)
        order_id, session, plan_id = known[name]
        plan = self._plan(session, plan_id)
        return self._order(plan, order_id), plan

    def allocation(self, session: date, symbol: str = "") -> tuple[Step, Chain]:
        """Explain the target of a session, all of it or one symbol's weight.

        Raises:
            InvalidInput: the session was not decided, or the symbol has no weight in it.
        """
        chain = self._chain(session)
        target = self.records.allocation(chain)
        if target is None:
            decided = self.records.tables.read("allocation")["session"].unique().tolist()
            newest = ", ".join(str(each) for each in sorted(decided, reverse=True)[:5]) or "none"
            raise InvalidInput(f"session {session} has no allocation; the newest that have one: {newest}. {RUN_FIRST}")
        if symbol and not target.behind(symbol):
            there = ", ".join(part for part in dict.fromkeys(each.symbol for each in target.contributions))
            raise InvalidInput(f"{symbol} has no weight in the allocation of {session}; it holds {there}")
        return self._allocation(chain, target, symbol), chain

    def _audited(self, event: AuditEvent, correlation_id: str, about: str = "") -> tuple[AuditMark, ...]:
        return tuple(self.records.audit.of(event, correlation_id, about))

    def _known_orders(self) -> Mapping[str, tuple[str, date, str]]:
        """Return order, session and plan by every id that an order is known under, newest first."""
        approved = self.records.tables.read("approved_orders")
        quality = self.records.tables.read("execution_quality")
        fills = self.records.tables.read("fills")
        known: dict[str, tuple[str, date, str]] = {}
        for frame in (approved, fills, quality):
            name = "order_id" if frame is quality else "client_order_id"
            rows = frame.sort_values("session", ascending=False, kind="stable")
            for row in rows[[*{name, "client_order_id"}, "session", "plan_id"]].to_dict("records"):
                known.setdefault(row[name], (row["client_order_id"], row["session"], row["plan_id"]))
        for plan in self.records.liquidations():
            known.update(
                {order.client_order_id: (order.client_order_id, plan.session, plan.plan_id) for order in plan.orders}
            )
        return dict(sorted(known.items(), key=lambda each: each[1][1], reverse=True))

    def _plan(self, session: date, plan_id: str) -> Plan:
        found = list(self.records.plans_of(session))
        for plan in found:
            if plan.plan_id == plan_id:
                return plan
        raise InvalidInput(
            f"plan {plan_id} of session {session} is not among the stored plans "
            f"({', '.join(plan.plan_id for plan in found) or 'none'}); restore the folder of objects from a copy"
        )

    def _chain(self, session: date) -> Chain:
        plans = [plan for plan in self.records.plans_of(session) if plan.lineage]
        if plans:
            # An executable plan goes before a hypothetical one.
            return self.records.chain_of(max(plans, key=lambda plan: (not plan.hypothetical, plan.version)))
        signals = (f"{name}_signal" for name in self.records.strategies)
        return self.records.newest_chain(session, ("bars", "data_freshness", "indicators", *signals, "allocation"))

    def _order(self, plan: Plan, order_id: str) -> Step:
        history = [
            line
            for line in self.records.journal.history(plan.plan_id, plan.account_number)
            if line.client_order_id == order_id
        ]
        intent = next((each for each in plan.orders if each.client_order_id == order_id), None)
        facts = () if intent is None else _order_facts(intent)
        title = order_id if intent is None else f"{order_id}: {_sentence(intent)}"
        placed = self.records.runs.newest("fills", plan.session)
        recorded = self.records.origin_of(placed, "journal", self._audited(AuditEvent.ORDER, order_id))
        # A journal has lines and no versions; who placed the order recorded its fills in the same run.
        origin = replace(recorded, version=None, materialization_id=None, at=None)
        below = (self._decision(plan, order_id),)
        return Step(Noun.ORDER, title, facts, origin, _journal_grid(history), below=below)

    def _decision(self, plan: Plan, order_id: str) -> Step:
        decided, intended = plan.decision(order_id), self._intended(plan, order_id)
        origin = self.records.origin_of(
            self.records.runs.of_plan(plan.plan_id, plan.session),
            "approved_orders",
            self._audited(AuditEvent.RISK_DECISION, order_id),
        )
        # What stored the plan decided on its orders.
        origin = replace(origin, code_version=plan.code_version, config_hash=plan.config_hash)
        below = (self._plan_step(plan, order_id, intended),)
        if decided is None:
            return Step(Noun.RISK_DECISION, "none is kept with the plan", origin=origin, below=below)
        facts = [("may be sent", f"{_amount(decided.quantity)} shares")]
        if intended is not None:
            facts.insert(0, ("intended", f"{_amount(intended['quantity'])} shares"))
        return Step(Noun.RISK_DECISION, decided.decision, tuple(facts), origin, _limits_grid(decided), below=below)

    def _intended(self, plan: Plan, order_id: str) -> Mapping[str, Any] | None:
        version = self.records.chain_of(plan).version("order_plan")
        if version is None:
            return None
        rows = self.records.rows("order_plan", plan.session, plan.session, version)
        own: list[Any] = rows[rows["client_order_id"] == order_id].to_dict("records")
        return own[0] if own else None

    def _plan_step(self, plan: Plan, order_id: str, intended: Mapping[str, Any] | None) -> Step:
        chain = self.records.chain_of(plan)
        made = self.records.runs.of_plan(plan.plan_id, plan.session)
        run_id = made.entry.run_id if made else next((entry.run_id for entry in reversed(plan.lineage)), "")
        kind = "hypothetical, never executed" if plan.hypothetical else plan.purpose.value
        facts = (
            ("made at", instant(plan.created_at)),
            ("version", f"{plan.version} of session {plan.session}, for execution in {plan.execution_session}"),
            ("account", f"...{plan.account_number[-4:]}"),
            ("kind", kind),
            ("orders", f"{len(plan.orders)} approved of {len(plan.decisions)} decided"),
        )
        origin = Origin(
            run_id=run_id,
            materialization_id=made.entry.materialization_id if made else None,
            at=made.at if made else None,
            code_version=plan.code_version,
            config_hash=plan.config_hash,
            audit=self._audited(AuditEvent.PLAN, plan.plan_id),
        )
        symbol = intended["symbol"] if intended is not None else plan.symbols.get(order_id, "")
        if plan.purpose is PlanPurpose.LIQUIDATION or not plan.lineage:
            return Step(
                Noun.PLAN, f"{plan.plan_id}: gets out of positions, whatever the strategies want", facts, origin
            )
        return Step(Noun.PLAN, plan.plan_id, facts, origin, below=self._behind(chain, symbol))

    def _behind(self, chain: Chain, symbol: str) -> tuple[Step, ...]:
        target = self.records.allocation(chain)
        steps = [self._portfolio(chain, symbol)]
        if target is not None:
            steps.append(self._allocation(chain, target, symbol))
        return tuple(steps)

    def _held(self, chain: Chain) -> "Portfolio | None":
        version = chain.version("portfolio_snapshot")
        frame = self.records.rows("portfolio_snapshot", chain.session, chain.session, version)
        return None if version is None or frame.empty else planning.portfolio_from_frame(frame)

    def _portfolio(self, chain: Chain, symbol: str) -> Step:
        origin, held = self.records.origin(chain, "portfolio_snapshot"), self._held(chain)
        if held is None:
            return Step(Noun.PORTFOLIO, "no snapshot is kept", origin=origin)
        facts = [("equity", f"{held.equity:,.2f} dollars"), ("cash", f"{held.cash:,.2f} dollars")]
        position = held.positions.get(symbol)
        title = f"no {symbol} was held"
        if position is not None:
            weight = position.market_value / held.equity if held.equity > 0 else Decimal("NaN")
            title = f"{_amount(position.quantity)} {symbol} were held, {weight:.2%} of equity"
            facts.append(("valued at", f"{_amount(position.price)} dollars a share"))
        return Step(Noun.PORTFOLIO, title, (*facts, ("as of", instant(held.as_of))), origin)

    def _allocation(self, chain: Chain, target: Allocation, symbol: str) -> Step:
        before = self.records.allocation_before(chain)
        concerned = _concerned(target, before, symbol)
        parts = target.behind(symbol) if symbol else target.contributions
        title = f"{symbol} {_percent(target.weights.get(symbol, 0.0))} of equity" if symbol else _weights(target)
        if symbol == CASH:
            title = f"{CASH} {_percent(target.cash)} of equity"
        facts = [("session", str(chain.session)), ("before", _weight_before(before, symbol))] if symbol else []
        facts += self._sized(chain, target, symbol)
        below = tuple(signal_step(self.records, chain, target, name) for name in concerned)
        return Step(
            Noun.ALLOCATION,
            title,
            tuple(facts),
            self.records.origin(chain, "allocation", self._audited(AuditEvent.ALLOCATION, str(chain.session))),
            _parts_grid(parts),
            below=below,
        )

    def _sized(self, chain: Chain, target: Allocation, symbol: str) -> list[tuple[str, str]]:
        held = self._held(chain)
        if not self.sizing.parts:
            return [("sizing", "off: orders are for these weights")]
        if held is None:
            return [("sizing", "on; without a portfolio nothing was sized")]
        first = first_session(chain.session, self.sizing)
        bars = self.records.rows("bars", first, chain.session, chain.version("bars"))
        sized = sized_allocation(target, held, bars, self.sizing, whole_shares=self.whole_shares)
        names = [symbol] if symbol else sorted({*target.weights, *sized.allocation.weights})
        notes = {**sized.sizes.left_alone, **sized.sizes.missing, **sized.sizes.dropped}
        return [
            (
                f"sized {name}",
                f"{_percent(sized.wanted.weights.get(name, 0.0))} wanted, "
                f"{_percent(sized.allocation.weights.get(name, 0.0))} traded"
                + (f": {notes[name]}" if name in notes else ""),
            )
            for name in names
        ]


def _concerned(target: Allocation, before: Allocation | None, symbol: str) -> Sequence[str]:
    """Return the strategies that put something into the symbol, or did before; all of them where there is none."""
    parts = [*target.behind(symbol), *(before.behind(symbol) if before else ())] if symbol else []
    return list(dict.fromkeys(part.strategy for part in parts or target.contributions))


def _weight_before(before: Allocation | None, symbol: str) -> str:
    if before is None:
        return "no earlier allocation"
    weight = before.cash if symbol == CASH else before.weights.get(symbol, 0.0)
    return f"{_percent(weight)} on {before.session}"


def _parts_grid(parts: Iterable[Contribution]) -> Grid:
    rows = tuple(
        (part.symbol, part.strategy, _percent(part.weight), STANDING[part.status], str(part.decided_on))
        for part in parts
    )
    return Grid(("symbol", "strategy", "weight", "standing", "decided on"), rows)


def _journal_grid(history: Iterable["JournalEntry"]) -> Grid:
    rows = tuple(
        (
            str(line.number),
            instant(line.recorded_at),
            str(line.state),
            "itself" if line.order_id == line.client_order_id else line.order_id,
            "" if line.mid is None else _amount(line.mid),
            line.detail,
        )
        for line in history
    )
    return Grid(("line", "at", "state", "order", "mid", "detail"), rows)


def _limits_grid(decided: ArchivedDecision) -> Grid | None:
    told = [("breach", each) for each in decided.breaches] + [("warning", each) for each in decided.warnings]
    rows = tuple((kind, *_parted(text), _meaning(text)) for kind, text in told)
    return Grid(("kind", "code", "measured", "limit", "meaning"), rows) if rows else None


def _parted(text: str) -> tuple[str, str, str]:
    """Return code, measured and limit of a breach in the engine's words.

    >>> _parted("POSITION_WEIGHT 0.4 > 0.35"), _parted("ASSET_UNKNOWN FNGZ, wanted a symbol that the broker knows")
    (('POSITION_WEIGHT', '0.4', 'at most 0.35'), ('ASSET_UNKNOWN', 'FNGZ', 'a symbol that the broker knows'))
    """
    code, _, rest = text.partition(" ")
    if ", wanted " in rest:
        measured, _, limit = rest.partition(", wanted ")
        return code, measured, limit
    for sign, words in ((">", "at most"), ("<", "at least")):
        measured, found, limit = rest.partition(f" {sign} ")
        if found:
            return code, measured, f"{words} {limit}"
    return code, rest, ""


def _meaning(text: str) -> str:
    return {code.value: code.sentence for code in BreachCode}.get(text.partition(" ")[0], "")


def _order_facts(intent: OrderIntent) -> tuple[tuple[str, str], ...]:
    return (
        ("why", intent.reason),
        ("limit", "none" if intent.limit_price is None else f"{_amount(intent.limit_price)} dollars"),
        ("sized at", f"{_amount(intent.reference_price)} dollars a share"),
        ("good for", intent.time_in_force.value),
        ("place in the plan", str(intent.sequence)),
    )


def _sentence(intent: OrderIntent) -> str:
    return f"{intent.side.value} {_amount(intent.quantity)} {intent.symbol}, {intent.order_type.value}"


def _weights(target: Allocation) -> str:
    held = sorted({**target.weights, CASH: target.cash}.items(), key=lambda each: -each[1])
    return ", ".join(f"{symbol} {_percent(weight)}" for symbol, weight in held if weight > 0)


def _percent(weight: float) -> str:
    return f"{weight * 100:.2f}".rstrip("0").rstrip(".") + "%"


def _amount(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
