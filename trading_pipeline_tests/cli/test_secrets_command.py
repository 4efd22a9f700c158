import pytest
from typer.testing import CliRunner

from trading_pipeline.adapters.storage.home import HOME_VARIABLE, home_of
from trading_pipeline.cli.secrets import secrets, warn_of_secrets_in_environment
from trading_pipeline.settings import Settings, load_settings

SECRET = "s3cr3t/of+the broker"


@pytest.fixture
def scan(monkeypatch, tmp_path):
    monkeypatch.setenv("APCA_API_KEY_ID", "KEYOFTHEACCOUNT")
    monkeypatch.setenv("APCA_API_SECRET_KEY", SECRET)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return lambda *paths: CliRunner().invoke(secrets, ["scan", *map(str, paths)])


def test_nothing_found_ends_with_0_something_with_1_and_what_cannot_be_read_with_2(scan, tmp_path):
    clean, dirty = tmp_path / "clean.log", tmp_path / "dirty.log"
    clean.write_text("fine\n")
    dirty.write_text(f"fine\nkey={SECRET}\n")

    assert scan(clean).exit_code == 0
    assert scan(clean, tmp_path / "gone.log").exit_code == 2
    found = scan(clean, dirty, tmp_path / "gone.log")
    assert found.exit_code == 1
    assert f"{dirty}:2: the value of broker.secret_key ********" in found.output
    assert SECRET not in found.output


def test_a_home_folder_that_is_none_was_not_scanned(scan, tmp_path):
    gone = scan()
    (tmp_path / "home").write_text("a file where the folder should be")
    blocked = scan()

    assert (gone.exit_code, blocked.exit_code) == (2, 2)
    assert "there is no folder" in gone.stderr
    assert "files" not in gone.stderr
    home_of(Settings(), tmp_path / "set up").prepared()
    assert scan("--home", tmp_path / "set up").exit_code == 0


def test_a_variable_that_is_none_of_the_settings_is_warned_of(scan, monkeypatch, capsys):
    monkeypatch.setenv("OLD_BACKUP", SECRET)
    import os

    warn_of_secrets_in_environment(load_settings(None, os.environ).settings)

    told = capsys.readouterr().err
    assert "OLD_BACKUP" in told
    assert "APCA" not in told
    assert SECRET not in told
