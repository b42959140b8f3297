"""Reads a settings class from its sources, and says in one line what is wrong with each setting.

Shared by the agent and the relay. Sources, the first that has a value wins: command line,
environment, env file, systemd credential, default.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as SourceError

from camagent.errors import SettingsError


class EnvironmentSettings(BaseSettings):
    """Base of every settings class: how its sources are read."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )


S = TypeVar("S", bound=EnvironmentSettings)

_USER_INFO = re.compile(r"//.*@")
_QUERY = re.compile(r"(://[^?]*\?).+")

EX_CONFIG = 78
"""Exit status for wrong settings (sysexits.h): restarting cannot help."""


def read_settings(
    kind: type[S], *, arguments: Sequence[str], program: str, env_file: Path | None
) -> S:
    """Build `kind` from command line, environment and env file.

    Raises:
        SettingsError: with one sentence for each setting that is missing or wrong.
        SystemExit: `--help`, or an option that does not exist.
    """
    try:
        return kind(
            _cli_parse_args=list(arguments),
            _cli_prog_name=program,
            _env_file=env_file,
            _secrets_dir=os.environ.get("CREDENTIALS_DIRECTORY"),
        )
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        raise SettingsError([_sentence(kind, problem) for problem in problems]) from error
    except SourceError as error:
        raise SettingsError([_unreadable(kind, error)]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{env_file} is not UTF-8 text: {error.reason}"]) from error


def unknown_names(
    kind: type[BaseSettings], *, environment: Mapping[str, str], env_file: Path | None
) -> list[tuple[str, str | None]]:
    """Find names with our prefix that no setting has, each with the name that was perhaps meant.

    A newer version's settings are no reason not to start, but a slip of the pen should be seen.
    """
    known = set(_names(kind))
    given = {*environment, *(dotenv_values(env_file) if env_file and env_file.exists() else ())}
    prefix = kind.model_config.get("env_prefix", "")
    strange = sorted(
        name for name in given if name.upper().startswith(prefix) and name.upper() not in known
    )
    return [(name, _closest(kind, name)) for name in strange]


def _closest(kind: type[BaseSettings], name: str) -> str | None:
    # Compared without the prefix, which alone makes any two names alike.
    prefix = kind.model_config.get("env_prefix", "")
    stem = name.upper().removeprefix(prefix)
    found = difflib.get_close_matches(stem, [*_names(kind, "")], n=1)
    return f"{prefix}{found[0]}" if found else None


def _names(kind: type[BaseModel], prefix: str | None = None) -> Iterable[str]:
    if prefix is None:
        prefix = kind.model_config.get("env_prefix", "")  # type: ignore[assignment]
    for name, field in kind.model_fields.items():
        full = f"{prefix}{name.upper()}"
        yield full
        nested = _model(field)
        if nested is not None:
            yield from _names(nested, f"{full}__")


def _sentence(kind: type[BaseSettings], problem: ErrorDetails) -> str:
    path = [part for part in problem["loc"] if isinstance(part, str)]
    field = _field(kind, path)
    name = kind.model_config.get("env_prefix", "") + "__".join(path).upper()
    right = f" ({field.description})" if field is not None and field.description else ""
    if problem["type"] == "missing":
        return f"{name} is not set{right}"
    if problem["type"] == "extra_forbidden":
        meant = _closest(kind, name)
        return f"{name}: there is no such setting{f'; perhaps {meant} is meant' if meant else ''}"
    shown = "" if _is_secret(field) or not path else f"={_show(problem['input'])}"
    reason = problem["msg"].removeprefix("Value error, ")
    if field is None or _model(field) is not None:
        # A rule that spans several settings says itself what would be right.
        return f"{name.rstrip('_')}: {reason}"
    return f"{name}{shown}: {reason[0].lower()}{reason[1:]}{right}"


def _unreadable(kind: type[BaseSettings], error: SourceError) -> str:
    """Say which group of settings was given as a whole, and not as the JSON that this takes."""
    found = re.search(r'field "(\w+)"', str(error))
    if found is None:
        return str(error)
    name = f"{kind.model_config.get('env_prefix', '')}{found[1].upper()}"
    return f"{name}: no JSON object; its parts are set one by one, by names that start {name}__"


def _show(value: object) -> str:
    """Write a value on one short line, without the secrets that a URL may carry."""
    line = _USER_INFO.sub("//***@", " ".join(str(value).split()))
    return _QUERY.sub(r"\1***", line)[:80]


def _field(kind: type[BaseModel], path: Sequence[str]) -> FieldInfo | None:
    model: type[BaseModel] | None = kind
    field = None
    for part in path:
        if model is None or part not in model.model_fields:
            return field
        field = model.model_fields[part]
        model = _model(field)
    return field


def _model(field: FieldInfo) -> type[BaseModel] | None:
    return next((kind for kind in _kinds(field.annotation) if _is_model(kind)), None)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_secret(field: FieldInfo | None) -> bool:
    return field is not None and SecretStr in set(_kinds(field.annotation))


def _kinds(annotation: Any) -> Iterable[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
