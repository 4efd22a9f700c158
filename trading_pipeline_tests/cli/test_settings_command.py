import pytest
from typer.testing import CliRunner

from trading_pipeline.cli import console
from trading_pipeline.cli.app import app
from trading_pipeline.settings import load_settings


def shown(*arguments, **environment):
    return CliRunner().invoke(app, ["settings", *map(str, arguments)], env=environment)


def line_of(result, name):
    [line] = [line for line in result.stdout.splitlines() if line.split()[:1] == [name]]
    return line


def test_every_setting_is_shown_with_its_value_and_source(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text("orders:\n  band: 0.02\n")

    result = shown("--settings", path, TRADING_PIPELINE__RISK__MAX_ORDERS_PER_SESSION="7", COLUMNS="200")

    assert result.exit_code == 0
    assert " 7 " in line_of(result, "risk.max_orders_per_session")
    assert "environment" in line_of(result, "risk.max_orders_per_session")
    assert "0.02" in line_of(result, "orders.band")
    assert "default" in line_of(result, "execution.max_attempts")


@pytest.mark.parametrize(("family", "weight", "value"), [("rotation", "1", "1000000"), ("ordinary", "0.25", "1000000")])
def test_a_limit_that_is_not_set_is_shown_as_the_family_enforces_it(family, weight, value):
    result = shown(TRADING_PIPELINE__RISK__FAMILY=family, TRADING_PIPELINE__RISK__MAX_ORDERS_PER_SESSION="7")

    assert line_of(result, "risk.max_position_weight").split()[1:3] == [weight, family]
    assert line_of(result, "risk.max_order_value").split()[1:3] == ["1000000", family]
    assert line_of(result, "risk.max_orders_per_session").split()[1:3] == ["7", "environment"]
    assert "(none)" not in "".join(line for line in result.stdout.splitlines() if " risk." in line)


def test_on_a_narrow_terminal_no_name_is_cut(monkeypatch):
    monkeypatch.setattr(console, "WIDTH_OF_FILES", 80)

    said = shown().stdout

    names = [field.name for field in load_settings(None, {}).listing()]
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  ") and line[2:3].strip()][1:] == names
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_secrets_are_masked():
    result = shown(APCA_API_KEY_ID="PKVERYSECRET", APCA_API_SECRET_KEY="even-more-secret", COLUMNS="200")

    assert "********" in line_of(result, "broker.key_id")
    assert "SECRET" not in result.stdout.replace("APCA_API_SECRET_KEY", "")
    assert "even-more-secret" not in result.stdout
