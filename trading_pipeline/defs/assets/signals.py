"""Group signals: one asset for each strategy, from one factory."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd

from trading_pipeline.application.decision import signal_of
from trading_pipeline.defs import metadata
from trading_pipeline.defs.assets.table_asset import table_asset
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.defs.signal_names import signal_name
from trading_pipeline.domain.readings import IndicatorPanel
from trading_pipeline.domain.signals import Signal, to_frame
from trading_pipeline.domain.strategies import Strategy, tree
from trading_pipeline.domain.strategies.rationale import Rationale, explain
from trading_pipeline.domain.strategies.rationale_data import to_data
from trading_pipeline.domain.strategies.rationale_text import to_text
from trading_pipeline.reporting.strategy_drawing import strategy_drawing

GROUP = "signals"
MOST_LINES = 200
MOST_STEPS = 300
"""A path is as long as its strategy is; the record of a session stays small."""


def signal_asset(strategy: Strategy) -> dg.AssetsDefinition:
    """Return the asset that holds what ``strategy`` wants each session."""

    @table_asset(signal_name(strategy.name), GROUP, description=f"{strategy.title}: {strategy.description}")
    def signal(context: dg.AssetExecutionContext, indicators: pd.DataFrame) -> dg.Output[pd.DataFrame]:
        world: TradingWorld = context.resources.world
        panel = IndicatorPanel.from_frame(indicators)
        begun = world.wall.elapsed()
        decided = signal_of(strategy, panel, world.smoothing)
        decision_seconds = world.wall.elapsed() - begun
        world.metrics.observe("decision_seconds", decision_seconds, strategy=strategy.name)
        path = explain(
            strategy.tree,
            panel.last(tree.trailing_sessions(strategy.tree, world.smoothing)),
            smoothing=world.smoothing,
        )
        event = strategy_signal(decided, world.clock.now())
        context.log.info(json.dumps(event))
        world.audit.record([world.audit.scribe(context.run.run_id).signal(decided)])
        frame = to_frame(decided)
        return metadata.materialised(
            context,
            frame,
            {
                "status": decided.status.value,
                "reason": decided.reason or "",
                "weights": metadata.table(frame[["symbol", "weight"]].dropna()),
                "inputs_hash": decided.inputs_hash,
                "decision_seconds": decision_seconds,
                "strategy_signal": dg.MetadataValue.json(event),
                **explanation(strategy.name, path),
            },
        )

    return signal


def strategy_signal(decided: Signal, at: datetime) -> dict[str, Any]:
    """Return the event of a decision made at the UTC instant ``at``."""
    return {
        "event": "strategy_signal",
        "strategy": decided.strategy,
        "session": decided.session.isoformat(),
        "status": decided.status.value,
        "reason": decided.reason,
        "symbols": dict(decided.weights),
        "inputs_hash": decided.inputs_hash,
        "decided_at": at.isoformat(),
    }


def explanation(strategy: str, path: Rationale) -> Mapping[str, dg.MetadataValue[Any]]:
    """Return why a signal is what it is: as text, as a drawing, and as data."""
    drawing = base64.b64encode(strategy_drawing(path, strategy).encode()).decode()
    # Names of groups come from anywhere: none of them may end the fence.
    text = to_text(path, strategy, MOST_LINES).replace("```", "'''")
    return {
        "rationale": dg.MetadataValue.md(f"```text\n{text}\n```"),
        "decision_path": dg.MetadataValue.md(f"![the path of the session](data:image/svg+xml;base64,{drawing})"),
        "rationale_data": dg.MetadataValue.json(_abridged(to_data(path))),
    }


def _abridged(data: dict[str, Any]) -> dict[str, Any]:
    steps = data["steps"]
    return {**data, "steps": steps[:MOST_STEPS], "steps_left_out": max(len(steps) - MOST_STEPS, 0)}
