"""Nothing of the pipeline reaches the network but through the guarded modules, which are named here with the reason."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "trading_pipeline"
CHECKS = PACKAGE.parent / "dbt_like_checks"

# Packages and modules that open connections, whole or in part.
NETWORK = (
    "aiobotocore",
    "aiohttp",
    "alpaca",
    "asyncio.streams",
    "boto3",
    "botocore",
    "deltalake",
    "fsspec",
    "ftplib",
    "http.client",
    "http.server",
    "httpx",
    "imaplib",
    "poplib",
    "pyarrow.fs",
    "requests",
    "s3fs",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "telnetlib",
    "urllib.request",
    "urllib3",
    "websocket",
    "websockets",
    "xmlrpc",
)
CALLS = {"open_connection", "create_connection", "getaddrinfo", "create_datagram_endpoint"}
# What only the guarded transport may ask for: the bare client behind the policy.
BARE = {"client", "_session", "_one_request"}

# Reads the tables of a local folder for a person who asks for them.
FOLDERS = CHECKS / "table_folder.py"

GUARDED = {
    "adapters/bounded_http.py": "what bounds every request in time; sends nothing by itself",
    "adapters/alerting/mail.py": "every conversation goes through ResiliencePolicy.call: test_alert_mail.py",
    "adapters/alerting/webhook.py": "every request goes through ResiliencePolicy.call: test_alert_webhook.py",
    "adapters/alpaca/transport.py": "every call of it goes through ResiliencePolicy.call: test_transport.py",
    "adapters/alpaca/failures.py": "names what requests and alpaca-py raise; sends nothing",
    "adapters/alpaca/trade_socket.py": "one connection of the stream, under deadlines of its own",
    "adapters/storage/tables.py": "a conflict is repeated through call_with_retries; delta-rs bounds its own requests",
    "defs/research.py": "steps hand frames to each other; pyarrow bounds and repeats its own requests",
    "simulator/": "stands in for Alpaca on this machine; no step of the pipeline calls its control plane",
    "adapters/storage/recorded_tables.py": "opens versions of the same tables; delta-rs bounds its own requests",
    "cli/dashboard.py": "serves a page on this machine; asks nobody",
    "cli/health_server.py": "serves a page on this machine; asks nobody",
    "cli/dev.py": "looks for a free port of this machine",
}


def sources(folder):
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def reaches_network(source):
    """Yield the line and name of whatever in ``source`` may open a connection."""
    for node in ast.walk(ast.parse(source)):
        for name in names(node):
            if any(name == module or name.startswith(f"{module}.") for module in NETWORK):
                yield node.lineno, name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
            yield node.lineno, node.func.attr
        if isinstance(node, ast.Attribute) and node.attr in BARE:
            yield node.lineno, node.attr


def names(node):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
        return [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
    return []


def is_guarded(path):
    place = path.relative_to(PACKAGE).as_posix()
    return any(place == name or (name.endswith("/") and place.startswith(name)) for name in GUARDED)


@pytest.mark.parametrize(
    "source",
    [
        "import requests",
        "import requests.sessions as web",
        "def f():\n    import boto3",
        "from urllib.request import urlopen",
        "from urllib import request",
        "from http import client",
        "import http.client",
        "from websockets.asyncio.client import connect",
        "from alpaca.trading.client import TradingClient",
        "import importlib\nimportlib.import_module('socket')",
        "__import__('socket')",
        "async def f(loop):\n    await asyncio.open_connection('127.0.0.1', 9)",
        "def f(api):\n    api.client().get('/account')",
    ],
)
def test_a_way_around_is_seen(source):
    assert list(reaches_network(source))


@pytest.mark.parametrize(
    "source", ["from urllib.parse import quote", "from http import HTTPStatus", "import socketless"]
)
def test_what_opens_no_connection_is_passed_over(source):
    assert not list(reaches_network(source))


@pytest.mark.parametrize(
    "path",
    [
        *(path for path in sources(PACKAGE) if not is_guarded(path)),
        *(path for path in sources(CHECKS) if path != FOLDERS),
    ],
    ids=lambda path: path.relative_to(PACKAGE.parent).as_posix(),
)
def test_a_module_that_is_not_guarded_opens_no_connection(path):
    found = [f"line {line}: {name}" for line, name in reaches_network(path.read_text(encoding="utf-8"))]

    assert found == [], "call through ResiliencePolicy, or name the module in GUARDED with the reason"


@pytest.mark.parametrize("name", GUARDED)
def test_each_exception_still_needs_to_be_one(name):
    paths = sources(PACKAGE / name) if name.endswith("/") else [PACKAGE / name]

    assert any(list(reaches_network(path.read_text(encoding="utf-8"))) for path in paths)
