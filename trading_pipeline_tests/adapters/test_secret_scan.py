import base64
import html
import json
import re
import sqlite3
from contextlib import closing
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_pipeline.adapters import secret_scan
from trading_pipeline.adapters.secret_scan import SecretScanner

SECRET = 'q/8+Zp"x<y>&w\\K é2m'
SPELLED = {
    "plain": SECRET,
    "JSON": json.dumps({"key": SECRET}),
    "JSON, slashes escaped": json.dumps(SECRET).replace("/", "\\/"),
    "JSON, not ASCII": json.dumps(SECRET, ensure_ascii=False),
    "URL": f"https://x/?key={quote(SECRET, safe='')}&a=b",
    "URL, slashes kept": quote(SECRET),
    "URL, small letters": re.sub("%..", lambda escape: escape[0].lower(), quote(SECRET, safe="")),
    "form": f"key={quote_plus(SECRET)}",
    "HTML": f"<td>{html.escape(SECRET)}</td>",
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    "basic access": base64.b64encode(f"PKID:{SECRET}".encode()).decode(),
    "basic access, one more": base64.b64encode(f"PKID1:{SECRET} more".encode()).decode(),
    "basic access, two more": base64.b64encode(f"PKID12:{SECRET}".encode()).decode(),
}
SHAPED = {
    "an AWS access key": "id=AKIA" + "ABCD" * 4,
    "an Alpaca key": "PK" + "A1B2C3D4E5F6G7H8I9",
    "an Alpaca live key": "key: AK" + "0123456789ABCDEFGH",
    "a broker key": '"CK' + "A1B2C3D4E5F6G7H8" + '"',
    "a bearer token": "Authorization: Bearer " + "abcDEF123456._-xyz",
    "a JSON web token": ".".join(["eyJ" + "hbGciOiJIUzI1", "eyJ" + "zdWIiOiIxMjM0", "SflKxwRJSMeKKF2QT4"]),
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a private key without kind": "-----BEGIN " + "PRIVATE KEY-----",
}


@pytest.fixture
def scanner():
    return SecretScanner({"broker.secret_key": SECRET, "broker.key_id": "0123456789"})


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("spelled", SPELLED)
def test_a_live_value_is_found_in_every_spelling_and_not_shown(scanner, tmp_path, spelled):
    path = write(tmp_path / "run.log", f"first\nsecond {SPELLED[spelled]} end\nthird\n")

    [finding] = scanner.in_files([path]).findings

    assert (finding.place, finding.at, finding.what) == (str(path), "2", "the value of broker.secret_key")
    assert not any(SECRET[start : start + 4] in str(finding) for start in range(len(SECRET) - 4))


@pytest.mark.parametrize("shaped", SHAPED)
def test_what_is_shaped_like_a_key_is_found(scanner, tmp_path, shaped):
    path = write(tmp_path / "run.log", f"a\nb {SHAPED[shaped]}\n")

    [finding] = scanner.in_files([path]).findings

    assert finding.at == "2"
    assert finding.what.startswith("what looks like a")
    assert SHAPED[shaped][-8:] not in str(finding)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PACKAGE PKG AKIA AKIASHORT bearer of bad news, Bearer token",
        "1d0ba2f4-7c0e-4b5b-9f2b-0d9f6a3b1c77 tp1-75f2302ed841040bedafc4a56d8d2d9d",
        "-----BEGIN CERTIFICATE-----",
        "eyJ.eyJ.x",
        "ASKPKA1B2C3D4E5F6G7H8I9",
    ],
)
def test_other_text_is_no_secret(scanner, tmp_path, text):
    found = scanner.in_files([write(tmp_path / "run.log", text)])

    assert (found.findings, found.unreadable, found.files) == ((), (), 1)


@given(before=st.integers(0, 90), size=st.integers(40, 60))
def test_a_value_across_two_pieces_is_found_once(tmp_path_factory, before, size):
    path = write(tmp_path_factory.mktemp("x") / "log", b"\n" * before + b"0123456789" + b"\n" * 70)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secret_scan, "PIECE", size)
        patched.setattr(secret_scan, "OVERLAP", 24)
        found = SecretScanner({"key": "0123456789"}).in_files([path]).findings

    assert [finding.at for finding in found] == [str(before + 1)]


@given(
    texts=st.lists(st.sampled_from(["0123456789", "\n", "filler ", "01234", "\0"]), max_size=60).map("".join),
    size=st.integers(30, 80),
)
def test_pieces_of_any_size_find_what_one_piece_finds(tmp_path_factory, texts, size):
    path = write(tmp_path_factory.mktemp("x") / "log", "text\n" * 300 + texts)
    scanner = SecretScanner({"key": "0123456789"})
    whole = scanner.in_files([path]).findings
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(secret_scan, "PIECE", size)
        patched.setattr(secret_scan, "OVERLAP", 24)
        assert scanner.in_files([path]).findings == whole


def test_a_file_of_many_pieces_needs_little_memory(scanner, tmp_path):
    import tracemalloc

    line, path = b"nothing to see here, move along\n" * 1000, tmp_path / "huge.log"
    with path.open("wb") as file:
        for _ in range(300):
            file.write(line)
        file.write(f"here: {SECRET}\n".encode())
    tracemalloc.start()
    [finding] = scanner.in_files([path]).findings
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert finding.at == str(300_001)
    assert peak < 8 * secret_scan.PIECE < path.stat().st_size


def test_a_database_is_told_by_offset(scanner, tmp_path):
    path = tmp_path / "alerts.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE alerts (text TEXT)")
        database.execute("INSERT INTO alerts VALUES (?)", (f"call failed: {SECRET}",))
        database.commit()

    [finding] = scanner.in_files([path]).findings

    offset = int(finding.at.removeprefix("+"))
    assert path.read_bytes()[offset:].startswith(SECRET.encode())


def test_folders_are_scanned_with_all_that_is_in_them(scanner, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    write(tmp_path / "a" / "b" / "one.log", SECRET)
    write(tmp_path / "a" / "two.log", "fine")

    found = scanner.in_files([tmp_path])

    assert (len(found.findings), found.files) == (1, 2)


def test_what_is_not_there_is_told(scanner, tmp_path):
    found = scanner.in_files([tmp_path / "gone.log"])

    assert found.unreadable == (f"{tmp_path / 'gone.log'}: No such file or directory",)


def test_short_values_are_not_looked_for_since_they_are_everywhere(tmp_path):
    assert SecretScanner({"live_account": "A1"}).in_files([write(tmp_path / "x", "A1 A1")]).findings == ()


def test_variables_of_the_settings_may_hold_their_secrets_and_others_may_not(scanner):
    found = scanner.in_environment(
        {
            "APCA_API_SECRET_KEY": SECRET,
            "TRADING_PIPELINE__BROKER__SECRET_KEY": SECRET,
            "PATH": "/usr/bin",
            "BACKUP_OF_KEYS": f"x {SECRET}",
            "DEPLOY": "AKIA" + "ABCD" * 4,
        }
    )

    assert [(finding.place, finding.at, finding.what) for finding in found] == [
        ("environment", "BACKUP_OF_KEYS", "the value of broker.secret_key"),
        ("environment", "DEPLOY", "what looks like an AWS access key"),
    ]
