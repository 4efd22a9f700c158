"""Reading the tree of settings from a YAML file and the environment."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, SecretStr, ValidationError

from trading_pipeline.domain.errors import InvalidInput
from trading_pipeline.settings.risk import RiskSettings
from trading_pipeline.settings.tree import Settings

PREFIX = "TRADING_PIPELINE__"
FILE_VARIABLE = "TRADING_PIPELINE_SETTINGS"
NAMED_VARIABLES: Mapping[str, str] = {
    "TRADING_MODE": "mode",
    "TRADING_LIVE_ACCOUNT": "broker.live_account",
    "APCA_API_KEY_ID": "broker.key_id",
    "APCA_API_SECRET_KEY": "broker.secret_key",
}
# Mappings that are one value, not a section.
WHOLE_FIELDS = frozenset({"strategies.capital_shares", "strategies.safe_assets", "instruments"})


@dataclass(frozen=True)
class EffectiveSetting:
    """One effective setting, for people: its dotted name, value (secrets masked), source and meaning.

    The source of a limit that is as the family of strategies has it is the
    family's name.
    """

    name: str
    value: str
    source: str
    description: str


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for each dotted name that was set, where."""

    settings: Settings
    sources: Mapping[str, str]

    def listing(self) -> Iterator[EffectiveSetting]:
        """Yield every field in the tree's order."""
        yield from _listed(self.settings, "", self.sources)


def load_settings(file: Path | None, environment: Mapping[str, str]) -> LoadedSettings:
    """Read settings from ``file`` (or the one that the environment names) and the environment.

    Raises:
        InvalidInput: the file cannot be read or parsed, a key is unknown, or a value is out of range;
            every fault is named, with its place.
    """
    chosen = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    tree: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if chosen is not None:
        for name, value, line in _leaves(chosen, _yaml(chosen)):
            _put(tree, name, value)
            sources[name] = f"{chosen}:{line}"
    for variable, name, value in _variables(environment):
        _put(tree, name, value)
        sources[name] = f"environment {variable}"
    try:
        return LoadedSettings(Settings.model_validate(tree), sources)
    except ValidationError as error:
        raise InvalidInput(_explained(error, sources)) from None


def _yaml(file: Path) -> yaml.MappingNode | None:
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise InvalidInput(f"settings file {file} cannot be read: {error.strerror}; name another, or none") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"settings file {file} is not text in UTF-8; write it as YAML") from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"settings file {file} is not YAML: {_first_lines(str(error))}; correct it") from None
    if node is None or _is_empty(node):
        return None
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise InvalidInput(f"settings file {file} must hold 'key: value' lines, was {found}")
    return node


def _leaves(file: Path, node: yaml.MappingNode | None, prefix: str = "") -> Iterator[tuple[str, Any, int]]:
    seen: set[str] = set()
    for key, value in node.value if node is not None else ():
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            raise InvalidInput(f"{file}:{line}: setting {name} is given a second time; keep one")
        seen.add(name)
        if isinstance(value, yaml.MappingNode) and value.value and name not in WHOLE_FIELDS:
            yield from _leaves(file, value, f"{name}.")
        elif not (_is_section(name) and _is_empty(value)):
            yield name, _constructed(value, f"{file}:{value.start_mark.line + 1}"), line


def _is_section(name: str) -> bool:
    section: type[BaseModel] = Settings
    for key in name.split("."):
        field = section.model_fields.get(key)
        if field is None or field.default_factory is None:
            return False
        section = cast("type[BaseModel]", field.annotation)
    return True


def _is_empty(node: yaml.Node) -> bool:
    # Every line of it may be commented out.
    return node.tag == "tag:yaml.org,2002:null" or (node.tag == "tag:yaml.org,2002:map" and not node.value)


def _constructed(node: yaml.Node, place: str) -> Any:  # noqa: ANN401 - YAML holds anything
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError) as error:
        # An impossible date such as 2026-02-30 is a ValueError of the YAML constructor.
        raise InvalidInput(f"{place}: {_first_lines(str(error))}; correct the value") from None
    finally:
        loader.dispose()


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[str, str, Any]]:
    for variable in sorted(environment):
        text = environment[variable]
        if not text:
            continue
        if variable in NAMED_VARIABLES:
            yield variable, NAMED_VARIABLES[variable], text
        elif variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower().replace("__", ".")
            for leaf, value in _spelled_out(name, _parsed(variable, text)):
                yield variable, leaf, value


def _parsed(variable: str, text: str) -> Any:  # noqa: ANN401 - whatever the text spells
    # Variables may hold mappings: TRADING_PIPELINE__STRATEGIES__CAPITAL_SHARES='{nuclear: 1.0}'
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InvalidInput(f"environment {variable} begins like a mapping or list and is none; correct it") from None


def _spelled_out(name: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - whatever the text spelled
    whole = next((field for field in WHOLE_FIELDS if name.startswith(f"{field}.")), None)
    if whole is not None:
        raise InvalidInput(f"setting {name} is part of one value, {whole}; give that whole, as '{{key: value}}'")
    if isinstance(value, dict) and name not in WHOLE_FIELDS:
        for key, inner in value.items():
            yield from _spelled_out(f"{name}.{key}", inner)
    else:
        yield name, value


def _put(tree: dict[str, Any], name: str, value: object) -> None:
    *sections, leaf = name.split(".")
    for place, section in enumerate(sections, start=1):
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise InvalidInput(
                f"setting {'.'.join(sections[:place])} was {inner!r}; it is a section, with keys below it"
            )
        tree = inner
    tree[leaf] = value


def _explained(error: ValidationError, sources: Mapping[str, str]) -> str:
    return "settings are wrong:\n" + "\n".join(f"  {_fault(item, sources)}" for item in error.errors())


def _fault(item: Any, sources: Mapping[str, str]) -> str:  # noqa: ANN401 - pydantic's error dictionary
    name = ".".join(str(part) for part in item["loc"])
    place = next((f" ({where})" for key, where in sources.items() if name == key or name.startswith(f"{key}.")), "")
    if item["type"] == "extra_forbidden":
        return f"{name}{place} is not a setting{_suggestion(name)}; `trading-pipeline settings` lists them all"
    message = item["msg"].removeprefix("Value error, ")
    hidden = "key" in name or name == "broker" or isinstance(item["input"], dict)
    shown = "" if hidden else f", was {item['input']!r}"
    return f"{name or 'settings'}{place}: {message[:1].lower()}{message[1:]}{shown}"


def _suggestion(name: str) -> str:
    known = [field.name for field in LoadedSettings(Settings(), {}).listing()]
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _listed(section: BaseModel, prefix: str, sources: Mapping[str, str]) -> Iterator[EffectiveSetting]:
    for key, info in type(section).model_fields.items():
        value, name = getattr(section, key), f"{prefix}{key}"
        if isinstance(value, BaseModel):
            yield from _listed(value, f"{name}.", sources)
        else:
            source = sources.get(name, "default")
            if value is None and isinstance(section, RiskSettings):
                # The family's limit is enforced in its place.
                value, source = getattr(section.limits, key), section.family.value
            yield EffectiveSetting(name, _shown(value), source, info.description or "")


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else "(not set)"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "(none)"
    return "(none)" if value is None else str(value)


def _first_lines(text: str, count: int = 3) -> str:
    return " ".join(line.strip() for line in text.splitlines()[:count])
