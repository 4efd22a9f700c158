"""A message as mail and as blocks of a webhook show it."""

from html import escape

from trading_pipeline.ports import Message, Severity

# Slack's own limits, https://docs.slack.dev/reference/block-kit/blocks
_LONGEST_HEADER = 150
_LONGEST_SECTION = 3_000
_LONGEST_TEXT = 4_000
_COLOURS = {Severity.INFO: "#1a7f37", Severity.WARNING: "#9a6700", Severity.CRITICAL: "#cf222e"}
_STYLE = (
    ":root{color-scheme:light dark}body{margin:0;padding:16px;font:16px/1.5 system-ui,sans-serif;color:#1f2328;"
    "background:#ffffff}main{max-width:40rem;margin:auto}h1{font-size:1.25rem;margin:.25rem 0 1rem}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:inherit;margin:0}footer{margin-top:1.5rem;"
    "padding-top:.75rem;border-top:1px solid #d1d9e0;font-size:.875rem;color:#59636e;overflow-wrap:anywhere}"
    "@media(prefers-color-scheme:dark){body{color:#f0f6fc;background:#0d1117}footer{color:#9198a1;"
    "border-color:#3d444d}}"
)


def subject(message: Message) -> str:
    """Return the line that a mail is listed by; whatever the title holds, it is one line.

    >>> from datetime import datetime, UTC
    >>> at = datetime(2026, 7, 31, 16, tzinfo=UTC)
    >>> subject(Message("1", Severity.CRITICAL, "Positions" + chr(13) + chr(10) + "Bcc: x@example.com", "", at))
    '[critical] Positions Bcc: x@example.com'
    """
    return f"[{message.severity}] {one_line(message.title)}"


def one_line(text: str) -> str:
    """Return a text without line ends and other signs that are no letters.

    >>> one_line("a  b" + chr(10) + chr(0) + "c")
    'a b c'
    """
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def plain(message: Message) -> str:
    """Return the message as plain text: what it says, and what a person can do."""
    return "\n".join([message.text.rstrip(), "", *_footer(message)]) + "\n"


def html_page(message: Message) -> str:
    """Return the message as a page of its own, on light and on dark; one that it brings along is left as it is."""
    if "<html" in message.html[:500].lower():
        return message.html
    body = message.html or f"<pre>{escape(message.text.rstrip())}</pre>"
    footer = "<br>".join(escape(line) for line in _footer(message))
    colour = _COLOURS[message.severity]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(subject(message))}</title><style>{_STYLE}</style></head><body><main>"
        f'<strong style="color:{colour}">{message.severity.upper()}</strong><h1>{escape(one_line(message.title))}</h1>'
        f"{body}<footer>{footer}</footer></main></body></html>\n"
    )


def blocks(message: Message) -> dict[str, object]:
    """Return the message as Slack's webhooks take it: a text for the notification, and blocks to read."""
    head, footer = subject(message), " · ".join(_footer(message))
    shown = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(head, _LONGEST_HEADER)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _marked(message.text, _LONGEST_SECTION)}},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": _marked(footer, _LONGEST_SECTION)}]},
    ]
    return {"text": _marked(f"{head}\n{message.text}", _LONGEST_TEXT), "blocks": shown}


def _footer(message: Message) -> list[str]:
    lines = [f"At {message.at:%Y-%m-%d %H:%M:%S} UTC"]
    if message.runbook:
        lines.append(f"What to do: {message.runbook}")
    if message.key:
        lines.append(f"Key: {message.key}")
    if message.key and message.severity is Severity.CRITICAL:
        lines.append(f"To acknowledge: trading-pipeline alerts ack '{message.key}'")
    return lines


def _marked(text: str, longest: int) -> str:
    # The three signs that Slack asks to be escaped; a section must hold something.
    for sign, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, escaped)
    return _cut(text.strip() or "-", longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
