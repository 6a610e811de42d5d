import json
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import anyio
import anyio.abc
import httpx2
import pytest
import stamina

from crm_mcp import __version__
from crm_mcp.crm import CrmClient, Timeouts, openapi
from crm_mcp.crm.client import LONGEST_BACKOFF_SECONDS, MAX_RESPONSE_BYTES, retry_wait
from crm_mcp.crm.companies import CREATE_COMPANY, Company, NewCompany
from crm_mcp.crm.contract import Rows
from crm_mcp.crm.errors import (
    AuthenticationError,
    ConflictError,
    CrmError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ReadOnlyError,
    RejectedError,
    UnavailableError,
    UnexpectedResponseError,
)
from crm_mcp.crm.pipeline import LIST_STAGES, StageChanges

pytestmark = pytest.mark.anyio

Connect = Callable[..., CrmClient]
Handler = Callable[[httpx2.Request], httpx2.Response]

CANARY_KEY = "ak_canary-7f3a"
ENTITY_ID = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"
ID = "0b6f0f0e-6f57-4c1b-8d5b-3b1f9c1f2a11"
PATIENCE_SECONDS = 10


class Crm:
    """Answers each request with the next of `answers`, the last one for ever; an exception is raised."""

    def __init__(self, *answers: httpx2.Response | type[httpx2.HTTPError]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, type):
            raise answer("refused")
        return answer


def status(code: int, **options: Any) -> httpx2.Response:
    return httpx2.Response(code, **options)


STAGES: dict[str, Any] = {"stages": []}


async def read(client: CrmClient) -> Any:
    return await client.call(LIST_STAGES)


async def write(client: CrmClient) -> Any:
    return await client.call(CREATE_COMPANY, body=NewCompany(name="Acme"))


async def failure(call: Callable[[CrmClient], Any], client: CrmClient) -> CrmError:
    with pytest.raises(CrmError) as caught:
        await call(client)
    return caught.value


# Status, error of a GET, how often the GET is sent, error of a write, how often the write is sent.
STATUSES: list[tuple[int, type[CrmError], int, type[CrmError], int]] = [
    (301, UnexpectedResponseError, 1, UnexpectedResponseError, 1),
    (400, InvalidInputError, 1, InvalidInputError, 1),
    (401, AuthenticationError, 1, AuthenticationError, 1),
    (403, PermissionDeniedError, 1, PermissionDeniedError, 1),
    (404, NotFoundError, 1, NotFoundError, 1),
    (409, ConflictError, 1, ConflictError, 1),
    (418, RejectedError, 1, RejectedError, 1),
    (422, InvalidInputError, 1, InvalidInputError, 1),
    (429, RateLimitedError, 4, RateLimitedError, 2),
    (500, UnavailableError, 1, OutcomeUnknownError, 1),
    (502, UnavailableError, 4, OutcomeUnknownError, 1),
    (503, UnavailableError, 4, OutcomeUnknownError, 1),
    (504, UnavailableError, 4, OutcomeUnknownError, 1),
]


@pytest.mark.parametrize(("code", "read_error", "reads", "write_error", "writes"), STATUSES)
async def test_each_status_has_its_error_and_its_number_of_attempts(
    connect: Connect,
    code: int,
    read_error: type[CrmError],
    reads: int,
    write_error: type[CrmError],
    writes: int,
) -> None:
    for call, error, attempts in ((read, read_error, reads), (write, write_error, writes)):
        crm = Crm(status(code))
        assert type(await failure(call, connect(crm))) is error
        assert len(crm.requests) == attempts


# As above, for every way in which a transport can fail.
FAILURES: dict[type[httpx2.HTTPError], tuple[type[CrmError], int, type[CrmError], int]] = {
    httpx2.ConnectError: (UnavailableError, 4, UnavailableError, 4),
    httpx2.ConnectTimeout: (UnavailableError, 4, UnavailableError, 4),
    httpx2.PoolTimeout: (UnavailableError, 4, UnavailableError, 4),
    httpx2.ProxyError: (UnavailableError, 4, UnavailableError, 4),
    httpx2.UnsupportedProtocol: (UnavailableError, 4, UnavailableError, 4),
    httpx2.ReadTimeout: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.WriteTimeout: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.ReadError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.WriteError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.CloseError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.LocalProtocolError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.RemoteProtocolError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.SSEError: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.TooManyRedirects: (UnavailableError, 4, OutcomeUnknownError, 1),
    httpx2.DecodingError: (UnexpectedResponseError, 1, UnexpectedResponseError, 1),
}


def leaves(kind: type[Any]) -> Iterator[type[Any]]:
    below = kind.__subclasses__()
    yield from (leaf for child in below for leaf in leaves(child)) if below else [kind]


def test_every_failure_that_the_http_library_knows_is_decided() -> None:
    # Raised by `raise_for_status` alone, which the client does not call.
    raised_on_demand = {httpx2.HTTPStatusError}
    assert set(leaves(httpx2.HTTPError)) - raised_on_demand == set(FAILURES)


@pytest.mark.parametrize("kind", FAILURES)
async def test_each_failure_of_the_transport_has_its_error_and_its_number_of_attempts(
    connect: Connect, kind: type[httpx2.HTTPError]
) -> None:
    read_error, reads, write_error, writes = FAILURES[kind]
    for call, error, attempts in ((read, read_error, reads), (write, write_error, writes)):
        crm = Crm(kind)
        assert type(await failure(call, connect(crm))) is error
        assert len(crm.requests) == attempts


@pytest.mark.parametrize("call", [read, write])
@pytest.mark.parametrize("stumble", [status(429), httpx2.ConnectError])
async def test_a_call_that_had_no_effect_is_tried_again_until_it_succeeds(
    connect: Connect, call: Callable[[CrmClient], Any], stumble: Any
) -> None:
    crm = Crm(stumble, status(200, json=STAGES))
    await call(connect(crm))
    assert len(crm.requests) == 2
    assert crm.requests[0].content == crm.requests[1].content


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (301, "The CRM redirects (301); redirects are not followed with the key. Is the base URL right?"),
        (400, 'The CRM found the input invalid: "Because".'),
        (401, 'The CRM does not accept the API key: "Because".'),
        (403, 'The CRM denied it: the key lacks the scope or belongs to another entity: "Because".'),
        (404, 'The CRM has no such record: "Because".'),
        (409, 'The CRM says that the record\'s state does not allow it: "Because".'),
        (418, 'The CRM rejected it with status 418: "Because".'),
        (429, 'The CRM\'s rate limit is reached: "Because". Nothing was done. Try again in a minute.'),
        (500, 'The CRM failed with status 500: "Because". Try again later.'),
    ],
)
async def test_messages_quote_the_crm_and_say_what_next(connect: Connect, code: int, message: str) -> None:
    error = await failure(read, connect(Crm(status(code, json={"error": "Because."}))))
    assert str(error) == message


async def test_message_of_a_write_without_outcome_says_to_look_first(connect: Connect) -> None:
    after_500 = await failure(write, connect(Crm(status(500, json={"error": "Because."}))))
    after_timeout = await failure(write, connect(Crm(httpx2.ReadTimeout)))
    assert [str(after_500), str(after_timeout)] == [
        'The CRM failed with status 500: "Because": it may or may not have been done. '
        "Look before doing it again.",
        "The request was sent, but no answer came (ReadTimeout): it may or may not have been done. "
        "Look before doing it again.",
    ]


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b'{"error": "No name."}', ': "No name"'),
        (b'{"error": "two\\n lines\\u001b[31m\\u202e"}', ': "two lines [31m"'),
        (json.dumps({"error": "x" * 200}).encode(), f': "{"x" * 200}"'),
        (json.dumps({"error": "x" * 201}).encode(), f': "{"x" * 199}…"'),
        (f'{{"error": "Unknown key {CANARY_KEY}."}}'.encode(), ': "Unknown key ak_…"'),
        (b'{"error": {"message": "No name."}}', ""),
        (b'{"error": " "}', ""),
        (b'{"message": "No name."}', ""),
        (b'["error"]', ""),
        (b"[" * 200_000, ""),
        (b"<html><body>Bad Request</body></html>", ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
)
async def test_of_an_error_body_only_its_error_string_is_quoted(
    connect: Connect, body: bytes, quoted: str
) -> None:
    error = await failure(read, connect(Crm(status(400, content=body))))
    assert str(error) == f"The CRM found the input invalid{quoted}."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("", None),
        (None, None),
        ("inf", None),
        ("nan", None),
        ("86401", None),
    ],
)
async def test_retry_after_is_told(connect: Connect, value: str | None, seconds: float | None) -> None:
    headers = {} if value is None else {"Retry-After": value}
    error = await failure(read, connect(Crm(status(429, headers=headers))))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_seconds == seconds


async def test_retry_after_may_be_a_date(connect: Connect) -> None:
    in_an_hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    error = await failure(read, connect(Crm(status(429, headers={"Retry-After": in_an_hour}))))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_seconds == pytest.approx(3600, abs=5)


async def waits_told(connect: Connect, headers: dict[str, str]) -> float | None:
    error = await failure(read, connect(Crm(status(429, headers=headers))))
    assert isinstance(error, RateLimitedError)
    return error.retry_after_seconds


@pytest.mark.parametrize("value", ["inf", "nan", "soon", ""])
async def test_a_reset_that_says_nothing_is_ignored(connect: Connect, value: str) -> None:
    assert await waits_told(connect, {"X-RateLimit-Reset": value}) is None


async def test_a_reset_is_used_where_there_is_no_retry_after(connect: Connect) -> None:
    assert await waits_told(connect, {"X-RateLimit-Reset": "40"}) == 40.0
    assert await waits_told(connect, {"X-RateLimit-Reset": "40", "Retry-After": "inf"}) == 40.0
    assert await waits_told(connect, {"X-RateLimit-Reset": "40", "Retry-After": "7"}) == 7.0


async def test_a_reset_may_be_a_point_in_time(connect: Connect) -> None:
    in_an_hour, an_hour_ago = (str(time.time() + distance) for distance in (3600, -3600))
    assert await waits_told(connect, {"X-RateLimit-Reset": in_an_hour}) == pytest.approx(3600, abs=5)
    assert await waits_told(connect, {"X-RateLimit-Reset": an_hour_ago}) == 0.0


def limited(wait: float | None = None) -> RateLimitedError:
    return RateLimitedError("Limited.", retry_after_seconds=wait)


def down(status: int | None = None, wait: float | None = None) -> UnavailableError:
    return UnavailableError("Down.", status=status, retry_after_seconds=wait)


@pytest.mark.parametrize(
    ("error", "writing", "attempt", "seconds_left", "wait"),
    [
        (limited(7), False, 1, 60, 7),
        (limited(7), True, 3, 60, 7),
        (limited(0), True, 3, 60, 0),
        (limited(7), False, 1, 7, False),
        (limited(), False, 3, 60, True),
        (limited(), True, 1, 60, True),
        (limited(), True, 2, 60, False),
        (limited(), False, 1, 0.7, False),
        (down(), False, 3, 60, True),
        (down(), True, 3, 60, True),
        (down(), True, 3, 0.7, False),
        (down(503, 7), False, 1, 60, 7),
        (down(503, 61), False, 1, 60, False),
        (down(502), False, 1, 60, True),
        (down(504), False, 1, 60, True),
        (down(500), False, 1, 60, False),
        (down(500, 7), False, 1, 60, False),
        (NotFoundError("None.", status=404), False, 1, 60, False),
        (OutcomeUnknownError("Who knows."), True, 1, 60, False),
        (KeyError("a bug"), False, 1, 60, False),
    ],
)
def test_what_is_tried_again_and_when(
    error: Exception, writing: bool, attempt: int, seconds_left: float, wait: float
) -> None:
    decided = retry_wait(error, writing=writing, attempt=attempt, seconds_left=seconds_left)
    assert (type(decided), decided) == (type(wait), wait)


@pytest.fixture
def waits() -> Iterator[list[float]]:
    """The seconds that are waited before each retry; they really are."""
    seen: list[float] = []
    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([lambda details: seen.append(details.wait_for)])
    with stamina.set_testing(False):
        yield seen
    stamina.instrumentation.set_on_retry_hooks(before)


async def test_the_crm_is_left_alone_for_as_long_as_it_asks(connect: Connect, waits: list[float]) -> None:
    crm = Crm(status(429, headers={"Retry-After": "0.05"}), status(200, json=STAGES))
    begun = time.monotonic()
    await read(connect(crm))
    assert time.monotonic() - begun >= 0.05
    assert waits == [pytest.approx(0.05)]


async def test_without_a_word_of_the_crm_the_wait_is_short(connect: Connect, waits: list[float]) -> None:
    await read(connect(Crm(status(503), status(200, json=STAGES))))
    assert waits == [pytest.approx(0.25, abs=0.15)]
    assert max(waits) <= LONGEST_BACKOFF_SECONDS


async def test_each_wait_for_the_network_has_its_own_bound(connect: Connect) -> None:
    crm = Crm(status(200, json=STAGES))
    await read(connect(crm, timeouts=Timeouts(connect_seconds=1, write_seconds=2, read_seconds=3)))
    (request,) = crm.requests
    assert request.extensions["timeout"] == {"connect": 1, "write": 2, "read": 3, "pool": None}


@asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port of this machine that gives this answer, and the first lines of what reached it."""
    heard = []

    async def converse(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            heard.append((await stream.receive()).split(b"\r\n")[0])
            await stream.send(answer)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, converse)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  # not Django's
        yield port, heard
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("base_url", "heard_by_proxy"),
    [("https://crm.test", [b"CONNECT crm.test:443 HTTP/1.1"]), ("http://127.0.0.1:{crm}", [])],
)
async def test_a_proxy_of_the_environment_is_for_the_network_alone(
    monkeypatch: pytest.MonkeyPatch, base_url: str, heard_by_proxy: list[bytes]
) -> None:
    no_content = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    with anyio.fail_after(PATIENCE_SECONDS):
        async with listening(no_content) as (crm, _), listening(b"HTTP/1.1 403 No\r\n\r\n") as (proxy, heard):
            monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy}")
            async with CrmClient(base_url.format(crm=crm), CANARY_KEY, ENTITY_ID) as client:
                with suppress(UnavailableError):
                    await client.pipeline.reorder([])
            assert list(dict.fromkeys(heard)) == heard_by_proxy


async def test_cookies_are_neither_kept_nor_sent(connect: Connect) -> None:
    crm = Crm(status(200, json=STAGES, headers={"Set-Cookie": "session=1; Path=/"}))
    client = connect(crm)
    await read(client)
    await read(client)
    assert [request.headers.get("cookie") for request in crm.requests] == [None, None]


@pytest.mark.parametrize("code", [429, 503])
async def test_a_wait_beyond_the_ceiling_is_not_begun(connect: Connect, code: int) -> None:
    crm = Crm(status(code, headers={"Retry-After": "61"}))
    error = await failure(read, connect(crm, timeouts=Timeouts(total_seconds=60)))
    assert isinstance(error, RateLimitedError | UnavailableError)
    assert (error.retry_after_seconds, len(crm.requests)) == (61.0, 1)


@pytest.mark.parametrize(("call", "kind"), [(read, UnavailableError), (write, OutcomeUnknownError)])
async def test_total_time_is_bounded_and_not_spent_twice(
    connect: Connect, call: Callable[[CrmClient], Any], kind: type[CrmError]
) -> None:
    sent = []

    async def never_answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        await anyio.sleep_forever()
        raise AssertionError

    client = connect(never_answer, timeouts=Timeouts(total_seconds=0.01))
    with anyio.fail_after(PATIENCE_SECONDS):
        assert type(await failure(call, client)) is kind
    assert len(sent) == 1


async def test_a_write_that_finds_no_slot_in_time_was_not_done(connect: Connect) -> None:
    released = anyio.Event()
    sent = []

    async def hold_the_slot(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        with anyio.CancelScope(shield=True):
            await released.wait()
        return status(200, json=STAGES)

    client = connect(hold_the_slot, max_in_flight=1, timeouts=Timeouts(total_seconds=0.01))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, client)
            await anyio.wait_all_tasks_blocked()
            error = await failure(write, client)
            released.set()
    assert type(error) is UnavailableError
    assert [request.method for request in sent] == ["GET"]


async def test_no_more_calls_are_in_flight_than_allowed(connect: Connect) -> None:
    released = anyio.Event()
    in_flight = []

    async def answer_when_released(request: httpx2.Request) -> httpx2.Response:
        in_flight.append(request)
        await released.wait()
        return status(200, json=STAGES)

    client = connect(answer_when_released, max_in_flight=2)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(read, client)
            await anyio.wait_all_tasks_blocked()
            assert len(in_flight) == 2
            released.set()
    assert len(in_flight) == 5


class StuckAnswer(httpx2.AsyncByteStream):
    """A body that begins and never ends."""

    def __init__(self) -> None:
        self.begun = anyio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"stages": ['
        self.begun.set()
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True


async def test_cancellation_closes_the_answer_that_was_being_read(connect: Connect) -> None:
    answer = StuckAnswer()
    client = connect(Crm(status(200, stream=answer)))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, client)
            await answer.begun.wait()
            tasks.cancel_scope.cancel()
    assert answer.closed


async def test_a_read_only_client_sends_nothing_that_writes(connect: Connect) -> None:
    crm = Crm(status(200, json=STAGES))
    client = connect(crm, read_only=True)
    writing = [operation for operation in openapi.operations() if operation.method != "GET"]
    for operation in writing:
        with pytest.raises(ReadOnlyError, match="Nothing was sent"):
            await client.call(operation, **dict.fromkeys(operation.path_names, ID))  # type: ignore[arg-type]
    await read(client)
    assert (len(writing), len(crm.requests)) == (20, 1)


async def test_a_request_carries_key_entity_and_user_agent(connect: Connect) -> None:
    crm = Crm(status(201, json={}))
    await write(connect(crm))
    (request,) = crm.requests
    assert str(request.url) == f"https://crm.test/api/crm/companies?entityId={ENTITY_ID}"
    assert {
        name: request.headers[name] for name in ("authorization", "accept", "user-agent", "content-type")
    } == {
        "authorization": f"Bearer {CANARY_KEY}",
        "accept": "application/json",
        "user-agent": f"crm-mcp/{__version__}",
        "content-type": "application/json",
    }
    assert json.loads(request.content) == {"name": "Acme"}


async def test_the_key_stands_in_the_authorization_header_alone(connect: Connect) -> None:
    crm = Crm(status(201, json={}))
    await write(connect(crm))
    (request,) = crm.requests
    del request.headers["authorization"]
    assert CANARY_KEY not in f"{request.url} {request.headers.raw} {request.content!r}"


@pytest.mark.parametrize("answer", [*(status(row[0]) for row in STATUSES), *FAILURES])
async def test_the_key_is_in_no_error(connect: Connect, answer: Any) -> None:
    client = connect(Crm(answer))
    for call in (read, write):
        error = await failure(call, client)
        assert CANARY_KEY not in "".join(traceback.format_exception(error)) + repr(error)
    assert CANARY_KEY not in repr(client) + str(client)


@pytest.mark.parametrize("key", ["", "ak_1\n", "ak_1 2", "ak_ключ", "ak_\x00"])
def test_a_key_that_no_header_can_carry_is_refused_unquoted(key: str) -> None:
    with pytest.raises(ValueError, match=r"^the API key must be printable ASCII without spaces$"):
        CrmClient("https://crm.test", key, ENTITY_ID)


async def test_redirects_are_not_followed(connect: Connect) -> None:
    crm = Crm(status(303, headers={"Location": "https://elsewhere.test/"}))
    assert str(await failure(write, connect(crm))) == (
        "The CRM redirects (303); redirects are not followed with the key. Is the base URL right? "
        "It may have been done: look before doing it again."
    )
    assert [request.url.host for request in crm.requests] == ["crm.test"]


@pytest.mark.parametrize(
    "base_url",
    [
        "https://crm.test",
        "https://crm.test/",
        "https://crm.test:8443/tenant",
        "http://localhost:8000",
        "http://crm.localhost",
        "http://127.0.0.1:8000",
        "http://[::1]:8000",
    ],
)
async def test_base_urls_that_are_accepted(base_url: str) -> None:
    crm = Crm(status(200, json=STAGES))
    async with CrmClient(base_url, CANARY_KEY, ENTITY_ID, transport=httpx2.MockTransport(crm)) as client:
        await read(client)
    expected = f"{base_url.rstrip('/')}/api/crm/pipeline-stages?entityId={ENTITY_ID}"
    assert [str(request.url) for request in crm.requests] == [expected]


CLEAR_TEXT = "the base URL must be https: over http the key would be sent in clear text"
NO_URL = "the base URL must be an http(s) URL, such as https://crm.example.com"
TOO_MUCH = "the base URL must be only scheme, host and path, such as https://crm.example.com"


@pytest.mark.parametrize(
    ("base_url", "why"),
    [
        ("http://crm.test", CLEAR_TEXT),
        ("http://10.0.0.1", CLEAR_TEXT),
        ("http://localhost.crm.test", CLEAR_TEXT),
        ("", NO_URL),
        ("crm.test", NO_URL),
        ("ftp://crm.test", NO_URL),
        ("https://", NO_URL),
        ("https://user:secret@crm.test", TOO_MUCH),
        ("https://crm.test?entityId=1", TOO_MUCH),
        ("https://crm.test#top", TOO_MUCH),
        ("https://crm.test/api/crm/", "the base URL is the part before /api/crm"),
        ("https://crm.test:port", "the base URL is not a URL"),
        ("https://[::1", "the base URL is not a URL"),
    ],
)
def test_base_urls_that_are_refused(base_url: str, why: str) -> None:
    with pytest.raises(ValueError, match="base URL") as caught:
        CrmClient(base_url, CANARY_KEY, ENTITY_ID)
    assert str(caught.value) == why


@pytest.mark.parametrize("answer", [status(204), status(200), status(202, content=b" \n")])
async def test_success_without_a_body_is_success(connect: Connect, answer: httpx2.Response) -> None:
    assert await write(connect(Crm(answer))) is None


async def test_what_came_is_read(connect: Connect) -> None:
    created = await write(connect(Crm(status(201, json={"id": ID, "name": "Acme"}))))
    assert created == Company.from_wire({"id": ID, "name": "Acme"})
    assert await read(connect(Crm(status(200, json=STAGES)))) == Rows([])


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"\xff", b"[" * 200_000])
async def test_success_that_is_no_json_is_an_error(connect: Connect, body: bytes) -> None:
    answer = status(200, content=body, headers={"Content-Type": "text/html"})
    said = f"The CRM answered 200 with something that is not JSON (text/html, {len(body)} bytes)."
    assert str(await failure(read, connect(Crm(answer)))) == said
    assert str(await failure(write, connect(Crm(answer)))) == (
        f"{said} It may have been done: look before doing it again."
    )


@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (rb'{"a": "cut \ud83d"}', {"a": "cut ?"}),
        (rb'{"a\uD83D": ["\uDE80 x", "\ud83d\ude80"]}', {"a?": ["? x", "\U0001f680"]}),
        (b'{"a": "\xed\xa0\xbd"}', {"a": "\ufffd\ufffd\ufffd"}),
        (b'\xef\xbb\xbf{"a": "\xed\x95\x9c"}', {"a": "\ud55c"}),
        (b'{"a": 1e999, "b": [-1e999, NaN, Infinity, 1.5]}', {"a": None, "b": [None, None, None, 1.5]}),
    ],
)
async def test_what_no_encoding_can_carry_on_is_not_let_in(
    connect: Connect, content: bytes, wire: dict[str, Any]
) -> None:
    dashboard = await connect(Crm(status(200, content=content))).pipeline.dashboard()
    assert dashboard.wire == wire


async def test_a_number_beyond_all_bounds_is_no_value(connect: Connect) -> None:
    content = f'{{"id": "{ID}", "title": "Deal", "value": 1e999}}'.encode()
    lead = await connect(Crm(status(200, content=content))).leads.get(ID)
    assert (lead.value, lead.wire["value"]) == (None, None)


class EndlessAnswer(httpx2.AsyncByteStream):
    def __init__(self) -> None:
        self.sent_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.sent_bytes += 2**20
            yield bytes(2**20)


async def test_an_oversized_answer_is_not_read_on(connect: Connect) -> None:
    endless = EndlessAnswer()
    error = await failure(read, connect(Crm(status(200, stream=endless))))
    assert str(error) == "The CRM's answer is longer than 32 MiB; it was not read on."
    assert endless.sent_bytes == MAX_RESPONSE_BYTES + 2**20


@pytest.mark.parametrize("odd", ["../x", "a/b", "%2e%2e", "", f"{ID}/..", f"{ID}\n", f"{ID}?x=1", "me"])
async def test_an_id_that_is_no_uuid_never_reaches_a_path(connect: Connect, odd: str) -> None:
    crm = Crm(status(200, json={}))
    client = connect(crm)
    for operation in openapi.operations():
        for name in operation.path_names:
            ids: dict[str, Any] = {**dict.fromkeys(operation.path_names, ID), name: odd}
            with pytest.raises(InvalidInputError, match="ids are UUIDs"):
                await client.call(operation, **ids)
    assert crm.requests == []


async def test_a_body_that_clears_a_field_sends_null(connect: Connect) -> None:
    crm = Crm(status(204))
    await connect(crm).pipeline.update(ID, StageChanges(color_key=None))
    assert [json.loads(request.content) for request in crm.requests] == [{"colorKey": None}]


def test_a_copy_of_a_crm_at_another_address_is_another_crm() -> None:
    entity = "497f6eca-6276-4993-bfeb-53cbbbba6f08"
    addresses = ("https://crm.example", "https://crm.example/", "https://copy.example")
    crm, same, copy = (CrmClient(address, "ak_x", entity).identity for address in addresses)
    assert (crm == same, crm == copy) == (True, False)
