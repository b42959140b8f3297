"""The Compose file and what lies beside it: documentation that has to be true."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from aioice import turn

from camagent.configuration import unknown_names
from server_stub.settings import RelaySettings
from server_stub.turn import IceServers
from tests.conftest import missing
from tests.npm import COMPOSE_SCHEMA, NotToBeHad
from tests.support import eventually

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "server_stub/compose"
CADDY = ROOT / "build/caddy/usr/bin/caddy"
SECRET = "shared-by-relay-and-coturn"
VALUES = {
    "DOMAIN": "relay.example.com",
    "PUBLIC_ADDRESS": "203.0.113.10",
    "JWT_SECRET": "a secret that is as long as it has to be, or longer",
    "POSTGRES_PASSWORD": "0123456789abcdef",
    "TURN_SECRET": SECRET,
}
# ${NAME} and ${NAME:?what it is}
VARIABLE = re.compile(r"\$\{(\w+)(?::\?[^}]+)?\}")
TEXT = (FOLDER / "compose.yaml").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Read the services with every variable filled in."""
    filled = yaml.safe_load(VARIABLE.sub(lambda name: VALUES[name[1]], TEXT))
    return dict(filled["services"])


def test_it_is_a_compose_file() -> None:
    """The specification's own schema accepts it, and would not accept a slip."""
    try:
        schema = json.loads(COMPOSE_SCHEMA.read("lib/compose-spec/schema/compose-spec.json"))
    except NotToBeHad as reason:
        missing(str(reason))
    compose = yaml.safe_load(TEXT)
    # Younger than this edition of the schema.
    assert compose.pop("name") == "camagent"
    jsonschema.validate(compose, schema, jsonschema.Draft201909Validator)
    compose["services"]["relay"]["enviroment"] = {}
    with pytest.raises(jsonschema.ValidationError, match="enviroment"):
        jsonschema.validate(compose, schema, jsonschema.Draft201909Validator)


def test_it_wants_what_the_example_has() -> None:
    """Each variable is in example.env, which has no other; Caddy's come from Compose."""
    example = re.findall(r"^(\w+)=", (FOLDER / "example.env").read_text(), re.MULTILINE)
    assert set(VARIABLE.findall(TEXT)) == set(example) == set(VALUES)
    for name in example:
        assert f"${{{name}:?" in TEXT, f"nobody is told what {name} is"
    caddy = yaml.safe_load(TEXT)["services"]["caddy"]
    wanted = set(re.findall(r"\{\$(\w+)\}", (FOLDER / "Caddyfile").read_text()))
    assert wanted == set(caddy["environment"])


def test_the_relay_takes_its_settings(
    services: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variable is a setting, and every value one that it takes."""
    environment = services["relay"]["environment"]
    assert len(environment) >= 6
    assert unknown_names(RelaySettings, environment=environment, env_file=tmp_path / "no") == []
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = RelaySettings(_env_file=None)
    assert settings.turn_urls == tuple(
        f"turn:relay.example.com:3478?transport={transport}" for transport in ("udp", "tcp")
    )
    assert settings.turn_secret is not None
    assert (
        f"--static-auth-secret={settings.turn_secret.get_secret_value()}"
        in (services["coturn"]["command"])
    )


def test_everything_that_it_names_is_there(services: dict[str, Any]) -> None:
    """Files that are mounted or copied, services that are depended on, the port that is asked."""
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert not source.startswith("./") or (FOLDER / source).exists(), source
    relay = services["relay"]
    context = (FOLDER / relay["build"]["context"]).resolve()
    dockerfile = context / relay["build"]["dockerfile"]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE)
    assert copied
    for name in " ".join(copied).split():
        assert (context / name).exists(), name
    port = RelaySettings.model_fields["port"].default
    assert f"EXPOSE {port}\n" in dockerfile.read_text()
    assert f"127.0.0.1:{port}/healthz" in " ".join(relay["healthcheck"]["test"])
    assert (FOLDER / "Caddyfile").read_text().count(f"dynamic a relay {port}\n") == 2


@pytest.fixture(scope="module")
def caddy() -> str:
    """Find Caddy; where it is not installed, unpack Debian's package, for no service to start."""
    found = shutil.which("caddy")
    if found is not None:
        return found
    if not CADDY.exists():
        folder = CADDY.parents[2]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(
                ["apt-get", "download", "-qq", "caddy"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=60,
            )
            (package,) = folder.glob("caddy_*.deb")
            subprocess.run(["dpkg-deb", "-x", package, folder], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError, ValueError):
            missing("there is no Caddy (Debian package caddy)")
    return str(CADDY)


def test_caddy_understands_its_file(caddy: str, tmp_path: Path) -> None:
    """It is valid, and WHEP's requests are proxied by their token before all others."""
    environment = os.environ | {"DOMAIN": "relay.example.com", "HOME": str(tmp_path)}
    environment["XDG_DATA_HOME"] = environment["XDG_CONFIG_HOME"] = str(tmp_path)
    words = ["adapt", "--validate", "--adapter", "caddyfile", "--config", FOLDER / "Caddyfile"]
    done = subprocess.run(
        [caddy, *words], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    adapted = done.stdout
    whep, other = re.findall(r'"policy":"(\w+)"', adapted)
    assert (whep, other) == ("header", "least_conn")
    assert adapted.index('"/metrics"') < adapted.index('"/whep/*"') < adapted.index("least_conn")
    assert '"relay.example.com"' in adapted


@pytest.fixture
def coturn(program: Callable[[str, str], str], tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """Run coturn as Compose does, but on loopback; give its port and its log."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
    log = tmp_path / "log"
    options = {
        "static-auth-secret": SECRET,
        "realm": "relay.example.com",
        "listening-ip": "127.0.0.1",
        "relay-ip": "127.0.0.1",
        "listening-port": port,
        "pidfile": tmp_path / "pid",
        "userdb": tmp_path / "db",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [program("turnserver", "coturn"), "-c", str(FOLDER / "turnserver.conf"), *words]
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file)
    try:
        yield port, log
    finally:
        process.kill()
        process.wait()


async def test_coturn_knows_every_option(coturn: tuple[int, Path]) -> None:
    """It complains of none, and gives a relayed address to who has the relay's credentials."""
    port, log = coturn
    urls = (f"turn:127.0.0.1:{port}?transport=udp",)
    servers = IceServers(turn_urls=urls, secret=SECRET, valid_for_s=60)
    (server,) = servers.for_viewer("user", "s", now_s=time.time())

    async def has_come_up() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    # Four threads and a database: on a busy machine that takes its time.
    await eventually(has_come_up, deadline_s=60)
    transport, _ = await turn.create_turn_endpoint(
        asyncio.DatagramProtocol,
        server_addr=("127.0.0.1", port),
        username=server.username,
        password=server.credential,
    )
    transport.close()
    told = log.read_text()
    # The first, too: a file that is not read would be complained of by nobody.
    assert "Black listing: 10.0.0.0-10.255.255.255" in told
    assert "Bad configuration" not in told
