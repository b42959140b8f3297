"""Who may import whom, and what a source file may look like."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("camagent/**/*.py"), *ROOT.glob("server_stub/**/*.py")])
LONGEST_FILE = 300
LEAVES_FOR_THE_RELAY = {
    "camagent",
    "camagent.signaling.messages",
    "camagent.configuration",
    "camagent.logs",
    "camagent.journal",
    "camagent.notify",
    "camagent.errors",
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_of(path) for path in SOURCES}


def statements_of(node: ast.AST, *, is_nested: bool) -> Iterator[ast.AST]:
    """Yield what is below `node`; without `is_nested`, what runs when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if is_nested or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from statements_of(child, is_nested=is_nested)


def imports_of(source: str, *, is_nested: bool = True) -> Iterator[str]:
    """Yield every module that a source imports; without `is_nested`, not those in functions."""
    for node in statements_of(ast.parse(source), is_nested=is_nested):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Resolved here, a relative import would be another way past the rules.
            assert node.level == 0, f"line {node.lineno}: a relative import"
            assert node.module is not None
            yield node.module
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from sorted(names & MODULES)


def importers(*packages: str) -> set[str]:
    """Name the modules that import one of `packages`."""
    return {
        module_of(path)
        for path in SOURCES
        for name in imports_of(path.read_text())
        if any(name == package or name.startswith(f"{package}.") for package in packages)
    }


def test_the_reader_of_imports_sees_them_all() -> None:
    """Both forms are seen, and those inside functions only where asked."""
    source = """
import a.b
from c import d
try:
    import e
except ImportError:
    pass
def f():
    import g
from camagent import settings
"""
    top = ["a.b", "c", "e", "camagent", "camagent.settings"]

    assert sorted(imports_of(source)) == sorted([*top, "g"])
    assert list(imports_of(source, is_nested=False)) == top
    assert "camagent.agent" in importers("camagent.media")


def test_a_relative_import_is_no_way_past_the_rules() -> None:
    """The reader of imports stops at one."""
    with pytest.raises(AssertionError, match="relative"):
        list(imports_of("from ..webrtc import peer"))


def test_media_knows_neither_messages_nor_viewers() -> None:
    """Pictures are made without a thought of who gets them."""
    strangers = importers("camagent.signaling", "camagent.webrtc")

    assert not {name for name in strangers if name.startswith("camagent.media")}


def test_the_link_knows_neither_pictures_nor_viewers() -> None:
    """Messages travel without a thought of what they are about."""
    assert "camagent.signaling.link" not in importers("camagent.media", "camagent.webrtc")


def test_picamera2_is_imported_in_one_place_and_late() -> None:
    """Everything else runs on a laptop, and so does importing that module."""
    found = importers("picamera2", "libcamera", "videodev2")
    assert found
    assert {module.rpartition(".")[0] for module in found} == {"camagent.media.picamera"}
    package = (ROOT / "camagent/media/picamera").glob("*.py")
    top = set().union(*(imports_of(path.read_text(), is_nested=False) for path in package))
    assert not {name for name in top if name.startswith(("picamera2", "libcamera"))}


def test_aiortc_stays_in_webrtc() -> None:
    """A change of its names is felt in one package."""
    assert {name.rpartition(".")[0] for name in importers("aiortc", "aioice")} == {
        "camagent.webrtc"
    }


def test_websockets_stays_in_the_link() -> None:
    """The rest of the agent does not know how messages travel."""
    assert importers("websockets") == {"camagent.signaling.link"}


def test_the_relay_takes_leaves_only() -> None:
    """The relay needs neither camera nor peer connections to run."""
    taken = {
        name
        for path in ROOT.glob("server_stub/**/*.py")
        for name in imports_of(path.read_text())
        if name.split(".")[0] == "camagent"
    }

    assert taken <= LEAVES_FOR_THE_RELAY


@pytest.mark.parametrize("module", sorted(LEAVES_FOR_THE_RELAY))
def test_a_leaf_is_light(module: str) -> None:
    """What the relay takes pulls in nothing heavy."""
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"aiortc", "av", "websockets", "numpy"} & set(loaded)


def test_settings_are_read_at_the_top_only() -> None:
    """Parts get plain values."""
    assert {name for name in importers("camagent.settings") if "check" not in name} == {
        "camagent.agent",
        "camagent.cli",
        "camagent.demo",
        "camagent.wiring",
    }
    assert importers("camagent.camera_settings") == {"camagent.settings", "camagent.wiring"}


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_file_says_what_it_is_for(path: Path) -> None:
    """Every module starts with a docstring, has one job's length, and is finished."""
    text = path.read_text()

    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert not re.search(r"\bTODO\b|\bFIXME\b|\bassert False\b|\bassert 0\b", text)
    limit = 500 if path.name == "messages.py" else LONGEST_FILE
    assert len(text.splitlines()) <= limit
