"""The wheel, as somebody else gets it: in an environment with its declared dependencies only."""

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import httpx2
import pytest

from crm_mcp import __version__

from .programs import SECONDS, Program, environment

ROOT = Path(__file__).parents[2]
# Only what is installed counts.
ALONE = {"PYTHONPATH": ""}
SCRIPTS, SUFFIX = ("Scripts", ".exe") if sys.platform == "win32" else ("bin", "")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT],
        check=True,
        capture_output=True,
        timeout=120,
    )
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the scripts of a fresh environment."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=sys.platform != "win32")
    scripts = place / SCRIPTS
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", scripts / f"python{SUFFIX}"),
            *("install", "--quiet", "--disable-pip-version-check", "--no-compile", wheel),
        ],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return scripts


def test_wheel_holds_what_the_source_holds(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("crm_mcp/")}
    source = {
        file.relative_to(ROOT / "src").as_posix()
        for file in (ROOT / "src" / "crm_mcp").rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert packed == source
    assert {"crm_mcp/py.typed", "crm_mcp/tools/surface/search_leads.json"} <= packed


@pytest.mark.parametrize(
    ("arguments", "last_line"), [(["--version"], f"crm-mcp {__version__}"), (["demo"], "}")]
)
def test_script_runs(installed: Path, tmp_path: Path, arguments: list[str], last_line: str) -> None:
    done = subprocess.run(
        [installed / f"crm-mcp{SUFFIX}", *arguments],
        env=environment(tmp_path, ALONE),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == last_line


def test_answers_over_stdio(installed: Path, tmp_path: Path) -> None:
    with Program(home=tmp_path, python=installed / f"python{SUFFIX}", **ALONE) as server:
        server.shake_hands()
        assert len(server.ask(1, "tools/list")["result"]["tools"]) == 24
        result = server.ask(2, "tools/call", name="list_pipeline_stages", arguments={})["result"]
        assert len(result["structuredContent"]["stages"]) == 6


def test_answers_over_http(installed: Path, tmp_path: Path) -> None:
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        },
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/list",
    }
    with (
        Program("--http", "0", home=tmp_path, python=installed / f"python{SUFFIX}", **ALONE) as server,
        httpx2.Client(timeout=SECONDS) as http,
    ):
        answer = http.post(server.url(), json=request, headers=headers)
    assert len(answer.json()["result"]["tools"]) == 24
