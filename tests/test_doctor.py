from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

import httpx2
import pytest
import stamina

from crm_mcp.crm import CrmClient, openapi
from crm_mcp.crm.comparison import Difference
from crm_mcp.doctor import Finding, examine, table
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store

pytestmark = pytest.mark.anyio

ENTITY_ID = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"
A, B = (str(UUID(int=number)) for number in (1, 2))


@pytest.fixture(autouse=True)
def retries_without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.open(None)
    seed(store, companies=12)
    yield store
    store.close()


class Recorded(httpx2.AsyncBaseTransport):
    """Passes requests on, and lets a test bend the query before and the answer after."""

    def __init__(self, store: Store) -> None:
        self._inner = httpx2.ASGITransport(create_app(store))
        self.methods: list[str] = []
        self.ignored: set[tuple[str, str]] = set()
        self.answers: dict[str, Callable[[httpx2.Request], httpx2.Response]] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.methods.append(request.method)
        path = request.url.path.removeprefix("/api/crm")
        if path in self.answers:
            return self.answers[path](request)
        for ignored_path, name in self.ignored:
            if path == ignored_path:
                request.url = request.url.copy_remove_param(name)
        return await self._inner.handle_async_request(request)


@pytest.fixture
def transport(store: Store) -> Recorded:
    return Recorded(store)


@pytest.fixture
async def crm(anyio_backend: str, store: Store, transport: Recorded) -> AsyncIterator[CrmClient]:
    key, entity = store.credentials.api_key, store.credentials.entity_id
    async with CrmClient("http://localhost", key, entity, read_only=True, transport=transport) as client:
        yield client


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: replace(finding, milliseconds=None) for finding in findings}


def complaints(findings: list[Finding]) -> list[Finding]:
    return [
        replace(finding, milliseconds=None)
        for finding in findings
        if finding.status in ("warning", "problem")
    ]


async def test_a_crm_that_is_as_believed_has_no_complaint(crm: CrmClient, transport: Recorded) -> None:
    findings = await examine(crm)
    assert complaints(findings) == []
    assert set(transport.methods) == {"GET"}
    found = by_check(findings)
    assert len(found) == len(findings)
    assert found["write scope"] == Finding("write scope", "unknown", "Not probed: only a write would tell.")
    assert found["stages"] == Finding("stages", "ok", "Every field is as documented; stages: 6.")
    assert found["/leads filter stageId"] == Finding("/leads filter stageId", "ok", "Applied.")
    assert found["/leads pages"] == Finding("/leads pages", "ok", "Applied.")


async def test_every_read_and_every_filter_is_looked_at(crm: CrmClient) -> None:
    checks = by_check(await examine(crm))
    reads = [operation for operation in openapi.operations() if operation.method == "GET"]
    assert sum(check.startswith("GET ") for check in checks) == len(reads) == 14
    filters = {
        f"{operation.path} filter {name}"
        for operation in reads
        if operation.filter
        for name in openapi.properties(operation.filter).keys() - {"page", "pageSize", "limit"}
    }
    assert {check for check in checks if " filter " in check} == filters


async def test_only_what_was_timed_has_a_time(crm: CrmClient) -> None:
    timed = {finding.check for finding in await examine(crm) if finding.milliseconds is not None}
    assert timed == {"latency"} | {
        check for check in by_check(await examine(crm)) if check.startswith("GET ")
    }


async def test_an_ignored_filter_of_an_assumed_name_is_a_warning(crm: CrmClient, transport: Recorded) -> None:
    transport.ignored = {("/leads", "companyId"), ("/leads", "stage")}
    rows = len((await crm.leads.search(limit=25)).records)
    assert complaints(await examine(crm)) == [
        Finding(
            "/leads filter companyId",
            "warning",
            f"`companyId` (assumed) is not applied. Rows that do not match came back: {rows}. "
            "We filter them ourselves.",
        ),
        Finding(
            "/leads filter stage",
            "warning",
            f"`stage` (assumed) is not applied. Rows that do not match came back: {rows}. "
            "They do not show the field: we cannot filter them.",
        ),
    ]


async def test_an_ignored_filter_of_an_observed_name_is_a_problem(
    crm: CrmClient, transport: Recorded
) -> None:
    transport.ignored = {("/companies", "q"), ("/companies", "role")}
    companies = (await crm.companies.search(limit=25)).records
    others = sum(company.role not in ("prospect", "both") for company in companies)
    assert complaints(await examine(crm)) == [
        Finding(
            "/companies filter role",
            "problem",
            f"`role` (observed) is not applied. Rows that do not match came back: {others}. "
            "We filter them ourselves.",
        ),
        Finding(
            "/companies filter q",
            "problem",
            f"`q` (observed) is not applied. Rows that do not match came back: {len(companies)}. "
            "We filter them ourselves.",
        ),
    ]


async def test_ignored_paging_is_told(crm: CrmClient, transport: Recorded) -> None:
    transport.ignored = {("/companies", "page"), ("/contacts", "pageSize")}
    assert complaints(await examine(crm)) == [
        Finding(
            "/companies pages", "problem", "`page` (observed) is not applied. Two pages show the same row."
        ),
        Finding(
            "/contacts pages",
            "warning",
            "`pageSize` (assumed) is not applied. More came than the one row asked for.",
        ),
    ]


async def test_an_unexpected_answer_is_a_problem_of_that_read_alone(
    crm: CrmClient, transport: Recorded
) -> None:
    transport.answers["/tasks"] = lambda _: httpx2.Response(200, json={"todo": 1})
    transport.answers["/dashboard"] = lambda _: httpx2.Response(429, headers={"Retry-After": "5"})
    assert complaints(await examine(crm)) == [
        Finding("GET /tasks", "problem", "The CRM did not send a list of tasks, but an object with `todo`."),
        Finding(
            "GET /dashboard",
            "warning",
            "The CRM's rate limit is reached. Nothing was done. Try again in 5 s.",
        ),
    ]


async def test_a_filter_whose_value_is_refused_is_known(crm: CrmClient, transport: Recorded) -> None:
    def refuse_unknown_leads(request: httpx2.Request) -> httpx2.Response:
        if "leadId" in request.url.params:
            return httpx2.Response(404, json={"error": "No such lead."})
        return httpx2.Response(200, json={"tasks": [{"id": A}]})

    transport.answers["/tasks"] = refuse_unknown_leads
    found = by_check(await examine(crm))
    assert found["/tasks filter leadId"] == Finding(
        "/tasks filter leadId", "ok", "The CRM knows it: it refuses a value that does not exist."
    )
    assert found["/tasks pages"] == Finding(
        "/tasks pages", "unknown", "Not probed: it takes two rows to tell."
    )


async def test_an_empty_crm_leaves_things_unprobed_and_says_so(crm: CrmClient, transport: Recorded) -> None:
    transport.answers["/companies"] = lambda _: httpx2.Response(200, json=[])
    found = by_check(await examine(crm))
    assert {
        check: (found[check].status, found[check].detail)
        for check in ("GET /companies/{id}", "/companies filter q", "/companies pages")
    } == {
        "GET /companies/{id}": ("unknown", "Not checked: there is no record to ask about."),
        "/companies filter q": ("unknown", "Not probed: the list shows no rows to leave out."),
        "/companies pages": ("unknown", "Not probed: it takes two rows to tell."),
    }


async def test_an_enum_that_all_rows_share_cannot_tell(crm: CrmClient, transport: Recorded) -> None:
    rows = [{"id": number, "name": "Acme", "role": "both"} for number in (A, B)]
    transport.answers["/companies"] = lambda _: httpx2.Response(200, json=rows)
    assert by_check(await examine(crm))["/companies filter role"] == Finding(
        "/companies filter role", "unknown", "Not probed: the list's rows do not differ in it."
    )


STAGE: dict[str, Any] = {
    "id": A,
    "name": "New",
    "kind": "open",
    "sortOrder": 1,
    "defaultProbabilityPct": 10,
    "colorKey": None,
    "systemKey": "new",
    "leadCount": 3,
}


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([STAGE], Finding("stages", "ok", "Every field is as documented; stages: 1.")),
        (
            [STAGE, {**{name: STAGE[name] for name in STAGE if name != "leadCount"}, "sortOrder": "1"}],
            Finding(
                "stages",
                "problem",
                "Not as documented: `leadCount` is missing, `sortOrder` has another type.",
            ),
        ),
        (
            [{"id": A}],
            Finding(
                "stages",
                "problem",
                "The CRM sent a PipelineStage without a usable `name`: an object with `id`.",
            ),
        ),
        (
            {"count": 1},
            Finding(
                "stages", "problem", "The CRM did not send a list of stages, but an object with `count`."
            ),
        ),
    ],
)
async def test_stages_are_held_against_their_documented_shape(
    crm: CrmClient, transport: Recorded, stages: Any, expected: Finding
) -> None:
    answer = {"stages": stages} if isinstance(stages, list) else stages
    transport.answers["/pipeline-stages"] = lambda _: httpx2.Response(200, json=answer)
    assert by_check(await examine(crm))["stages"] == expected


def answers(status: int, **options: Any) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: httpx2.Response(status, **options)


def fails(_: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("refused")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (
            answers(401, json={"error": "Unknown key."}),
            'The CRM does not accept the API key: "Unknown key". '
            "Create a key in the CRM's settings and configure that one.",
        ),
        (
            answers(403),
            "The CRM denied it: the key lacks the scope or belongs to another entity. "
            "Check that the entity id is the key's own, and that the key has `read:crm`.",
        ),
        (
            fails,
            "No connection to the CRM at crm.test (ConnectError). Nothing was sent; try again later. "
            "Check the base URL, and that this machine can reach it.",
        ),
        (
            answers(503),
            "The CRM failed with status 503. Try again later. The settings may be right: run this again.",
        ),
        (
            answers(404),
            "The CRM has no such record. Check the base URL: it is the part before /api/crm.",
        ),
        (
            answers(200, html="<html>"),
            "The CRM answered 200 with something that is not JSON (text/html; charset=utf-8, 6 bytes). "
            "Check the base URL: it is the part before /api/crm.",
        ),
    ],
)
async def test_without_access_nothing_else_is_asked(answer: Any, detail: str) -> None:
    requests = []

    def crm(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        response: httpx2.Response = answer(request)
        return response

    async with CrmClient(
        "https://crm.test", "ak_1", ENTITY_ID, transport=httpx2.MockTransport(crm)
    ) as client:
        findings = await examine(client)
    assert findings == [
        Finding("key and entity", "problem", detail),
        Finding("everything else", "warning", "Not checked: the CRM has to answer the key first."),
    ]
    assert len(requests) == 1


def test_table_aligns_its_columns_and_wraps_the_last() -> None:
    findings = [
        Finding("latency", "ok", "The median of 5 reads.", 12),
        Finding(
            "/leads filter stageId",
            "warning",
            "`stageId` (assumed) is not applied. " + "Rows came back. " * 4,
        ),
    ]
    assert table(findings).splitlines() == [
        "ok       latency                12 ms  The median of 5 reads.",
        "warning  /leads filter stageId         `stageId` (assumed) is not applied. Rows came back. Rows",
        "                                       came back. Rows came back. Rows came back.",
    ]


def test_table_shows_differences_and_nothing_for_nothing() -> None:
    assert table([Difference("GET /x", "we do not know it")]) == "GET /x  we do not know it"
    assert table([]) == ""


def test_findings_are_plain_data() -> None:
    assert asdict(Finding("latency", "ok", "Fast.", 12)) == {
        "check": "latency",
        "status": "ok",
        "detail": "Fast.",
        "milliseconds": 12,
    }
