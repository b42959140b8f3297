"""README stays true."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from camagent.camera_settings import CameraSettings
from camagent.settings import Settings, VideoSettings
from server_stub.cli import _parser
from server_stub.settings import RelaySettings

# A dotted noun in quotes, as every event is logged.
_EVENT = r'"([a-z_]+\.[a-z_]+)"'
GROUPS = {"video", "camera"}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("kind", "prefix", "others"),
    [
        (Settings, "CAMAGENT_", r"VIDEO__|CAMERA__|RELAY_|ENV_FILE"),
        (VideoSettings, "CAMAGENT_VIDEO__", r"\Z"),
        (CameraSettings, "CAMAGENT_CAMERA__", r"\Z"),
        (RelaySettings, "CAMAGENT_RELAY_", r"\Z"),
    ],
)
def test_every_setting_is_in_the_tables(kind: type[BaseModel], prefix: str, others: str) -> None:
    """The tables name each setting that exists and none that does not."""
    told = set(re.findall(rf"^\| `{prefix}(?!{others})(\w+)` \|", README, flags=re.MULTILINE))
    real = {name.upper() for name in kind.model_fields if name not in GROUPS}

    assert told == real


@pytest.mark.parametrize("kind", [Settings, VideoSettings, CameraSettings, RelaySettings])
def test_every_setting_says_what_is_right(kind: type[BaseModel]) -> None:
    """The description is what a wrong value is answered with."""
    for name, field in kind.model_fields.items():
        assert field.description or name in GROUPS, name


def test_files_that_it_shows_are_there() -> None:
    """Links to files of the repository lead somewhere."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def as_told(default: Any) -> str:
    """Write a default as the tables do."""
    match default:
        case SecretStr():
            return default.get_secret_value()
        case bool():
            return str(default).lower()
        case int() | float():
            return f"{default:.15g}"
        case None | ():
            return "none"
        case tuple():
            return ",".join(map(str, default))
    return str(default)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (Settings, "CAMAGENT_"),
        (VideoSettings, "CAMAGENT_VIDEO__"),
        (CameraSettings, "CAMAGENT_CAMERA__"),
        (RelaySettings, "CAMAGENT_RELAY_"),
    ],
)
def test_every_default_is_as_told(kind: type[BaseModel], prefix: str) -> None:
    """The tables' second column is what holds when nothing is set."""
    for name, field in kind.model_fields.items():
        if name in GROUPS:
            continue
        row = re.search(rf"^\| `{prefix}{name.upper()}` \| ([^|]+) \|", README, re.MULTILINE)
        assert row is not None, name
        real = "required" if field.is_required() else as_told(field.default)
        assert row[1].replace("never", "none") == real, name


def test_every_event_that_it_explains_is_logged() -> None:
    """Who looks for a line of the log by README's word for it finds it."""
    paths = [*ROOT.glob("camagent/**/*.py"), *ROOT.glob("server_stub/**/*.py")]
    sources = "".join(path.read_text() for path in paths)
    kinds = "|".join(sorted({event.partition(".")[0] for event in re.findall(_EVENT, sources)}))
    events = set(re.findall(rf"(?:`|^ {{4}})((?:{kinds})\.[a-z0-9_]{{3,}})", README, re.MULTILINE))

    assert "session.closed" in events
    assert {event for event in events if f'"{event}"' not in sources} == set()


def test_every_target_that_it_names_can_be_made() -> None:
    """Each `make` word is a target, and each benchmark a file."""
    makefile = (ROOT / "Makefile").read_text()
    lines = re.findall(r"^ {4}(?:\w+=\S+ )?make ([a-z\- ]+?)(?:  |$)", README, re.MULTILINE)
    targets = {word for line in lines for word in line.split()}

    assert {"demo", "test", "lint", "types"} <= targets
    assert {target for target in targets if f"\n{target}:" not in makefile} == set()
    for bench in re.findall(r"bench-([\w-]+)", README):
        assert (ROOT / f"tests/bench/bench_{bench.replace('-', '_')}.py").exists(), bench


def test_every_command_of_the_relay_can_be_given() -> None:
    """What the relay's examples print is what its command line takes."""
    examples = re.findall(r"^ +(?:sudo )?camagent-relay (.+?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(examples) >= 5

    for example in examples:
        assert _parser().parse_known_args(example.split())[0].command, example
