import dagster as dg
import pytest

from trading_pipeline.definitions import wired
from trading_pipeline.defs.resources import TradingWorld
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.instruments import AssetClass
from trading_pipeline.settings import Settings

TREND = """
(defsymphony "Trend" {:asset-class "EQUITIES", :rebalance-threshold 0.05}
  (weight-equal
    [(if (> (current-price "SPY") (moving-average-price "SPY" {:window 20}))
       [(asset "SPY" nil)]
       [(asset "HOLDING" nil)])]))
"""


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "strategies"
    path.mkdir()
    return path


@pytest.fixture
def chosen(folder):
    """Settings of a folder with one strategy that holds SPY or the symbol given."""

    def settings(holding="BIL", **more):
        (folder / "trend.symphony").write_text(TREND.replace("HOLDING", holding))
        return Settings(strategies={"folder": folder, "capital_shares": {"trend": 0.6, "tecl": 0.4}}, **more)

    return settings


def test_a_file_in_the_folder_gets_its_asset_its_contract_and_its_place_in_the_job(chosen):
    graph = wired(chosen(), world=object(), tables=dg.mem_io_manager)

    specs = {spec.key.to_user_string(): spec for spec in graph.resolve_all_asset_specs()}
    checked = {spec.asset_key.to_user_string() for checks in graph.asset_checks for spec in checks.check_specs}
    selected = graph.resolve_job_def("decide").asset_layer.asset_graph
    assert specs["trend_signal"].group_name == "signals"
    assert specs["trend_signal"].description.startswith("Trend: Symphony of trend.symphony")
    assert dg.AssetKey("trend_signal") in {dep.asset_key for dep in specs["allocation"].deps}
    assert "trend_signal" in checked
    assert dg.AssetKey("trend_signal") in selected.get_all_asset_keys()


@pytest.mark.unmeasured
def test_it_is_decided_and_given_its_capital(chosen, fresh_market, graph_of):
    session = fresh_market.close_next_session()
    with dg.DagsterInstance.ephemeral() as instance:
        line = graph_of(TradingWorld(chosen(), fresh_market.home), instance)
        result = line.run("decide", session)

    assert result.success
    [held] = line.rows("trend_signal", session).to_dict("records")
    sleeve = line.rows("allocation", session).set_index("strategy").loc["trend"]
    assert (held["strategy"], held["status"], held["weight"]) == ("trend", "available", 1.0)
    assert (sleeve["symbol"], sleeve["weight"]) == (held["symbol"], 0.6)
    account = line.world.portfolio().account_number
    assert "trend_signal" in {entry.asset for entry in line.world.plans.versions(account, session)[-1].lineage}


def test_what_nobody_knows_may_not_be_held_with_capital_until_it_is_described(chosen, fresh_market):
    with pytest.raises(InvalidInput, match=r"trend has capital and may hold XYZ, .*instruments, as \{XYZ: "):
        TradingWorld(chosen("XYZ"), fresh_market.home)

    described = {"XYZ": {"asset_class": "equity sector", "leverage": -2}}
    world = TradingWorld(chosen("XYZ", instruments=described), fresh_market.home)

    assert world.instruments["XYZ"].asset_class is AssetClass.EQUITY_SECTOR
    assert world.instruments["XYZ"].leverage == -2
    assert "XYZ" in world.symbols


def test_a_strategy_without_capital_is_watched_and_may_hold_anything(chosen, fresh_market):
    watched = chosen("XYZ").model_copy(
        update={"strategies": chosen("XYZ").strategies.model_copy(update={"capital_shares": {"nuclear": 1.0}})}
    )

    assert "trend" in TradingWorld(watched, fresh_market.home).strategies


def test_a_file_that_cannot_be_used_is_named_when_the_graph_is_asked_for(chosen, folder):
    settings = chosen()
    (folder / "wrong.edn").write_text("(defsymphony")

    with pytest.raises(InvalidInput, match=r"wrong\.edn:1:"):
        wired(settings, world=object())
