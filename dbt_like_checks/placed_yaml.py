"""YAML read with the place of every value, so that an error can name its file and line."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor


class InvalidContract(ValueError):
    """A contract file that cannot be used; the message starts with its file and line."""


@dataclass(frozen=True)
class Placed:
    """A YAML value that knows where it stands."""

    node: yaml.Node
    path: Path

    def error(self, message: str) -> InvalidContract:
        """Return the error that says ``message`` of this place."""
        return InvalidContract(f"{self.path}:{self.node.start_mark.line + 1}: {message}")

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the YAML holds; callers check it
        """The plain Python value."""
        try:
            return SafeConstructor().construct_document(self.node)
        except (yaml.YAMLError, ValueError) as problem:
            raise self.error(f"this is not plain YAML: {problem}") from problem

    def fields(self) -> dict[str, "Placed"]:
        """Return the values of a mapping by key, in the order written.

        Raises:
            InvalidContract: this is no mapping, or a key is repeated or no text.
        """
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"a mapping (key: value) was wanted, found {self.shown}")
        found: dict[str, Placed] = {}
        for key_node, value_node in self.node.value:
            key = Placed(key_node, self.path)
            name = key.text()
            if name in found:
                raise key.error(f"{name!r} is given twice; keep one")
            found[name] = Placed(value_node, self.path)
        return found

    def known_fields(self, required: Collection[str], optional: Collection[str] = ()) -> dict[str, "Placed"]:
        """Return the values of a mapping that has every required key and no unknown one."""
        found = self.fields()
        for name, placed in found.items():
            if name not in required and name not in optional:
                raise placed.error(f"unknown key {name!r}; known here: {', '.join([*required, *optional]) or 'none'}")
        for name in required:
            if name not in found:
                raise self.error(f"the key {name!r} is missing")
        return found

    def entries(self) -> Sequence["Placed"]:
        """Return the values of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"a list was wanted, found {self.shown}")
        return [Placed(node, self.path) for node in self.node.value]

    def text(self) -> str:
        """Return a text that is not empty."""
        value = self.value
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"text was wanted, found {self.shown}")
        return value.strip()

    def boolean(self) -> bool:
        """Return true or false."""
        value = self.value
        if not isinstance(value, bool):
            raise self.error(f"true or false was wanted, found {self.shown}")
        return value

    def number(self) -> float:
        """Return a number, whole or not."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"a number was wanted, found {self.shown} (YAML wants a point in 1.0e-9)")
        return value

    def count(self) -> int:
        """Return a whole number that is not negative."""
        value = self.number()
        if not isinstance(value, int) or value < 0:
            raise self.error(f"a whole number from 0 was wanted, found {self.shown}")
        return value

    @property
    def shown(self) -> str:
        """The value as a message shows it."""
        if isinstance(self.node, yaml.MappingNode):
            return "a mapping"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return repr(self.value)


def read(path: Path) -> Placed:
    """Return the one document of a YAML file.

    Raises:
        InvalidContract: the file cannot be read, is no YAML, or is empty.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidContract(f"{path}: cannot be read: {problem}") from problem
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        raise InvalidContract(f"{path}:{line}: this is not YAML: {problem.problem}") from problem
    if node is None:
        raise InvalidContract(f"{path}:1: the file is empty")
    return Placed(node, path)
