"""Looks for secrets where none may be: live values of the settings in every spelling, and texts shaped like keys.

Files are read in pieces, so a file of any size needs little memory; what lies
across two pieces is found as well. What is found is told by its place and
length, never by its letters.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trading_pipeline.domain.redaction import base64_spellings, spellings

PIECE = 1 << 20
# Longer than what is looked for: so much of a piece is looked at again with the next.
OVERLAP = 4096
SHORTEST = 6
# Each begins with letters that are fast to search for; no letter or digit stands before it.
PATTERNS: Sequence[tuple[str, bytes]] = (
    ("an AWS access key", rb"AKIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("an AWS access key", rb"ASIA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("an Alpaca key", rb"PK[A-Z0-9]{16,24}(?![A-Za-z0-9])"),
    ("an Alpaca key", rb"AK[A-Z0-9]{16,24}(?![A-Za-z0-9])"),
    ("an Alpaca key", rb"CK[A-Z0-9]{16,24}(?![A-Za-z0-9])"),
    ("a bearer token", rb"Bearer[ +:]{1,3}[A-Za-z0-9._~+/-]{16,512}"),
    ("a bearer token", rb"bearer[ +:]{1,3}[A-Za-z0-9._~+/-]{16,512}"),
    ("a JSON web token", rb"eyJ[A-Za-z0-9_-]{8,1024}\.eyJ[A-Za-z0-9_-]{8,1024}\.[A-Za-z0-9_-]{8,512}"),
    ("a private key", rb"-----BEGIN (?:[A-Z]{1,12} ){0,2}PRIVATE KEY-----"),
)
# Where secrets are expected in the environment: the settings' own variables.
EXPECTED = re.compile(r"APCA_API_(?:KEY_ID|SECRET_KEY)|TRADING_PIPELINE__.*(?:KEY|SECRET|PASSWORD|TOKEN|URL).*")


@dataclass(frozen=True, order=True)
class Finding:
    """A secret where none may be: ``place`` is a file or ``environment``, ``at`` a line, an offset or a variable."""

    place: str
    at: str
    what: str
    masked: str

    def __str__(self) -> str:
        """Return the finding in a line."""
        return f"{self.place}:{self.at}: {self.what} {self.masked}"


@dataclass(frozen=True)
class Scan:
    """What was found, and which files could not be read, with the reason."""

    findings: tuple[Finding, ...]
    unreadable: tuple[str, ...]
    files: int


class SecretScanner:
    """Finds named live values and texts that look like keys."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Look for the values of ``secrets``, told by their names; values of less than six characters are left out."""
        self._names: dict[bytes, str] = {}
        for name, value in secrets.items():
            if len(value) >= SHORTEST:
                forms = spellings(value) | base64_spellings(value)
                self._names |= {form.encode(): name for form in forms if len(form) >= SHORTEST}
        values = [(f"the value of {name}", re.escape(form)) for form, name in self._names.items()]
        shapes = [(f"what looks like {name}", shape) for name, shape in PATTERNS]
        # One pattern each: a search for fixed letters is far faster than one for any of them.
        self._patterns = [(what, re.compile(pattern)) for what, pattern in (*values, *shapes)]
        self._anywhere = len(values)

    def in_files(self, paths: Iterable[Path]) -> Scan:
        """Scan files, and folders with all that is in them."""
        findings: list[Finding] = []
        unreadable: list[str] = []
        files = 0
        for path in _files(paths):
            files += 1
            try:
                findings += self.in_file(path)
            except OSError as error:
                unreadable.append(f"{path}: {error.strerror}")
        return Scan(tuple(findings), tuple(unreadable), files)

    def in_file(self, path: Path) -> Iterator[Finding]:
        """Yield what a file holds, in order: by line where it is text, by offset where it is not.

        Raises:
            OSError: the file cannot be read.
        """
        position, line, kept, told = 0, 1, b"", -1
        is_text: bool | None = None
        with path.open("rb") as file:
            piece = file.read(PIECE)
            while piece:
                following = file.read(PIECE)
                is_text = b"\0" not in piece[:1024] if is_text is None else is_text
                text = kept + piece
                start = position - len(kept)
                for begin, end, what in self._found(text):
                    # What ends at the edge may go on in the next piece, where it is seen whole.
                    is_whole = end < len(text) or not following
                    if is_whole and start + begin > told:
                        told = start + end - 1
                        at = str(line + text.count(b"\n", 0, begin)) if is_text else f"+{start + begin}"
                        yield Finding(str(path), at, what, masked(end - begin))
                kept = text[-OVERLAP:]
                line += text.count(b"\n", 0, len(text) - len(kept))
                position += len(piece)
                piece = following

    def in_environment(self, environment: Mapping[str, str], *, everywhere: bool = False) -> list[Finding]:
        """Return the variables that hold a secret and are not where the settings look for one.

        With ``everywhere`` the variables of the settings are told too.
        """
        found = {
            name: self._found(value.encode(errors="surrogateescape"))
            for name, value in sorted(environment.items())
            if everywhere or not EXPECTED.fullmatch(name)
        }
        return [
            Finding("environment", name, what, masked(end - begin))
            for name, places in found.items()
            for begin, end, what in places[:1]
        ]

    def _found(self, text: bytes) -> list[tuple[int, int, str]]:
        """Return where each secret begins and ends and what it is, in order; of those that overlap the first."""
        found = [
            (match.start(), -match.end(), what)
            for number, (what, pattern) in enumerate(self._patterns)
            for match in pattern.finditer(text)
            if number < self._anywhere or not text[max(0, match.start() - 1) : match.start()].isalnum()
        ]
        kept: list[tuple[int, int, str]] = []
        for start, end, what in sorted(found):
            if not kept or start >= kept[-1][1]:
                kept.append((start, -end, what))
        return kept


def masked(length: int) -> str:
    """Return what is shown of a secret: how long it is.

    >>> masked(20)
    '******** (20 characters)'
    """
    return f"******** ({length} characters)"


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        # What is not there is told as unreadable by whoever opens it.
        yield from sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
