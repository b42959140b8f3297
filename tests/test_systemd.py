"""What the service is made of: unit files, shell scripts, the package and the first-boot recipe."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from camagent import __version__
from camagent.configuration import unknown_names
from camagent.settings import Settings
from server_stub.settings import RelaySettings

ROOT = Path(__file__).parents[1]
SYSTEMD = ROOT / "systemd"
SHELL = [
    *SYSTEMD.glob("*.sh"),
    *(SYSTEMD / name for name in ("build-deb", "make-template", "camagent-relay")),
    *(SYSTEMD / "debian" / name for name in ("preinst", "postinst", "prerm", "postrm")),
    ROOT / "tests/install-packages",
    ROOT / "tests/fetch-axe",
    ROOT / ".ci/run",
]
Program = Callable[[str, str], str]


def output(*words: str | Path, status: int = 0, **options: str) -> str:
    """Run a program to its end; give what it printed, errors included."""
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **options
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def template() -> str:
    return output("sh", "-c", f"{SYSTEMD}/make-template < {SYSTEMD}/camagent.service")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """Give a folder with every unit, which starts a program that is there."""
    for name in ("camagent.service", "camagent-relay.service"):
        (tmp_path / name).write_text((SYSTEMD / name).read_text())
    (tmp_path / "camagent@.service").write_text(template())
    for unit in tmp_path.iterdir():
        started = re.sub(
            r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE
        )
        unit.write_text(started)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["camagent.service", "camagent@front.service", "camagent-relay.service"]
)
def test_systemd_understands_each_unit(units: Path, program: Program, name: str) -> None:
    """No directive is unknown or wrong."""
    told = output(program("systemd-analyze", "systemd"), "verify", "--man=no", units / name)

    assert [line for line in told.splitlines() if "camagent" in line] == []


@pytest.mark.parametrize(
    "name", ["camagent.service", "camagent@.service", "camagent-relay.service"]
)
def test_each_unit_is_well_confined(units: Path, program: Program, name: str) -> None:
    """Systemd's own judgement of the sandbox is 2.0 or better."""
    analyze = program("systemd-analyze", "systemd")
    told = output(analyze, "security", "--offline=true", "--no-pager", units / name)
    level = re.search(r"exposure level for \S+: (\d+\.\d)", told)

    assert level is not None
    assert float(level[1]) <= 2.0


def test_the_relay_may_hold_as_many_connections_as_it_can() -> None:
    """Two descriptors for each of the 10,000 that one process is good for, and some to spare."""
    unit = (SYSTEMD / "camagent-relay.service").read_text()
    limit = re.search(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)

    assert limit is not None
    assert int(limit[1]) >= 2 * 10_000


def test_a_template_is_the_unit_with_names_of_its_own() -> None:
    """Several cameras differ in settings, folder and description, and in nothing else."""
    ours, theirs = (SYSTEMD / "camagent.service").read_text().splitlines(), template().splitlines()
    changed = [new for old, new in zip(ours, theirs, strict=True) if old != new]

    assert [line for line in changed if not line.startswith("#")] == [
        "Description=Camera agent %i",
        "EnvironmentFile=-/etc/camagent/%i.env",
        "RuntimeDirectory=camagent-%i",
    ]


@pytest.mark.parametrize("name", ["camagent.env", "relay.env"])
def test_the_examples_name_settings_that_exist(name: str, tmp_path: Path) -> None:
    """Each line, those that are commented out included, is a setting."""
    text = (SYSTEMD / name).read_text()
    file = tmp_path / name
    file.write_text(re.sub(r"^#(CAMAGENT_)", r"\1", text, flags=re.MULTILINE))
    kind = Settings if name == "camagent.env" else RelaySettings

    assert len(re.findall("^CAMAGENT_", file.read_text(), re.MULTILINE)) >= 8
    assert unknown_names(kind, environment={}, env_file=file) == []


def test_shell_scripts_are_sound(program: Program) -> None:
    """Shellcheck has nothing to say about any of them."""
    assert output(program("shellcheck", "shellcheck"), *SHELL) == ""


@pytest.mark.parametrize("script", [*SYSTEMD.glob("*install.sh"), SYSTEMD / "release.sh"])
def test_an_unknown_option_changes_nothing(script: Path) -> None:
    """Each script says how it is used."""
    status = 2 if script.name == "release.sh" else 1
    told = output(script, "--frobnicate", status=status)

    assert ".sh" in told


@pytest.mark.parametrize("name", ["install.sh", "uninstall.sh"])
def test_only_root_installs(name: str) -> None:
    """Anybody else is told what to type."""
    nobody = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    with (SYSTEMD / name).open() as script:
        done = subprocess.run(
            ["sh", "-s"], stdin=script, capture_output=True, text=True, check=False, **nobody
        )

    assert done.returncode == 1
    assert "camagent: only root can" in done.stderr


def test_the_recipe_is_valid(program: Program) -> None:
    """cloud-init's own schema accepts it, and it names the settings that have to be put in."""
    recipe = SYSTEMD / "user-data"
    told = output(program("cloud-init", "cloud-init"), "schema", "--config-file", recipe)

    assert "Valid" in told
    for name in ("CAMAGENT_DEVICE_ID=", "CAMAGENT_SERVER_URL="):
        assert name in recipe.read_text()


def test_the_package_is_built_and_sound(program: Program, tmp_path: Path) -> None:
    """It has the version of the sources, carries unit and wheel, and lintian finds no error."""
    for name, package in (("dh", "debhelper"), ("fakeroot", "fakeroot")):
        program(name, package)
    environment = os.environ | {"PYTHON": sys.executable}
    output(SYSTEMD / "build-deb", tmp_path, env=environment)  # type: ignore[arg-type]
    (package,) = tmp_path.glob("*.deb")
    listed = output("dpkg-deb", "--contents", package)
    told = output(program("lintian", "lintian"), "--fail-on=error", "--allow-root", package)

    assert package.name == f"camagent_{__version__}_all.deb"
    for there in (
        "camagent.service",
        "camagent@.service",
        f"camagent-{__version__}-py3-none-any.whl",
    ):
        assert there in listed
    assert [line for line in told.splitlines() if line.startswith("E:")] == []
