"""Whether the settings make an agent."""

from pathlib import Path

import pytest

from camagent.check.findings import Finding, Verdict
from camagent.check.settings import Origin, Parts, check_settings

RIGHT = ["--device-id=cam", "--server-url=wss://relay", "--video.source=synthetic"]


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMAGENT_REQUIRE_ALL", raising=False)


def check(
    *arguments: str, env_file: Path | None = None, system: Path = Path("/none/camagent.env")
) -> tuple[Parts | None, list[Finding]]:
    origin = Origin(
        arguments=arguments,
        env_file=env_file,
        system_env_file=system,
        not_settings=("CAMAGENT_RELAY_",),
    )
    return check_settings(origin)


def test_settings_that_are_right_make_parts() -> None:
    """They are one line, and there is something to try."""
    parts, findings = check(*RIGHT)

    assert parts is not None
    assert (parts.link is None, parts.source is None) == (False, False)
    assert findings == [Finding("settings", Verdict.OK, "cam, without an env file")]


def test_every_problem_is_a_failure() -> None:
    """Each has the file in which to mend it."""
    parts, findings = check("--server-url=http://a", "--max-viewers=0")

    assert parts is None
    assert [finding.text.split(" ")[0].rstrip(":") for finding in findings] == [
        "CAMAGENT_DEVICE_ID",
        "CAMAGENT_SERVER_URL=http://a",
        "CAMAGENT_MAX_VIEWERS=0",
    ]
    assert {finding.fix for finding in findings} == {"correct it in /none/camagent.env"}


def test_what_only_building_shows_leaves_the_rest_to_try(tmp_path: Path) -> None:
    """A certificate that is none fails, and the camera can be tried all the same."""
    wrong = tmp_path / "ca.pem"
    wrong.write_text("hello")
    parts, findings = check(*RIGHT, f"--server-ca-file={wrong}", "--in-use-led=no-such-led")

    assert parts is not None
    assert (parts.link, parts.light) == (None, None)
    assert parts.source is not None
    assert [finding.verdict for finding in findings] == [Verdict.FAILED] * 2
    assert "no certificate in PEM form" in findings[0].text


def test_an_env_file_of_root_is_asked_for_with_sudo(tmp_path: Path) -> None:
    """What is missing from the settings is in there; nothing else need be said."""
    system = tmp_path / "camagent.env"
    system.write_text("CAMAGENT_DEVICE_ID=cam")
    parts, findings = check(system=system)

    assert parts is None
    assert [finding.fix for finding in findings] == ["run it with sudo: sudo camagent check"]
    assert str(system) in findings[0].text


def test_a_slip_of_the_pen_is_a_warning(tmp_path: Path) -> None:
    """A name that no setting has is told with the one that was perhaps meant."""
    env_file = tmp_path / "camagent.env"
    env_file.write_text("CAMAGENT_MAX_VIEWER=3\nCAMAGENT_RELAY_PORT=1\n")
    _, findings = check(*RIGHT, env_file=env_file)

    assert findings == [
        Finding(
            "settings",
            Verdict.WARNING,
            "CAMAGENT_MAX_VIEWER: there is no such setting",
            "perhaps CAMAGENT_MAX_VIEWERS is meant",
        )
    ]
