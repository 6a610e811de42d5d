"""A failing or hanging CRM, as the model sees it."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import httpx2
import pytest
import stamina
from mcp import Client, MCPError

from crm_mcp.crm import CrmClient, errors
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.errors import (
    AuthenticationError,
    ConflictError,
    CrmError,
    DeclinedError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ReadOnlyError,
    RefusedError,
    RejectedError,
    UnavailableError,
    UnexpectedResponseError,
    UnresolvedReferenceError,
)

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]

ID = "aaaaaaaa-0000-4000-8000-000000000001"
PATIENCE_SECONDS = 10


@pytest.fixture(autouse=True)
def retries_without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


STATUSES: dict[int, tuple[type[CrmError], type[CrmError]]] = {
    302: (UnexpectedResponseError, UnexpectedResponseError),
    400: (InvalidInputError, InvalidInputError),
    401: (AuthenticationError, AuthenticationError),
    403: (PermissionDeniedError, PermissionDeniedError),
    404: (NotFoundError, NotFoundError),
    409: (ConflictError, ConflictError),
    418: (RejectedError, RejectedError),
    422: (InvalidInputError, InvalidInputError),
    429: (RateLimitedError, RateLimitedError),
    500: (UnavailableError, OutcomeUnknownError),
    503: (UnavailableError, OutcomeUnknownError),
}


def writing_only(answer: Callable[[httpx2.Request], httpx2.Response], crm: Any) -> httpx2.MockTransport:
    """A CRM that fails where it is written to."""

    async def handle(request: httpx2.Request) -> httpx2.Response:
        return await crm.handle_async_request(request) if request.method == "GET" else answer(request)

    return httpx2.MockTransport(handle)


@pytest.mark.parametrize("status", STATUSES)
async def test_each_failure_reaches_the_model_in_the_errors_own_words(
    refusal: Call, crm: CrmClient, wire: Any, status: int
) -> None:
    key = crm._http.headers["Authorization"].removeprefix("Bearer ")
    healthy = wire.inner

    def fail(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, json={"error": f"No, {key} is not right."})

    wire.inner = httpx2.MockTransport(fail)
    read_kind, write_kind = STATUSES[status]

    with pytest.raises(CrmError) as read:
        await crm.companies.get(ID)
    with pytest.raises(CrmError) as write:
        await crm.companies.create(NewCompany(name="Zeta"))
    told = [await refusal("get_company", company=ID)]
    wire.inner = writing_only(fail, healthy)
    told.append(without_change(await refusal("create_company", name="Zeta")))

    assert (type(read.value), type(write.value)) == (read_kind, write_kind)
    assert told == [str(read.value), str(write.value)]
    assert all(key not in text and "Traceback" not in text for text in told)


async def test_an_unreachable_crm_is_told(refusal: Call, wire: Any) -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    wire.inner = httpx2.MockTransport(refuse)
    no_connection = "No connection to the CRM at localhost (ConnectError). Nothing was sent; try again later."
    assert await refusal("get_company", company=ID) == no_connection
    assert await refusal("create_company", name="Acme") == no_connection


async def test_an_answer_that_is_not_json_is_told(refusal: Call, wire: Any) -> None:
    healthy = wire.inner
    wire.inner = httpx2.MockTransport(lambda _: httpx2.Response(200, html="<p>Hello</p>"))
    told = "The CRM answered 200 with something that is not JSON (text/html; charset=utf-8, 12 bytes)."
    assert await refusal("get_company", company=ID) == told
    # Whether there is one already cannot be told.
    nothing_sent = "Try again later. Nothing was sent to the CRM."
    assert await refusal("create_company", name="Zeta") == f"{told} {nothing_sent}"
    wire.inner = writing_only(lambda _: httpx2.Response(200, html="<p>Hello</p>"), healthy)
    assert without_change(await refusal("create_company", name="Zeta")) == (
        f"{told} It may have been done: look before doing it again."
    )


def test_every_kind_of_failure_is_met_above_or_by_the_tools_own_tests() -> None:
    declared = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CrmError)
    }
    met = {kind for pair in STATUSES.values() for kind in pair}
    # The first is never raised as such, the second by no tool of a read-only server, the third by the tools,
    # the others by the gate.
    ours = {RefusedError, DeclinedError}
    assert declared - met == {CrmError, ReadOnlyError, UnresolvedReferenceError, *ours}


def without_change(text: str) -> str:
    """The error but for the name of its change in the ledger."""
    return re.sub(r" \(Change [a-z0-9]{10}; the same call again looks first\.\)$", "", text)


class StuckCrm(httpx2.AsyncBaseTransport):
    """A CRM that never answers, and knows when nobody waits any more."""

    def __init__(self) -> None:
        self.asked, self.abandoned = anyio.Event(), anyio.Event()

    async def handle_async_request(self, _request: httpx2.Request) -> httpx2.Response:
        self.asked.set()
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            self.abandoned.set()
            raise
        raise AssertionError


@pytest.fixture(params=["auto", "legacy"])
async def assistant(request: pytest.FixtureRequest, open_client: Callable[..., Awaitable[Client]]) -> Client:
    """A connection of either era."""
    return await open_client(mode=request.param)


@pytest.mark.parametrize(
    ("tool", "arguments"), [("get_company", {"company": ID}), ("create_company", {"name": "Acme"})]
)
async def test_cancelling_a_call_cancels_its_request(
    assistant: Client, wire: Any, tool: str, arguments: dict[str, str]
) -> None:
    wire.inner = stuck = StuckCrm()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(assistant.call_tool, tool, arguments)
            await stuck.asked.wait()
            tasks.cancel_scope.cancel()
        await stuck.abandoned.wait()


async def test_a_client_that_waits_no_longer_cancels_the_request(assistant: Client, wire: Any) -> None:
    wire.inner = stuck = StuckCrm()
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(MCPError):
            await assistant.call_tool("get_company", {"company": ID}, read_timeout_seconds=0.05)
        await stuck.abandoned.wait()
