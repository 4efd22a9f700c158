import asyncio
import shutil
import ssl
import subprocess
from dataclasses import replace

import pytest

from trading_pipeline.adapters.alerting.channels import channels
from trading_pipeline.domain.errors import DependencyUnavailable, InvalidInput, RequestRefused, Unauthorized
from trading_pipeline.settings import AlertSettings
from trading_pipeline_tests.adapters.far_sides import LONG_ENOUGH, MESSAGE, MailServer, RawServer, email_settings


@pytest.fixture
def mail(stack):
    return stack.enter_context(MailServer())


def mailing(port, clock, *, seconds=LONG_ENOUGH, **more):
    chosen = AlertSettings.model_validate(
        {
            "email": email_settings(port, **more),
            "console": {"enabled": False},
            "connect_seconds": seconds,
            "answer_seconds": seconds,
        }
    )
    [channel] = channels(chosen, clock)
    return channel


def test_a_mail_holds_text_and_html_and_says_that_nobody_wrote_it(mail, clock):
    mailing(mail.port, clock).send(MESSAGE)

    [arrived] = mail.arrived
    assert arrived.raw["From"] == "pipeline@example.com"
    assert arrived.raw["To"] == "ana@example.com"
    assert arrived.raw["Auto-Submitted"] == "auto-generated"
    assert arrived.raw["Date"].datetime == clock.now()
    page = arrived.raw.get_body(("html",)).get_content()
    assert "ours 10 &lt;theirs 9&gt; &amp; more" in page
    assert "prefers-color-scheme:dark" in page
    assert "viewport" in page
    assert "http-equiv" not in page
    assert "src=" not in page


def test_html_that_an_alert_brings_along_is_the_body_and_a_whole_page_is_left_as_it_is(mail, clock):
    channel, page = mailing(mail.port, clock), "<!DOCTYPE html><HTML><body>mine</body></HTML>"

    channel.send(replace(MESSAGE, html="<table><tr><td>mine</td></tr></table>"))
    channel.send(replace(MESSAGE, html=page))

    part, whole = (arrived.raw.get_body(("html",)).get_content().strip() for arrived in mail.arrived)
    assert "<table><tr><td>mine</td></tr></table>" in part
    assert part.startswith("<!doctype html>")
    assert whole == page


def test_a_recovery_follows_the_failure_in_the_same_thread(mail, clock):
    mailing(mail.port, clock).send(replace(MESSAGE, id="second", answers=MESSAGE.id))

    [arrived] = mail.arrived
    assert arrived.raw["In-Reply-To"] == arrived.raw["References"] == f"<{MESSAGE.id}@trading-pipeline.invalid>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("451 try later", DependencyUnavailable),
        ("421 shutting down", DependencyUnavailable),
        ("552 too big", RequestRefused),
        ("554 no", RequestRefused),
        ("530 log in first", Unauthorized),
    ],
)
def test_what_a_mail_server_answers_tells_whether_another_attempt_may_help(mail, clock, answer, error):
    mail.answers = [answer]

    with pytest.raises(error, match=answer):
        mailing(mail.port, clock).send(MESSAGE)


@pytest.mark.parametrize("farewell", ["break off", "be silent"])
def test_a_mail_that_was_accepted_has_arrived_however_the_farewell_goes(mail, clock, farewell):
    async def said_goodbye(server, *_):
        if farewell == "be silent":
            await asyncio.sleep(LONG_ENOUGH)
        server.transport.abort()
        return "221 bye"

    mail.handle_QUIT = said_goodbye

    assert mailing(mail.port, clock, seconds=1.0).send(MESSAGE) == "accepted for ana@example.com"
    assert len(mail.arrived) == 1


@pytest.mark.parametrize(("answer", "error"), [("550 unknown", RequestRefused), ("450 busy", DependencyUnavailable)])
def test_a_mail_whose_every_recipient_is_refused_did_not_arrive(mail, clock, answer, error):
    mail.refused = {"ana@example.com": answer, "ben@example.com": answer}

    with pytest.raises(error, match=r"ben@example\.com"):
        mailing(mail.port, clock, recipients="ana@example.com, ben@example.com").send(MESSAGE)


def test_a_mail_that_one_recipient_gets_arrived_and_the_refusal_is_said(mail, clock):
    mail.refused = {"ben@example.com": "550 unknown"}

    answer = mailing(mail.port, clock, recipients=["ana@example.com", "ben@example.com"]).send(MESSAGE)

    assert answer == "accepted for ana@example.com; ben@example.com was refused: 550 unknown"
    assert len(mail.arrived) == 1


def test_a_server_without_starttls_gets_no_mail_in_plain(mail, clock):
    with pytest.raises(InvalidInput, match="STARTTLS"):
        mailing(mail.port, clock, security="starttls").send(MESSAGE)

    assert mail.arrived == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not here: no certificate can be made for a server of this test")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", made, "-days", "30",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


@pytest.fixture(params=["starttls", "tls"])
def encrypted(request, stack, certificate):
    """A server that encrypts in one of two ways; nothing trusts its certificate yet."""
    made, context = certificate
    options = {"tls_context": context, "require_starttls": True, "auth_require_tls": True}
    if request.param == "tls":
        options = {"implicit_tls": context}
    server = stack.enter_context(MailServer(**options))
    return server, made, {"security": request.param, "username": "ana", "password": "the-password"}


def test_a_mail_is_encrypted_and_logged_in_as_the_settings_say(encrypted, clock, monkeypatch):
    server, certificate, chosen = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    mailing(server.port, clock, **chosen).send(MESSAGE)

    assert server.logins == [("ana", "the-password")]
    assert len(server.arrived) == 1


def test_a_certificate_that_nobody_vouches_for_gets_neither_password_nor_mail(encrypted, clock):
    server, _, chosen = encrypted

    with pytest.raises(Unauthorized, match="certificate is not accepted"):
        mailing(server.port, clock, **chosen).send(MESSAGE)

    assert server.logins == []
    assert server.arrived == []


def test_a_wrong_password_is_said_and_not_shown(encrypted, clock, monkeypatch):
    server, certificate, chosen = encrypted
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    with pytest.raises(Unauthorized, match="535") as raised:
        mailing(server.port, clock, **{**chosen, "password": "wrong-and-private"}).send(MESSAGE)

    assert "wrong-and-private" not in str(raised.value)
    assert server.arrived == []


def scripted(**answers):
    """Return a server that answers each command by its name as told, and all others as if all were well."""

    def act(connection, _released):
        known = {"GREETING": "220 here", "EHLO": "250 here", "DATA": "354 go on", "QUIT": "221 bye", **answers}
        with connection.makefile("rwb") as talk:

            def say(command):
                for line in known.get(command, "250 OK").splitlines():
                    talk.write(f"{line}\r\n".encode())
                talk.flush()

            say("GREETING")
            is_mail = False
            for line in talk:
                if is_mail and line != b".\r\n":
                    continue
                command = "END" if is_mail else line.decode().split()[0].upper()
                is_mail = command == "DATA" and known["DATA"].startswith("354")
                say(command)

    return RawServer(act)


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ({"GREETING": "554 no service here"}, {}),
        ({"GREETING": "530 not now"}, {}),
        ({"EHLO": "502 what", "HELO": "554 no service here"}, {}),
        ({"EHLO": "250-here\n250 STARTTLS", "STARTTLS": "554 no service here"}, {"security": "starttls"}),
        ({"EHLO": "250-here\n250 STARTTLS", "STARTTLS": "501 odd"}, {"security": "starttls"}),
    ],
)
def test_what_a_server_refuses_before_it_knows_of_a_mail_is_no_fault_of_the_mail(stack, clock, answers, chosen):
    server = stack.enter_context(scripted(**answers))

    with pytest.raises(DependencyUnavailable, match="answered 5"):
        mailing(server.port, clock, **chosen).send(MESSAGE)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ("550 no such sender", Unauthorized),
        ("553 not yours", Unauthorized),
        ("451 try later", DependencyUnavailable),
        # RFC 1870: the size that is announced with the sender is the mail's.
        ("552 5.3.4 too big", RequestRefused),
    ],
)
def test_a_refused_sender_is_for_a_person_to_mend_unless_it_is_the_mails_size(stack, clock, answer, error):
    server = stack.enter_context(scripted(MAIL=answer))

    with pytest.raises(error, match=answer):
        mailing(server.port, clock).send(MESSAGE)


@pytest.mark.parametrize(
    ("answer", "error"), [("554 too many logins", Unauthorized), ("454 not now", DependencyUnavailable)]
)
def test_a_login_that_is_refused_is_no_fault_of_the_mail(stack, clock, answer, error):
    server = stack.enter_context(scripted(EHLO="250-here\n250 AUTH PLAIN", AUTH=answer))

    with pytest.raises(error, match=answer):
        mailing(server.port, clock, username="ana", password="the-password").send(MESSAGE)
