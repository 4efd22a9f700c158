from dataclasses import replace
from datetime import timedelta

import pytest

from trading_pipeline.adapters.alerting.channels import channels
from trading_pipeline.domain.errors import (
    DependencyUnavailable,
    InvalidInput,
    RateLimited,
    RequestRefused,
    Unauthorized,
)
from trading_pipeline.settings import AlertSettings
from trading_pipeline_tests.adapters.far_sides import MESSAGE, Hook, webhook_settings


@pytest.fixture
def hook(server):
    return Hook(server)


def posting(hook, clock):
    chosen = AlertSettings.model_validate({"webhook": webhook_settings(hook.port), "console": {"enabled": False}})
    [channel] = channels(chosen, clock)
    return channel


def test_a_post_is_what_slack_takes(server, hook, clock):
    server.on(f"POST {Hook.path}", text="ok")

    assert posting(hook, clock).send(replace(MESSAGE, text="<b> " + "x" * 50_000)) == "200 ok"

    [request] = server.requests(f"POST {Hook.path}")
    header, section, context = request.body["blocks"]
    assert header == {"type": "header", "text": {"type": "plain_text", "text": "[critical] Positions differ"}}
    assert section["text"]["text"].startswith("&lt;b&gt; xxx")
    assert len(section["text"]["text"]) == 3_000
    assert "reconciliation:2026-07-31" in context["elements"][0]["text"]
    assert request.body["text"].startswith("[critical] Positions differ")
    assert request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, RequestRefused),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, Unauthorized),
        (408, DependencyUnavailable),
        (410, Unauthorized),
        (413, RequestRefused),
        (500, DependencyUnavailable),
        (503, DependencyUnavailable),
    ],
)
def test_what_a_webhook_answers_tells_whether_another_attempt_may_help(server, hook, clock, status, error):
    server.on(f"POST {Hook.path}", text="invalid_payload", status=status)

    with pytest.raises(error, match=f"answered {status} invalid_payload") as raised:
        posting(hook, clock).send(MESSAGE)

    assert type(raised.value) is error
    assert server.count(f"POST {Hook.path}") == 1


def test_a_webhook_that_asks_to_wait_names_the_instant(server, hook, clock):
    server.on(f"POST {Hook.path}", status=429, text="slow down", Retry_After="90")

    with pytest.raises(RateLimited) as raised:
        posting(hook, clock).send(MESSAGE)

    assert raised.value.retry_at == clock.now() + timedelta(seconds=90)


def test_a_webhook_that_moved_is_not_followed(server, hook, clock):
    server.on(f"POST {Hook.path}", status=302, text="", Location="https://elsewhere.example.com/")

    with pytest.raises(InvalidInput, match="TooManyRedirects"):
        posting(hook, clock).send(MESSAGE)


def test_an_answer_that_quotes_the_address_is_not_passed_on(server, hook, clock):
    server.on(f"POST {Hook.path}", status=400, text=f"no service at {Hook.path} here")

    with pytest.raises(RequestRefused, match=r"no service at /\.\.\. here"):
        posting(hook, clock).send(MESSAGE)


def test_an_answer_that_breaks_off_may_pass(server, hook, clock):
    server.on(f"POST {Hook.path}", text="ok", fault="cut")

    with pytest.raises(DependencyUnavailable):
        posting(hook, clock).send(MESSAGE)
