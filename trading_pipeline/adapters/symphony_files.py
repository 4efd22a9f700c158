"""Strategies from files: a symphony in the strategies folder is a strategy like any other."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.domain.strategies import STRATEGIES, Strategy, strategy_named
from trading_pipeline.domain.strategies.symphony_text import Symphony, read_symphony

SUFFIXES = (".symphony", ".edn", ".clj", ".txt")
DAILY = "daily"
# The name becomes that of an asset, of a table and of a setting.
NAME = re.compile(r"[a-z][a-z0-9_]{0,49}")


def is_symphony_file(text: str) -> bool:
    """Tell whether what a person typed for a strategy names a file rather than a strategy.

    >>> is_symphony_file("nuclear"), is_symphony_file("mine/trend.edn"), is_symphony_file("./nuclear")
    (False, True, True)
    """
    return "/" in text or "\\" in text or Path(text).suffix in SUFFIXES


def read_strategy(path: Path) -> Strategy:
    """Read the symphony of one file; the strategy is called as the file is, without its ending.

    Raises:
        InvalidInput: the file cannot be read, holds no symphony, or its name cannot be a strategy's.
    """
    _check_name(path)
    return _strategy(path, read_symphony(_text(path), str(path)))


def strategies_in(folder: Path) -> Mapping[str, Strategy]:
    """Read every symphony of a folder, in alphabetical order of their names.

    Hidden files and Markdown are passed over.

    Raises:
        InvalidInput: the folder cannot be listed, a file in it is no symphony, two have one name, or one is to be
            rebalanced neither daily nor by a threshold.
    """
    files = _files(folder)
    wrong = [path.name for path in files if path.suffix not in SUFFIXES]
    if wrong:
        raise InvalidInput(
            f"the strategies folder {folder} holds {', '.join(wrong)}: symphonies end in {', '.join(SUFFIXES)}; "
            f"move other files elsewhere"
        )
    twice = [name for name, count in Counter(path.stem for path in files).items() if count > 1]
    if twice:
        raise InvalidInput(
            f"the strategies folder {folder} holds two files called {', '.join(twice)}: keep one of each"
        )
    return {path.stem: _tradable(path) for path in files}


def known_strategies(folder: Path | None) -> Mapping[str, Strategy]:
    """Return the built-in strategies, then those of ``folder`` if there is one.

    Raises:
        InvalidInput: as ``strategies_in``; or a file is called like a built-in strategy.
    """
    found = strategies_in(folder) if folder is not None else {}
    taken = sorted(set(found) & set(STRATEGIES))
    if taken:
        raise InvalidInput(f"{folder} holds files called {', '.join(taken)}, like built-in strategies: rename them")
    return {**STRATEGIES, **found}


def strategy_of(text: str, folder: Path | None = None) -> Strategy:
    """Return the strategy that a person means: a symphony file, or the name of a known strategy.

    Raises:
        InvalidInput: there is no such file or name, or the file holds no symphony.
    """
    if is_symphony_file(text):
        return read_strategy(Path(text))
    return strategy_named(text, known_strategies(folder))


def _files(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise InvalidInput(
            f"the strategies folder {folder} cannot be listed ({error.strerror}): create it, or unset strategies.folder"
        ) from None
    return [path for path in found if path.suffix.lower() != ".md"]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}): name a symphony file, or a strategy") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not text in UTF-8 (byte {error.start}): save it as such") from None


def _check_name(path: Path) -> None:
    if not NAME.fullmatch(path.stem):
        raise InvalidInput(
            f"{path} cannot name a strategy: small letters, digits and underscores are wanted, a letter first, at "
            f"most 50 of them; rename it, to {_suggested(path.stem)}{path.suffix} perhaps"
        )


def _strategy(path: Path, symphony: Symphony) -> Strategy:
    return Strategy(
        name=path.stem,
        title=symphony.name,
        description=f"Symphony of {path.name}.",
        tree=symphony.tree,
        drift_threshold=symphony.rebalance_threshold,
    )


def _tradable(path: Path) -> Strategy:
    _check_name(path)
    symphony = read_symphony(_text(path), str(path))
    if symphony.rebalance_threshold is None and symphony.rebalance_frequency not in {None, DAILY}:
        raise InvalidInput(
            f"{path} is to be rebalanced {symphony.rebalance_frequency}: here a strategy is rebalanced daily, or when "
            f"it has drifted by :rebalance-threshold; change the option to :rebalance-frequency :daily"
        )
    return _strategy(path, symphony)


def _suggested(stem: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")
    return words[:50] if NAME.fullmatch(words[:50]) else f"s_{words}"[:50].rstrip("_")
