"""What is recorded of signals, allocations, plans, orders, fills, states and settings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from trading_pipeline.domain.allocation import Allocation
from trading_pipeline.domain.audit import FOLLOWED, NUMBER, AuditDraft, AuditEvent, AuditRecord
from trading_pipeline.domain.canonical import Plain, plain
from trading_pipeline.domain.fills import Fill
from trading_pipeline.domain.orders import Plan
from trading_pipeline.domain.risk.trading_state import RecordedState
from trading_pipeline.domain.signals import Signal


@dataclass(frozen=True)
class Scribe:
    """Who records: when (UTC), in which run of Dagster's, by which code and settings."""

    at: datetime
    run_id: str = ""
    code_version: str = ""
    config_hash: str = ""

    def draft(
        self, event: AuditEvent, payload: Mapping[str, object], actor: str, correlation_id: str, causation_id: str = ""
    ) -> AuditDraft:
        """Return a draft of an event; raises InvalidInput where a value of the payload has no plain form."""
        return AuditDraft(
            event=event.value,
            payload=plain(payload),
            at=self.at,
            actor=actor,
            correlation_id=correlation_id,
            causation_id=causation_id,
            run_id=self.run_id,
            code_version=self.code_version,
            config_hash=self.config_hash,
        )

    def signal(self, decided: Signal) -> AuditDraft:
        """Return the draft of what a strategy wants; it belongs to the session."""
        told = {
            "strategy": decided.strategy,
            "session": decided.session,
            "status": decided.status,
            "reason": decided.reason,
            "weights": decided.weights,
            "inputs_hash": decided.inputs_hash,
        }
        return self.draft(AuditEvent.SIGNAL, told, f"{decided.strategy}_signal", str(decided.session))

    def allocation(self, target: Allocation) -> AuditDraft:
        """Return the draft of the account's target; it belongs to the session."""
        told = {
            "session": target.session,
            "weights": target.weights,
            "cash": target.cash,
            "contributions": target.contributions,
        }
        return self.draft(AuditEvent.ALLOCATION, told, "allocation", str(target.session))

    def plan(self, plan: Plan, actor: str = "approved_orders") -> Sequence[AuditDraft]:
        """Return the drafts of a plan and of the risk engine's word on each order of it.

        The plan belongs together under its id and comes of its session; a
        decision belongs to the order, and comes of the plan.
        """
        whole = plain(plan)
        orders = {order["client_order_id"]: order for order in whole["orders"]}
        told = {name: value for name, value in whole.items() if name not in {"orders", "decisions"}}
        told["orders"] = list(orders)
        first = self.draft(AuditEvent.PLAN, told, actor, plan.plan_id, str(plan.session))
        return [first, *(self._decision(made, orders, plan.plan_id) for made in whole["decisions"])]

    def _decision(self, made: dict[str, Plain], orders: Mapping[str, Plain], plan_id: str) -> AuditDraft:
        name = made["client_order_id"]
        told = {**made, "order": orders.get(name)}
        return self.draft(AuditEvent.RISK_DECISION, told, "risk engine", name, plan_id)

    def order(self, line: Mapping[str, object]) -> AuditDraft:
        """Return the draft of a line of the journal; it belongs to the intent, and comes of the plan."""
        name, plan_id = str(line["client_order_id"]), str(line["plan_id"])
        return self.draft(AuditEvent.ORDER, line, "order journal", name, plan_id)

    def fill(self, fill: Fill, intent: str, plan_id: str) -> AuditDraft:
        """Return the draft of an execution; it belongs to the intent, and comes of the plan."""
        return self.draft(AuditEvent.FILL, {**plain(fill), "intent": intent}, "fills", intent, plan_id)

    def state(self, number: int, entry: RecordedState | None) -> AuditDraft:
        """Return the draft of a change of the trading state; None is one that cannot be read."""
        name = f"trading_state:{number}"
        if entry is None:
            unread = {NUMBER: number, "is_readable": False}
            return self.draft(AuditEvent.TRADING_STATE, unread, "trading state", name)
        change = entry.state.change
        overrides = change is not None and change.overrides_risk
        event = AuditEvent.RISK_OVERRIDE if overrides else AuditEvent.TRADING_STATE
        told = {NUMBER: number, "written_at": entry.written_at, **plain(entry.state)}
        return self.draft(event, told, change.set_by if change else entry.state.set_by, name)

    def settings(self, values: Mapping[str, object]) -> AuditDraft:
        """Return the draft of the settings in force; ``values`` hold no secret."""
        told = {"code_version": self.code_version, "config_hash": self.config_hash, "values": values}
        return self.draft(AuditEvent.SETTINGS, told, "settings", self.config_hash)

    def acknowledged(self, alert_key: str, by: str, reason: str = "") -> AuditDraft:
        """Return the draft of a person's word that an alert was seen; it belongs to the alert's key."""
        return self.draft(AuditEvent.ALERT_ACKNOWLEDGED, {"key": alert_key, "reason": reason}, by, alert_key)

    def replaced(self, source: str, last: int) -> AuditDraft:
        """Return the draft that a source is not the one that was followed up to line ``last``."""
        told = {"source": source, "last_followed": last}
        return self.draft(AuditEvent.SOURCE_REPLACED, told, "audit log", source)


def lines_missing(recorded: Iterable[AuditRecord], there: Iterable[Mapping[str, object]]) -> Iterator[tuple[int, str]]:
    """Yield the number of each line of a source that the log says otherwise, or not at all, and which of both.

    ``recorded`` are the records of one source, ``there`` its lines, both by
    their numbers. Lines beyond the last that was recorded wait for their turn,
    and are not missing. What only one of both says of a line is not compared.
    """
    known: dict[int, Mapping[str, Plain]] = {}
    for record in recorded:
        if record.event == AuditEvent.SOURCE_REPLACED:
            known = {}
        else:
            known[record.payload[NUMBER]] = record.payload
    last = max(known, default=0)
    for line in map(plain, there):
        number = line[NUMBER]
        if number in known and any(known[number].get(name, value) != value for name, value in line.items()):
            yield number, "the log says otherwise"
        elif number not in known and number < last:
            yield number, "the log does not hold it"


def of_source(records: Iterable[AuditRecord], source: str) -> Iterator[AuditRecord]:
    """Yield those of ``records`` that are of lines of ``source``, or tell that another took its place."""
    for record in records:
        is_other = record.event == AuditEvent.SOURCE_REPLACED and record.payload.get("source") == source
        if is_other or FOLLOWED.get(record.event) == source:
            yield record
