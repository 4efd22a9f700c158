import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

import pytest

from trading_pipeline.adapters.alpaca.transport import PAPER_URL
from trading_pipeline.adapters.storage.home import HOME_VARIABLE, home_of
from trading_pipeline.defs.resources import LIVE_URL, TradingWorld, open_world
from trading_pipeline.domain.errors import InvalidInput, TradingHalted
from trading_pipeline.domain.portfolio import Portfolio
from trading_pipeline.settings import PREFIX, BrokerSettings, Mode, ObservabilitySettings, Settings, StrategySettings

KEYS = {"key_id": "AK", "secret_key": "secret"}


@pytest.fixture
def world_of(tmp_path):
    def make(**settings):
        chosen = Settings(**settings)
        return TradingWorld(chosen, home_of(chosen, tmp_path))

    return make


@pytest.mark.parametrize(
    ("mode", "url", "ours", "foreign"),
    [
        (Mode.PAPER, PAPER_URL, ["PA3XYZ123456"], ["SIM123456789", "123456789"]),
        (Mode.LIVE, LIVE_URL, ["987654321"], ["123456789", "PA000654321", "SIM000654321"]),
    ],
)
def test_each_mode_trades_at_its_own_address_and_knows_its_accounts(world_of, mode, url, ours, foreign):
    endpoint = world_of(mode=mode, broker=BrokerSettings(**KEYS, live_account="654321")).endpoint

    assert endpoint.connection.trading_url == url
    assert [account for account in [*ours, *foreign] if endpoint.fits(account)] == ours


@pytest.mark.parametrize("wanted", [True, False])
def test_metrics_are_recorded_in_the_home_folder_where_they_are_wanted(world_of, wanted):
    world = world_of(observability=ObservabilitySettings(metrics=wanted))
    world.home.prepared()

    world.metrics.count("orders_total")

    assert world.home.metrics.exists() == wanted


def test_a_run_logs_as_the_settings_say(tmp_path):
    script = (
        "import structlog\n"
        "from dagster import build_init_resource_context\n"
        "from trading_pipeline.defs.resources import world\n"
        "world(build_init_resource_context())\n"
        "structlog.get_logger('trading_pipeline.x').warning('hello')\n"
        "structlog.get_logger('trading_pipeline.x').info('unheard')\n"
    )
    chosen = {"LOG_FORMAT": "json", "LOG_LEVEL": "warning"}
    variables = {f"{PREFIX}OBSERVABILITY__{name}": value for name, value in chosen.items()}
    environment = {"PATH": os.environ["PATH"], HOME_VARIABLE: str(tmp_path), **variables}

    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["hello"]


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.LIVE])
def test_without_keys_the_message_names_the_variables(world_of, mode):
    with pytest.raises(InvalidInput, match=f"mode {mode} needs keys: set APCA_API_KEY_ID and APCA_API_SECRET_KEY"):
        _ = world_of(mode=mode, broker=BrokerSettings(live_account="654321")).endpoint


def test_without_a_simulator_the_message_names_the_commands(world_of):
    with pytest.raises(InvalidInput, match=r"no simulator is running for .*`trading-pipeline dev` starts one"):
        _ = world_of().endpoint


def test_an_account_of_another_mode_halts_and_shows_four_characters_of_it(world_of):
    world = world_of(mode=Mode.PAPER, broker=BrokerSettings(**KEYS))
    met = Portfolio("123456789", datetime(2026, 7, 31, tzinfo=UTC), Decimal(1))
    world.broker = SimpleNamespace(portfolio=lambda: met)

    with pytest.raises(TradingHalted, match=r"mode paper met account \.\.\.6789") as halted:
        world.portfolio()

    assert met.account_number not in str(halted.value)


def test_capital_for_a_strategy_that_nobody_defines_is_refused(world_of):
    with pytest.raises(InvalidInput, match="capital_shares names klmm; known strategies are nuclear, tecl"):
        world_of(strategies=StrategySettings(capital_shares={"tecl": 0.5, "klmm": 0.5}))


def test_prices_are_said_to_come_from_where_they_come(world_of, tmp_path):
    assert world_of().market == "synthetic"
    assert world_of(simulator={"bars": tmp_path / "mine.parquet"}).market == "simulated on mine.parquet"
    assert world_of(mode=Mode.PAPER).market == "Alpaca, paper account"


def test_the_environment_chooses_folder_and_settings(tmp_path):
    world = open_world({HOME_VARIABLE: str(tmp_path / "mine"), "TRADING_PIPELINE__SIMULATOR__SEED": "11"})

    assert world.home.folder == tmp_path / "mine" / "simulated-generated-11"
    assert world.home.tables.is_dir()


def test_every_symbol_of_every_strategy_is_fetched_and_the_safe_asset(world_of):
    assert {"SPY", "TQQQ", "KMLM", "LEU", "BIL"} <= set(world_of().symbols)
    assert list(world_of().symbols) == sorted(set(world_of().symbols))
