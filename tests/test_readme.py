"""README stays true."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from camagent.settings import Settings, VideoSettings
from server_stub.settings import RelaySettings

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.parametrize(
    ("kind", "prefix", "others"),
    [
        (Settings, "CAMAGENT_", r"VIDEO__|RELAY_|ENV_FILE"),
        (VideoSettings, "CAMAGENT_VIDEO__", r"\Z"),
        (RelaySettings, "CAMAGENT_RELAY_", r"\Z"),
    ],
)
def test_every_setting_is_in_the_tables(kind: type[BaseModel], prefix: str, others: str) -> None:
    """The tables name each setting that exists and none that does not."""
    told = set(re.findall(rf"^\| `{prefix}(?!{others})(\w+)` \|", README, flags=re.MULTILINE))
    real = {name.upper() for name in kind.model_fields} - {"VIDEO"}

    assert told == real


@pytest.mark.parametrize("kind", [Settings, VideoSettings, RelaySettings])
def test_every_setting_says_what_is_right(kind: type[BaseModel]) -> None:
    """The description is what a wrong value is answered with."""
    for name, field in kind.model_fields.items():
        assert field.description or name == "video", name


def test_files_that_it_shows_are_there() -> None:
    """Links to files of the repository lead somewhere."""
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[1] / target).exists(), target
