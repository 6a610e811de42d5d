"""A CRM over a real network connection: keys, files of settings, the doctor, and no key anywhere."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .programs import SECONDS, Program

CANARY_KEY = "ak_canary-7f3a"
NOT_ACCEPTED = 'The CRM does not accept the API key: "Missing or unknown API key".'


def call(server: Program, tool: str, **arguments: Any) -> tuple[bool, str, Any]:
    """Whether it failed, the text, the structured content."""
    server.shake_hands()
    answer = server.ask(1, "tools/call", name=tool, arguments=arguments)
    result = answer["result"]
    return result["isError"], result["content"][0]["text"], result.get("structuredContent")


def doctor(home: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    with Program("doctor", *arguments, home=home, **variables) as program:
        return program.exit_code(), program.stdout.to_the_end(), program.stderr.to_the_end()


def test_answers_plain_http_with_the_printed_key(real_crm: dict[str, str]) -> None:
    url = f"{real_crm['CRM_BASE_URL']}/api/crm/pipeline-stages?entityId={real_crm['CRM_ENTITY_ID']}"
    with httpx2.Client(timeout=SECONDS) as http:
        let_in = http.get(url, headers={"Authorization": f"Bearer {real_crm['CRM_API_KEY']}"})
        kept_out = http.get(url)
    assert let_in.status_code == 200
    assert let_in.text.count('"systemKey"') == 6
    assert (kept_out.status_code, kept_out.json()) == (401, {"error": "Missing or unknown API key."})


@pytest.mark.parametrize("way", ["environment", "key file", "settings file"])
def test_server_works_on_it(real_crm: dict[str, str], tmp_path: Path, way: str) -> None:
    arguments, variables = [], real_crm
    match way:
        case "key file":
            (tmp_path / "key").write_text(f"{real_crm['CRM_API_KEY']}\n")
            variables = {**real_crm, "CRM_API_KEY_FILE": "~/key"}
            del variables["CRM_API_KEY"]
        case "settings file":
            lines = [f"{name}={value}\n" for name, value in real_crm.items()]
            (tmp_path / "crm.env").write_text("# Our CRM\n" + "".join(lines))
            arguments, variables = ["--env-file", "~/crm.env"], {}
    with Program(*arguments, home=tmp_path, **variables) as server:
        failed, text, facts = call(server, "create_company", name=f"From the {way}")
    assert not failed, text
    assert facts["company"]["name"] == f"From the {way}"

    with httpx2.Client(timeout=SECONDS) as http:
        read_back = http.get(
            f"{real_crm['CRM_BASE_URL']}/api/crm/companies/{facts['company']['id']}",
            params={"entityId": real_crm["CRM_ENTITY_ID"]},
            headers={"Authorization": f"Bearer {real_crm['CRM_API_KEY']}"},
        )
    assert f'"From the {way}"' in read_back.text


def test_wrong_key_is_told_and_never_shown(real_crm: dict[str, str], tmp_path: Path) -> None:
    wrong = {**real_crm, "CRM_API_KEY": CANARY_KEY}
    with Program("--log-level", "DEBUG", home=tmp_path, **wrong) as server:
        assert call(server, "list_pipeline_stages") == (True, NOT_ACCEPTED, None)
        assert server.ask(2, "resources/read", uri="crm://dashboard")["error"]["message"] == NOT_ACCEPTED
        server.stdin.close()
        assert server.exit_code() == 0
        assert CANARY_KEY not in server.stdout.to_the_end() + server.stderr.to_the_end()


def test_right_key_is_never_shown(real_crm: dict[str, str], tmp_path: Path) -> None:
    with Program("--log-level", "DEBUG", home=tmp_path, **real_crm) as server:
        failed, *_ = call(server, "list_pipeline_stages")
        assert not failed
        server.stdin.close()
        assert server.exit_code() == 0
        logged = server.stderr.to_the_end()
        assert "DEBUG" in logged
        assert real_crm["CRM_API_KEY"] not in server.stdout.to_the_end() + logged


def test_search_words_are_not_logged(real_crm: dict[str, str], tmp_path: Path) -> None:
    with Program("--log-level", "DEBUG", home=tmp_path, **real_crm) as server:
        failed, text, _ = call(server, "search_companies", query="canaryword")
        assert not failed, text
        server.stdin.close()
        assert server.exit_code() == 0
        logged = server.stderr.to_the_end()
    assert "DEBUG" in logged
    assert "canaryword" not in logged


@pytest.mark.parametrize("before_and_after", [(["--sandbox", "x.db"], []), ([], ["--sandbox", "x.db"])])
def test_what_sandbox_prints_is_a_settings_file(
    tmp_path: Path, before_and_after: tuple[list[str], list[str]]
) -> None:
    before, after = before_and_after
    with Program(*before, "sandbox", *after, "--port", "0", "--companies", "3", home=tmp_path) as crm:
        (tmp_path / "crm.env").write_text("".join(crm.stdout.next() for _ in range(3)))
        with Program("--env-file", "crm.env", home=tmp_path) as server:
            failed, _, facts = call(server, "search_companies")
    assert (failed, facts["total"]) == (False, 3)
    assert crm.stdout.to_the_end() == (tmp_path / "crm.env").read_text()
    assert (tmp_path / "x.db").exists()


def finding(check: str, status: str, detail: str) -> dict[str, Any]:
    return {"check": check, "status": status, "detail": detail, "milliseconds": None}


def test_doctor_finds_it_well(real_crm: dict[str, str], tmp_path: Path) -> None:
    code, printed, complaints = doctor(tmp_path, "--json", "--log-level", "DEBUG", **real_crm)
    assert code == 0
    findings = json.loads(printed)
    assert findings[:2] == [
        finding("CRM", "ok", f"{real_crm['CRM_BASE_URL']}."),
        finding("key and entity", "ok", "Accepted."),
    ]
    # What only a write would tell stays unknown.
    assert {one["check"] for one in findings if one["status"] != "ok"} == {"write scope"}
    assert len(findings) > 20
    assert "DEBUG" in complaints
    assert real_crm["CRM_API_KEY"] not in printed + complaints


def test_doctor_finds_the_key_wrong(real_crm: dict[str, str], tmp_path: Path) -> None:
    wrong = {**real_crm, "CRM_API_KEY": CANARY_KEY}
    code, printed, complaints = doctor(tmp_path, "--json", "--log-level", "DEBUG", **wrong)
    assert code == 1
    assert json.loads(printed) == [
        finding("CRM", "ok", f"{real_crm['CRM_BASE_URL']}."),
        finding(
            "key and entity",
            "problem",
            f"{NOT_ACCEPTED} Create a key in the CRM's settings and configure that one.",
        ),
        finding("everything else", "warning", "Not checked: the CRM has to answer the key first."),
    ]
    assert CANARY_KEY not in complaints


def test_doctor_finds_nobody_there(real_crm: dict[str, str], tmp_path: Path) -> None:
    nowhere = {**real_crm, "CRM_BASE_URL": "http://127.0.0.1:9", "CRM_API_KEY": CANARY_KEY}
    code, table, complaints = doctor(tmp_path, **nowhere)
    assert (code, complaints) == (1, "")
    told = " ".join(table.split())
    assert told == (
        "ok CRM http://127.0.0.1:9. "
        "problem key and entity No connection to the CRM at 127.0.0.1 (ConnectError). Nothing was sent; "
        "try again later. Check the base URL, and that this machine can reach it. "
        "warning everything else Not checked: the CRM has to answer the key first."
    )
