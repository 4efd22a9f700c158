from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings import (
    FILE_VARIABLE,
    NAMED_VARIABLES,
    PREFIX,
    LoadedSettings,
    Mode,
    Settings,
    load_settings,
)

A_SCREEN = 30
# Where a setting comes from that nobody set.
UNSET = {"default", "rotation"}
SHARES = f"{PREFIX}STRATEGIES__CAPITAL_SHARES"
SECRETS = {"APCA_API_KEY_ID": "PK-VERY-PRIVATE", "APCA_API_SECRET_KEY": "hunter2-hunter2"}


@pytest.fixture
def file(tmp_path):
    def write(text, name="settings.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def refusal(file, environment=None):
    with pytest.raises(InvalidInput) as caught:
        load_settings(file, environment or {})
    message = str(caught.value)
    assert len(message.splitlines()) <= A_SCREEN
    return message


def listed(loaded):
    return {field.name: field for field in loaded.listing()}


def leaves(schema, definitions, prefix=""):
    for name, field in schema["properties"].items():
        reference = field.get("$ref", "").removeprefix("#/$defs/")
        if definitions.get(reference, {}).get("type") == "object":
            yield from leaves(definitions[reference], definitions, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


FIELDS = dict(leaves(Settings.model_json_schema(), Settings.model_json_schema()["$defs"]))


def test_without_a_file_and_variables_the_defaults_are_in_force():
    loaded = load_settings(None, {})

    assert loaded == LoadedSettings(Settings(), {})
    assert loaded.settings.mode is Mode.SIMULATED
    assert loaded.settings.strategies.capital_shares == {"nuclear": 0.3, "tecl": 0.5, "klm": 0.2}
    assert {field.source for field in loaded.listing()} == UNSET


def test_every_field_has_a_default_and_says_what_it_means():
    assert set(FIELDS) == set(listed(load_settings(None, {})))
    for name, field in FIELDS.items():
        assert "default" in field, name
        assert field["description"].endswith("."), name


UNITS = {
    "_seconds": "econds",
    "_minutes": "inutes",
    "_sessions": "essions",
    "_bps": "basis points",
    "_notional": "dollars",
    "_equity": "dollars",
    "_value": "dollars",
    "cash": "dollars",
    "_weight": "fraction",
    "_deviation": "fraction",
    "band": "fraction",
    "collar": "fraction",
    "_offset": "fraction",
    "_shares": "fractions",
}


@pytest.mark.parametrize("name", [name for name in FIELDS if name.endswith(tuple(UNITS)) and "whole" not in name])
def test_every_quantity_says_its_unit(name):
    unit = next(unit for ending, unit in UNITS.items() if name.endswith(ending))

    assert unit in FIELDS[name]["description"]


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if field.get("type") in {"integer", "number"}])
def test_every_number_has_a_range(name):
    field = FIELDS[name]

    assert {"minimum", "exclusiveMinimum"} & set(field), name
    assert {"maximum", "exclusiveMaximum"} & set(field), name


def test_the_environment_wins_over_the_file_and_the_file_over_the_defaults(file):
    path = file("mode: paper\nrisk:\n  max_orders_per_session: 10\n  max_order_value: 5000\norders:\n  band: 0.02\n")
    loaded = load_settings(path, {f"{PREFIX}RISK__MAX_ORDERS_PER_SESSION": "20", "TRADING_MODE": "simulated"})

    assert loaded.settings.mode is Mode.SIMULATED
    assert loaded.settings.risk.max_orders_per_session == 20
    assert loaded.settings.risk.max_order_value == 5000
    assert loaded.settings.orders.band == Decimal("0.02")
    found = {name: field.source for name, field in listed(loaded).items() if field.source not in UNSET}
    assert found == {
        "mode": "environment TRADING_MODE",
        "risk.max_orders_per_session": f"environment {PREFIX}RISK__MAX_ORDERS_PER_SESSION",
        "risk.max_order_value": f"{path}:4",
        "orders.band": f"{path}:6",
    }


def test_the_environment_may_name_the_file_and_an_option_wins_over_it(file):
    named, given_file = file("mode: paper\n"), file("orders: {band: 0.03}\n", "other.yaml")

    assert load_settings(None, {FILE_VARIABLE: str(named)}).settings.mode is Mode.PAPER
    assert load_settings(given_file, {FILE_VARIABLE: str(named)}).settings.mode is Mode.SIMULATED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet\n",
        "---\n",
        "risk:\norders:\n  # band: 0.1\n",
        "resilience:\n  trading_read:\n  trading_order:\n    # answer_seconds: 3\n",
    ],
)
def test_a_file_or_section_that_says_nothing_changes_nothing(file, text):
    assert load_settings(file(text), {}).settings == Settings()


def test_variables_of_other_programs_and_empty_ones_are_passed_over():
    environment = {"HOME": "/root", "PATH": "", "TRADING_MODE": "", f"{PREFIX}SIMULATOR__BARS": "", FILE_VARIABLE: ""}

    assert load_settings(None, environment) == LoadedSettings(Settings(), {})


@pytest.mark.parametrize(("variable", "name"), NAMED_VARIABLES.items())
def test_each_named_variable_sets_its_field(variable, name):
    value = {"mode": "paper", "broker.live_account": "123456"}.get(name, "abc")

    assert listed(load_settings(None, {variable: value}))[name].source == f"environment {variable}"


def test_a_variable_gives_a_mapping_whole(file):
    path = file("strategies:\n  capital_shares: {nuclear: 0.5, tecl: 0.5}\n  safe_asset: SHY\n")

    loaded = load_settings(path, {SHARES: "{tecl: 1.0}"})

    assert loaded.settings.strategies.capital_shares == {"tecl": 1.0}
    assert listed(loaded)["strategies.capital_shares"].source == f"environment {SHARES}"
    assert listed(loaded)["strategies.capital_shares"].value == "tecl: 1.0"
    assert loaded.settings.strategies.safe_asset == "SHY"


def test_a_variable_that_gives_a_section_leaves_the_rest_of_the_section(file):
    path = file("risk:\n  max_order_value: 5000\n  max_orders_per_session: 7\n")

    loaded = load_settings(path, {f"{PREFIX}RISK": "{max_orders_per_session: 9}"})

    assert (loaded.settings.risk.max_order_value, loaded.settings.risk.max_orders_per_session) == (5000, 9)
    assert listed(loaded)["risk.max_orders_per_session"].source == f"environment {PREFIX}RISK"
    assert listed(loaded)["risk.max_order_value"].source == f"{path}:2"


def test_an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant(file):
    path = file("mode: simulated\nrisk:\n  max_orders_per_sesion: 10\n")

    message = refusal(path)

    assert f"risk.max_orders_per_sesion ({path}:3) is not a setting" in message
    assert "did you mean risk.max_orders_per_session?" in message


def test_an_unknown_variable_is_named(file):
    message = refusal(None, {f"{PREFIX}RISK__NONSENSE_ALTOGETHER_XYZ": "1", f"{PREFIX}ZZZ": "1"})

    assert f"risk.nonsense_altogether_xyz (environment {PREFIX}RISK__NONSENSE_ALTOGETHER_XYZ)" in message
    assert f"zzz (environment {PREFIX}ZZZ) is not a setting; `trading-pipeline settings` lists them all" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strategies:\n  capital_shares: {nuclear: 0.5, tecl: 0.4}\n", ":2): shares must sum to 1, but sum to 0.9"),
        ("strategies:\n  capital_shares: {}\n", "shares must sum to 1, but sum to 0 (none)"),
        ("strategies:\n  capital_shares: {nuclear: 1.5, tecl: -0.5}\n", "less than or equal to 1, was 1.5"),
        ("strategies:\n  safe_asset: NOPE\n", "'NOPE' is not a known symbol; treasury bills are BIL"),
        ("strategies:\n  rsi_smoothing: sma\n", "wilder|cutler"),
        ("mode: demo\n", "'simulated', 'paper' or 'live', was 'demo'"),
        ("risk:\n  max_orders_per_session: many\n", "valid integer"),
        ("risk:\n  max_orders_per_session: 0\n", "greater than or equal to 1, was 0"),
        ("orders:\n  band: .nan\n", "finite"),
        ("execution:\n  order_timeout_seconds: -1\n", "greater than 0, was -1"),
        ("execution:\n  order_timeout_seconds: .inf\n", "less than or equal to 3600"),
        ("risk: 5\n", "risk"),
        ("mode: {}\n", "'simulated', 'paper' or 'live'"),
        (
            "execution: {window_opens_after_minutes: 150, window_closes_before_minutes: 60}\n",
            "leave nothing of a half day: together 210",
        ),
    ],
)
def test_a_value_out_of_range_is_named_with_its_place(file, text, said):
    assert said in refusal(file(text))


def test_every_fault_is_named_at_once(file):
    message = refusal(file("mode: demo\nrisk:\n  max_order_value: -1\nfoo: 1\n"))

    assert all(name in message for name in ("mode", "risk.max_order_value", "foo"))


def test_an_impossible_date_is_named_with_its_line(file):
    path = file("mode: simulated\nsimulator:\n  start: 2026-02-30\n")

    message = refusal(path)

    assert f"{path}:3: day is out of range for month" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"mode: [simulated\n", "is not YAML"),
        (b"a: 1\n---\nb: 2\n", "is not YAML"),
        (b"\xff\xfe\x00m", "is not text in UTF-8"),
        (b"- mode\n- paper\n", "must hold 'key: value' lines, was a list"),
        (b"simulated\n", "must hold 'key: value' lines, was a single value"),
        (b"mode: paper\nrisk:\n  max_order_value: 1\nmode: live\n", ":4: setting mode is given a second time"),
        (b"risk:\n  max_order_value: 1\n  max_order_value: 2\n", ":3: setting risk.max_order_value is given a second"),
        (b"mode: !!python/object:os.system {}\n", ":1: could not determine a constructor"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(file, content, said):
    path = file(content)

    message = refusal(path)

    assert said in message
    assert str(path) in message


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    assert "cannot be read" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({SHARES: "{tecl: 1.0"}, f"environment {SHARES} begins like a mapping or list and is none"),
        ({f"{SHARES}__TECL": "1.0"}, "is part of one value, strategies.capital_shares; give that whole"),
        ({f"{PREFIX}MODE__X": "1", f"{PREFIX}MODE": "paper"}, "setting mode was 'paper'; it is a section"),
    ],
)
def test_a_variable_that_cannot_be_understood_is_named(environment, said):
    assert said in refusal(None, environment)


@pytest.mark.parametrize("suffix", ["", "12345", "1234567"])
def test_live_needs_the_last_six_of_the_account(suffix):
    assert "mode live needs TRADING_LIVE_ACCOUNT" in refusal(
        None, {"TRADING_MODE": "live", "TRADING_LIVE_ACCOUNT": suffix}
    )


def test_live_starts_when_both_are_given():
    loaded = load_settings(None, {"TRADING_MODE": "live", "TRADING_LIVE_ACCOUNT": "123456"})

    assert loaded.settings.mode is Mode.LIVE


def test_secrets_are_masked_wherever_settings_are_shown():
    loaded = load_settings(None, SECRETS)

    shown = [*loaded.listing(), loaded.settings, loaded, loaded.settings.model_dump_json()]

    assert listed(loaded)["broker.secret_key"].value == "********"
    assert listed(load_settings(None, {}))["broker.secret_key"].value == "(not set)"
    assert not any(secret in f"{item!r} {item}" for item in shown for secret in SECRETS.values())
    assert loaded.settings.broker.secret_key.get_secret_value() == SECRETS["APCA_API_SECRET_KEY"]


@pytest.mark.parametrize(
    "text",
    [
        "broker:\n  secret_key: [hunter2-hunter2]\n",
        "broker:\n  secret_key: {a: hunter2-hunter2}\n",
        "broker:\n  secret_keys: hunter2-hunter2\n",
        "broker:\n  key_id: PK-VERY-PRIVATE\n  secret_key: hunter2-hunter2\nmode: live\n",
        "broker: [hunter2-hunter2]\n",
    ],
)
def test_no_refusal_quotes_a_secret(file, text):
    message = refusal(file(text))

    assert not any(secret in message for secret in SECRETS.values())


def test_the_fingerprint_tells_settings_apart_but_not_keys():
    plain = load_settings(None, {}).settings.fingerprint()

    assert load_settings(None, SECRETS).settings.fingerprint() == plain
    assert load_settings(None, {f"{PREFIX}ORDERS__BAND": "0.02"}).settings.fingerprint() != plain
    assert len(plain) == 16


def test_settings_never_change_after_they_were_read():
    with pytest.raises(ValueError, match="frozen"):
        Settings().mode = Mode.LIVE


def test_lists_paths_and_nothing_are_shown_plainly():
    loaded = load_settings(None, {f"{PREFIX}SIMULATOR__BARS": "/data/bars.parquet"})

    assert loaded.settings.simulator.bars == Path("/data/bars.parquet")
    assert listed(loaded)["simulator.bars"].value == "/data/bars.parquet"
    assert listed(load_settings(None, {}))["simulator.bars"].value == "(none)"
    assert listed(loaded)["strategies.capital_shares"].value == "nuclear: 0.3, tecl: 0.5, klm: 0.2"


@given(share=st.floats(0.001, 0.999))
def test_any_two_shares_that_sum_to_one_are_taken(share):
    loaded = load_settings(None, {SHARES: f"{{nuclear: {share!r}, tecl: {1 - share!r}}}"})

    assert loaded.settings.strategies.capital_shares == {"nuclear": share, "tecl": 1 - share}


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 1),
        ({"EXECUTOR": "multiprocess"}, 2),
        ({"EXECUTOR": "multiprocess", "PROCESSES": "8"}, 8),
        ({"EXECUTOR": "dagster_k8s.executor:k8s_job_executor", "SHARDS": "40"}, 40),
        ({"SHARDS": "3"}, 3),
    ],
)
def test_there_is_one_shard_for_each_process_unless_the_settings_say_how_many(given, count):
    environment = {f"{PREFIX}RESEARCH__{name}": value for name, value in given.items()}

    assert load_settings(None, environment).settings.research.shard_count == count


@pytest.mark.parametrize("executor", ["threads", "dagster.multiprocess_executor", "a:b:c", ":name", "os system:name"])
def test_an_executor_is_one_of_ours_or_named_by_module_and_attribute(executor):
    assert "research.executor" in refusal(None, {f"{PREFIX}RESEARCH__EXECUTOR": executor})


def test_a_kind_of_call_keeps_its_own_defaults_where_one_is_set(file):
    chosen = load_settings(file("resilience:\n  trading_order: {connect_seconds: 1}\n"), {}).settings.resilience

    assert (chosen.trading_order.connect_seconds, chosen.trading_order.answer_seconds) == (1, 5)
    assert chosen.trading_read == Settings().resilience.trading_read


@pytest.mark.parametrize("kind", ["trading_read", "trading_order", "trading_cancel", "market_data_read"])
def test_a_request_is_over_before_a_process_that_is_asked_to_end_is_killed(kind):
    chosen = getattr(Settings().resilience, kind)

    assert chosen.connect_seconds + chosen.answer_seconds < 10


def test_how_often_an_order_is_sent_is_no_setting():
    assert "attempts" not in type(Settings().resilience.trading_order).model_fields
    assert "attempts" not in type(Settings().resilience.trading_cancel).model_fields


def test_a_burst_of_a_whole_minutes_requests_is_refused(file):
    message = refusal(file("resilience:\n  trading_quota: {requests_per_minute: 50}\n"))

    assert "resilience.trading_quota" in message
    assert "burst, 60, must be below requests_per_minute, 50" in message
