"""The README's commands run, its blocks parse, its tables are what the code says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BIN = Path(sys.executable).parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[str]:
    return [text for tag, text in BLOCKS if tag == language]


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
# What runs until it is stopped, with a sign on stderr that it serves.
SERVING = {
    "crm-mcp --http 8000": ["--http", "0"],
    "crm-mcp --http 0.0.0.0:8000": ["--http", "0.0.0.0:0"],
    "crm-mcp sandbox --memory": ["sandbox", "--memory", "--port", "0"],
}
# What other tests run: the installation in `tests/e2e/test_install.py`; and targets that would run this test.
ELSEWHERE = ("make ", "pip install .", "export ")


def environment(home: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.upper().startswith(("CRM_", "XDG_"))
    }
    return {**kept, "HOME": str(home), "LOCALAPPDATA": str(home)}


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("crm-mcp")])
def test_command_works(command: str, tmp_path: Path) -> None:
    if command in SERVING:
        return serves(SERVING[command], tmp_path)
    arguments = [str(BIN / "crm-mcp"), *shlex.split(command)[1:]]
    done = subprocess.run(
        arguments,
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr
    return None


def serves(arguments: list[str], home: Path) -> None:
    settings = {"CRM_MCP_HTTP_TOKEN": "t" * 43, "CRM_MCP_HTTP_ALLOWED_HOSTS": "mcp.example.com"}
    others = settings if "0.0.0.0:0" in arguments else {}
    with subprocess.Popen(
        [str(BIN / "crm-mcp"), *arguments],
        env=environment(home) | others,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        server.terminate()
        assert re.fullmatch(r"Serving on http://[\d.]+:\d+/(mcp|api/crm)\n", line), line
        assert server.wait(timeout=20) == 0


def test_every_command_is_run_somewhere() -> None:
    assert [line for line in COMMANDS if not line.startswith(("crm-mcp", *ELSEWHERE))] == []
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {line.removeprefix("make ") for line in COMMANDS if line.startswith("make ")} <= set(targets)


def test_json_blocks_are_configurations_and_the_first_is_the_example_file() -> None:
    first, *others = map(json.loads, blocks("json"))
    assert first == json.loads((ROOT / "claude_desktop_config.example.json").read_text("utf-8"))
    servers = [server for one in (first, *others) for server in one["mcpServers"].values()]
    for server in servers:
        assert set(server) in ({"command", "args", "env"}, {"url", "headers"})
    assert {server["command"] for server in servers if "command" in server} == {"crm-mcp"}


def test_python_block_and_curl_work_on_the_embedded_crm(tmp_path: Path) -> None:
    (block,) = blocks("python")
    program = tmp_path / "program.py"
    program.write_text(f"{block}\n\nimport sys\n\nasyncio.run(main(*sys.argv[1:]))\n", "utf-8")
    with subprocess.Popen(
        [str(BIN / "crm-mcp"), "sandbox", "--memory", "--port", "0"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as crm:
        assert crm.stdout is not None
        printed = dict(crm.stdout.readline().strip().split("=", 1) for _ in range(3))
        settings = [printed[name] for name in ("CRM_BASE_URL", "CRM_API_KEY", "CRM_ENTITY_ID")]
        done = subprocess.run(
            [sys.executable, str(program), *settings],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        by_hand = httpx2.get(_curl_url(printed), headers={"Authorization": f"Bearer {settings[1]}"})
        crm.terminate()
        crm.wait(timeout=20)
    assert (done.returncode, done.stderr) == (0, "")
    assert [company["name"] for company in by_hand.json()["companies"]] == [
        "Acme Inc.",
        "Acme Industries GmbH",
    ]
    *leads, summary = done.stdout.splitlines()
    assert len(leads) > 1
    assert all("licence" in lead for lead in leads)
    assert re.fullmatch(rf"{len(leads)} False \[\]|\d+ True \[\]", summary)


def _curl_url(variables: dict[str, str]) -> str:
    """The address in the README's call by hand."""
    (command,) = blocks("text")
    url = shlex.split(command)[-1]
    for name, value in variables.items():
        url = url.replace(f"${name}", value)
    return url


def test_derived_tables_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_links_to_files_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
