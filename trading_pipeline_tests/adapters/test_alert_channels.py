import socket
import threading
import time
from dataclasses import replace

import pytest

from trading_pipeline.adapters.alerting.channels import CHANNELS, channels, in_use
from trading_pipeline.domain.errors import (
    CircuitOpen,
    DependencyUnavailable,
)
from trading_pipeline.settings import AlertSettings
from trading_pipeline_tests.adapters.far_sides import (
    LONG_ENOUGH,
    MESSAGE,
    SHORT,
    FarSide,
    Hook,
    MailServer,
    RawServer,
    dripping,
    email_settings,
    reset,
    silent,
    webhook_settings,
)


@pytest.fixture
def far(request, stack, server):
    """The far side of a channel by name."""
    if request.param == "email":
        return FarSide("email", email_settings, lambda: stack.enter_context(MailServer()), b"220 mail.example.com ")
    server.on(f"POST {Hook.path}", text="ok")
    return FarSide(
        "webhook", webhook_settings, lambda: Hook(server), b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"
    )


both = pytest.mark.parametrize("far", ["email", "webhook"], indirect=True)


# What every channel that reaches out keeps


@both
def test_a_message_arrives_whole_and_what_was_answered_is_returned(far, clock):
    receiver = far.accepting()

    answer = far.channel(receiver.port, clock).send(MESSAGE)

    [arrived] = receiver.arrived
    assert arrived.title == "[critical] Positions differ"
    for said in ("größer als …", "alerts ack 'reconciliation:2026-07-31'", "operations#reconciliation-broken"):
        assert said in arrived.text
    assert answer


@both
def test_a_repetition_can_be_recognised_and_another_message_is_another(far, clock):
    receiver = far.accepting()
    channel = far.channel(receiver.port, clock)

    for message in (MESSAGE, MESSAGE, replace(MESSAGE, id="another")):
        channel.send(message)

    first, again, other = (arrived.id for arrived in receiver.arrived)
    assert first == again != other
    assert MESSAGE.id in first


@both
def test_nobody_there_may_pass(far, clock):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(DependencyUnavailable, match=r"127\.0\.0\.1"):
        far.channel(port, clock).send(MESSAGE)


@both
@pytest.mark.parametrize("fault", ["silent", "dripping"])
def test_a_server_that_never_comes_to_an_end_is_left_in_time(far, clock, stack, fault):
    act = silent if fault == "silent" else dripping(far.drip)
    port = stack.enter_context(RawServer(act)).port
    channel, began = far.channel(port, clock, seconds=SHORT), time.monotonic()

    with pytest.raises(DependencyUnavailable):
        channel.send(MESSAGE)

    assert time.monotonic() - began < LONG_ENOUGH / 2
    for thread in threading.enumerate():
        if thread.name in {"mail", "connect"}:
            thread.join(LONG_ENOUGH)
            assert not thread.is_alive(), "nothing goes on talking in the background"


@both
def test_a_connection_that_is_reset_may_pass(far, clock, stack):
    port = stack.enter_context(RawServer(reset)).port

    with pytest.raises(DependencyUnavailable):
        far.channel(port, clock).send(MESSAGE)


@both
def test_one_message_is_one_attempt_and_what_keeps_failing_is_left_alone(far, clock, stack):
    connections = []
    port = stack.enter_context(RawServer(lambda connection, _: connections.append(connection))).port
    channel = far.channel(port, clock)

    for _ in range(5):
        with pytest.raises(DependencyUnavailable):
            channel.send(MESSAGE)
    with pytest.raises(CircuitOpen, match=f"alerts by {far.kind}"):
        channel.send(MESSAGE)

    assert len(connections) == 5


@both
@pytest.mark.parametrize(
    "title", ["a\r\nBcc: thief@example.com", "a\nSubject: b", "a\x00b", "", "x" * 5_000, "ü" * 400]
)
def test_no_title_stops_a_message_or_adds_to_its_head(far, clock, title):
    receiver = far.accepting()

    far.channel(receiver.port, clock).send(replace(MESSAGE, title=title))

    [arrived] = receiver.arrived
    assert "\n" not in arrived.title
    if far.kind == "email":
        assert arrived.raw["Bcc"] is None
        assert arrived.raw.get_all("Subject") == [arrived.title]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("email", email_settings(1, username="ana", password="the-password", security="tls")),
        ("webhook", webhook_settings(1)),
    ],
)
def test_no_failure_quotes_a_secret(kind, settings, clock):
    [channel] = channels(AlertSettings.model_validate({kind: settings, "console": {"enabled": False}}), clock)

    with pytest.raises(DependencyUnavailable) as raised:
        channel.send(MESSAGE)

    failure, chain = raised.value, []
    while failure is not None:
        chain.append(f"{failure!r} {failure}")
        failure = failure.__cause__ or (None if failure.__suppress_context__ else failure.__context__)
    assert not [text for text in chain if "SECRET" in text or "the-password" in text]
    assert "SECRET" not in repr(settings if kind == "email" else AlertSettings.model_validate({kind: settings}))


# The console, and the table of all


def test_the_console_prints_for_people_and_no_sign_that_draws_on_the_terminal(clock, capsys):
    [console] = channels(AlertSettings(), clock)

    assert console.send(replace(MESSAGE, text="one\x1b[2Jtwo\nthree"))

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[:3] == ["[critical] Positions differ", "  one�[2Jtwo", "  three"]


def test_a_console_that_nobody_reads_may_be_read_later(clock, monkeypatch, tmp_path):
    [console] = channels(AlertSettings(), clock)
    with open(tmp_path / "closed", "w", encoding="utf-8") as closed:
        monkeypatch.setattr("sys.stderr", closed)

    with pytest.raises(DependencyUnavailable, match="standard error"):
        console.send(MESSAGE)


def test_a_channel_is_used_once_the_settings_name_it(clock):
    everything = AlertSettings.model_validate({"email": email_settings(25), "webhook": webhook_settings(80)})

    assert list(in_use(AlertSettings.model_validate({"console": {"enabled": False}}))) == []
    assert list(in_use(everything)) == list(CHANNELS)
    assert [channel.name for channel in channels(everything, clock)] == list(CHANNELS)
