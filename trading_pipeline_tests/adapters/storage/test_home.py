import os
from pathlib import Path

import pytest
import yaml

from trading_pipeline.adapters.storage.home import Home, home_of
from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import load_settings


def home(root, environment=None, **simulator):
    settings = load_settings(None, environment or {}).settings
    chosen = settings.simulator.model_copy(update=simulator)
    return home_of(settings.model_copy(update={"simulator": chosen}), root)


def test_everything_of_one_market_lies_below_one_folder(tmp_path):
    own = home(tmp_path)

    assert own.folder == tmp_path / "simulated-generated-7"
    for part in (own.tables, own.objects, own.journal, own.metrics, own.alerts, own.dagster, own.simulator, own.lock):
        assert part.is_relative_to(own.folder)


def test_the_folder_of_a_relative_root_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert home(Path("somewhere")).folder == tmp_path / "somewhere" / "simulated-generated-7"


def test_markets_and_accounts_never_share_a_folder(tmp_path):
    live = {"TRADING_MODE": "live", "TRADING_LIVE_ACCOUNT": "123456"}
    folders = [
        home(tmp_path),
        home(tmp_path, seed=8),
        home(tmp_path, bars=Path("/data/bars.parquet")),
        home(tmp_path, bars=Path("/other/bars.parquet")),
        home(tmp_path, {"TRADING_MODE": "paper"}),
        home(tmp_path, live),
    ]

    assert len({own.folder for own in folders}) == len(folders)
    assert folders[2].folder.name.startswith("simulated-bars-")
    assert [own.folder.name for own in folders[4:]] == ["paper", "live"]


def test_the_same_file_leads_to_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert home(tmp_path, bars=Path("bars.csv")) == home(tmp_path, bars=tmp_path / "bars.csv")


def test_preparing_makes_the_folders_and_a_quiet_dagster(tmp_path):
    own = home(tmp_path).prepared()

    assert all(part.is_dir() for part in (own.tables, own.objects, own.dagster, own.simulator))
    assert own.lock.is_file()
    written = yaml.safe_load((own.dagster / "dagster.yaml").read_text(encoding="utf-8"))
    assert written["telemetry"] == {"enabled": False}
    assert written["freshness"] == {"enabled": True}
    assert written["concurrency"]["runs"]["max_concurrent_runs"] == 1


def test_preparing_again_keeps_what_a_person_changed(tmp_path):
    own = home(tmp_path).prepared()
    (own.dagster / "dagster.yaml").write_text("telemetry:\n  enabled: true\n", encoding="utf-8")

    own.prepared()

    assert "true" in (own.dagster / "dagster.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", ["", "tables"])
def test_a_file_in_the_place_of_a_folder_is_named_with_the_remedy(tmp_path, place):
    own = Home(tmp_path / "home")
    blocked = own.folder / place if place else own.folder
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way", encoding="utf-8")

    with pytest.raises(InvalidInput, match=r"home.* cannot be written \(.*\); choose another folder with --home"):
        own.prepared()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(InvalidInput, match="cannot be written"):
        Home(tmp_path / "home").prepared()


def test_one_file_of_bars_is_one_market_however_it_is_spelled(tmp_path):
    (tmp_path / "bars.csv").touch()
    (tmp_path / "aside").mkdir()
    spellings = [tmp_path / "bars.csv", tmp_path / "aside" / ".." / "bars.csv"]

    assert len({home(tmp_path, bars=path).folder for path in spellings}) == 1
