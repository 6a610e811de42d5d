"""The CRM over HTTP: connection pool, key, time-outs, retries; statuses and failures become errors."""

from __future__ import annotations

import copy
import json
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import count
from math import isfinite
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import anyio
import httpx2

from crm_mcp import __version__
from crm_mcp.crm.activities import Activities
from crm_mcp.crm.address import check_base_url, is_loopback
from crm_mcp.crm.companies import Companies
from crm_mcp.crm.contacts import Contacts
from crm_mcp.crm.contract import Body, Entity, Operation, PagedFilter, Rows
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
from crm_mcp.crm.leads import Leads
from crm_mcp.crm.outreach import Outreach
from crm_mcp.crm.pipeline import Pipeline

T = TypeVar("T")
E = TypeVar("E", bound=Entity)

MAX_RESPONSE_BYTES = 32 * 2**20
MAX_QUOTED_CHARS = 200
ATTEMPTS = 4
# Where the CRM names no wait: 0.1, 0.2 and 0.4 s, each with up to JITTER_SECONDS more.
JITTER_SECONDS = 0.3
LONGEST_BACKOFF_SECONDS = 0.7
# A reset from here on is a point in time, a smaller one a number of seconds.
FIRST_EPOCH = 1_000_000_000
MAX_WAIT_SECONDS = 86_400
NOTHING_DONE = "Nothing was done."
# Many servers hang up after 5 s: a write sent just then would have an unknown outcome.
KEEPALIVE_SECONDS = 3.0
API_KEY = re.compile(r"ak_[!-~]+")
# Whole pairs are escaped like this as well.
HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
RETRIED_STATUSES = (None, 429, 502, 503, 504)

NEVER_LEFT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)

REJECTIONS: dict[int, tuple[type[RejectedError], str]] = {
    400: (InvalidInputError, "The CRM found the input invalid"),
    401: (AuthenticationError, "The CRM does not accept the API key"),
    403: (PermissionDeniedError, "The CRM denied it: the key lacks the scope or belongs to another entity"),
    404: (NotFoundError, "The CRM has no such record"),
    409: (ConflictError, "The CRM says that the record's state does not allow it"),
    422: (InvalidInputError, "The CRM found the input invalid"),
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, to send, and to wait for the next bytes; `total` bounds a call with its retries."""

    connect_seconds: float = 5.0
    write_seconds: float = 15.0
    read_seconds: float = 30.0
    total_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Write:
    """A request that changes something: its operation, the ids in its path, its body."""

    operation: Operation[Any]
    ids: Mapping[str, str]
    body: Body | None


# Whoever stands between a client and its writes: given one, and what sends it and brings the CRM's JSON.
Gate = Callable[[Write, Callable[[], Awaitable[Any]]], Awaitable[Any]]


class CrmClient:
    """The CRM as Python: `async with CrmClient(url, key, entity) as crm: await crm.leads.search()`.

    Every call raises a `CrmError` when it does not do what was asked. GETs are retried on connection errors,
    429, 502, 503 and 504; writes only when nothing was done for certain (no connection, 429).

    Raises ValueError for a base URL that would send the key in clear text over a network, and for a key
    that cannot stand in a header.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        entity_id: str,
        *,
        timeouts: Timeouts | None = None,
        max_in_flight: int = 8,
        read_only: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
        identity: str = "",
    ) -> None:
        check_base_url(base_url)
        check_api_key(api_key)
        self.base_url = base_url.rstrip("/")
        self.entity_id = entity_id
        # What tells this CRM from every other, a copy of it included.
        self.identity = identity or f"{self.base_url} {entity_id}"
        self.read_only = read_only
        self.timeouts = timeouts or Timeouts()
        # Until when it is taken for granted that there is more of a kind of records than a page shows.
        self.large: dict[str, float] = {}
        self._gate: Gate | None = None
        self._slots = anyio.Semaphore(max_in_flight, fast_acquire=True)
        self._http = httpx2.AsyncClient(
            headers={
                "Authorization": f"Bearer {api_key}",
                "Accept": "application/json",
                "User-Agent": f"crm-mcp/{__version__}",
            },
            timeout=httpx2.Timeout(
                connect=self.timeouts.connect_seconds,
                write=self.timeouts.write_seconds,
                read=self.timeouts.read_seconds,
                pool=None,
            ),
            limits=httpx2.Limits(
                max_connections=max_in_flight,
                max_keepalive_connections=max_in_flight,
                keepalive_expiry=KEEPALIVE_SECONDS,
            ),
            # The system's certificates take longer to load than a call; without TLS nobody needs them.
            verify=urlsplit(base_url).scheme == "https" or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            follow_redirects=False,
            # The key says who calls; a cookie could only say somebody else.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            # A proxy from the environment is for the network, not for a CRM on this machine.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    def through(self, gate: Gate) -> CrmClient:
        """The same connection, all of whose writes go through a gate."""
        gated = copy.copy(self)
        gated._gate = gate
        return gated

    @property
    def companies(self) -> Companies:
        return Companies(self)

    @property
    def contacts(self) -> Contacts:
        return Contacts(self)

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(self)

    @property
    def leads(self) -> Leads:
        return Leads(self)

    @property
    def activities(self) -> Activities:
        return Activities(self)

    @property
    def outreach(self) -> Outreach:
        return Outreach(self)

    async def call(
        self,
        operation: Operation[T],
        *,
        query: dict[str, str] | None = None,
        body: Body | None = None,
        **ids: str,
    ) -> T:
        """Do one operation; `ids` fill its path.

        Raises a CrmError.
        """
        if self.read_only and operation.method != "GET":
            raise ReadOnlyError("This connection is read-only. Nothing was sent to the CRM.")
        query = {"entityId": self.entity_id, **(query or {})}
        request = self._http.build_request(
            operation.method,
            # One text, so that it is parsed once.
            f"{self.base_url}{operation.url_path(**ids)}?{urlencode(query)}",
            json=None if body is None else body.to_wire(),
        )
        if self._gate is None or operation.method == "GET":
            return operation.answer.read(await self._send(request))
        write = Write(operation, ids, body)
        return operation.answer.read(await self._gate(write, lambda: self._send(request)))

    async def change(
        self, operation: Operation[E | None], reading: Operation[E], *, body: Body, **ids: Any
    ) -> E | None:
        """Do a write; then the record as it is now, or None if it cannot be read now: the write is done.

        Raises a CrmError of the write alone.
        """
        record = await self.call(operation, body=body, **ids)
        if record is None:
            with suppress(CrmError):
                found: E = await self.call(reading, **ids)
                return found
        return record

    def pages(
        self, operation: Operation[Rows[E]], wanted: PagedFilter
    ) -> Callable[[int, int], Awaitable[Rows[E]]]:
        """A list operation as a function of page (from 1) and page size."""

        async def fetch(page: int, page_size: int) -> Rows[E]:
            paged = wanted.model_copy(update={"page": page, "page_size": page_size})
            return await self.call(operation, query=paged.to_wire())

        return fetch

    async def _send(self, request: httpx2.Request) -> Any:
        import stamina  # noqa: PLC0415  # not needed until there is a first call

        deadline = _Deadline(self.timeouts.total_seconds)
        attempts = count(1)

        def decide(error: Exception) -> bool | float:
            return retry_wait(
                error,
                writing=request.method != "GET",
                attempt=next(attempts),
                seconds_left=deadline.seconds_left(),
            )

        retries = stamina.retry_context(
            on=decide,
            attempts=ATTEMPTS,
            timeout=self.timeouts.total_seconds,
            wait_jitter=JITTER_SECONDS,
        )
        async for attempt in retries:
            with attempt:
                return await self._send_once(request, deadline)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send_once(self, request: httpx2.Request, deadline: _Deadline) -> Any:
        sent = False
        try:
            with anyio.fail_after(deadline.seconds_left()):
                async with self._slots:
                    # The machine may have slept meanwhile, and that clock with it.
                    deadline.check()
                    sent = True
                    response = await self._http.send(request, stream=True)
                    try:
                        content = await _read_bounded(response)
                    finally:
                        await response.aclose()
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, TimeoutError) as error:
            _raise_for_failure(error, request, sent=sent)
        return _read_json(response, content)


class _Deadline:
    """By either clock: one stands still while the machine sleeps, the other one may be set."""

    def __init__(self, seconds: float) -> None:
        self._ends = (time.monotonic() + seconds, time.time() + seconds)

    def check(self) -> None:
        """Raises TimeoutError where it is over."""
        if not self.seconds_left():
            raise TimeoutError

    def seconds_left(self) -> float:
        return max(0.0, min(self._ends[0] - time.monotonic(), self._ends[1] - time.time()))


def retry_wait(error: Exception, *, writing: bool, attempt: int, seconds_left: float) -> bool | float:
    """Whether to try again after this attempt (from 1): False, the CRM's own wait in seconds, or True for a
    short one.

    A limit without a word of when it ends may last a minute: a write is not knocked against it.
    """
    if not isinstance(error, UnavailableError | RateLimitedError) or error.status not in RETRIED_STATUSES:
        return False
    wait = error.retry_after_seconds
    if writing and wait is None and error.status == 429 and attempt > 1:
        return False
    if (LONGEST_BACKOFF_SECONDS if wait is None else wait) >= seconds_left:
        return False
    return True if wait is None else wait


async def _read_bounded(response: httpx2.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > MAX_RESPONSE_BYTES:
            raise UnexpectedResponseError(
                f"The CRM's answer is longer than {MAX_RESPONSE_BYTES // 2**20} MiB; it was not read on."
                + _may_have_happened(response.request)
            )
    return bytes(content)


def _raise_for_failure(error: Exception, request: httpx2.Request, *, sent: bool) -> NoReturn:
    """No usable answer came: whether the request can have had an effect decides what that means."""
    what = type(error).__name__
    if not sent:
        raise UnavailableError(
            "The time ran out before it could be sent: too many calls at once, or too many retries. "
            "Try again later."
        ) from error
    if isinstance(error, NEVER_LEFT):
        raise UnavailableError(
            f"No connection to the CRM at {request.url.host} ({what}). Nothing was sent; try again later."
        ) from error
    if isinstance(error, httpx2.DecodingError):
        raise UnexpectedResponseError(
            f"The CRM's answer could not be decoded.{_may_have_happened(request)}"
        ) from error
    if request.method == "GET":
        raise UnavailableError(f"The CRM did not answer ({what}). Try again later.") from error
    raise OutcomeUnknownError(
        f"The request was sent, but no answer came ({what}): it may or may not have been done. "
        "Look before doing it again."
    ) from error


def _read_json(response: httpx2.Response, content: bytes) -> Any:
    if not response.is_success:
        _raise_for_status(response, content)
    if not content.strip():
        return None
    try:
        value = _json(content)
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("content-type", "no content type")[:80]
        raise UnexpectedResponseError(
            f"The CRM answered {response.status_code} with something that is not JSON ({kind}, "
            f"{len(content)} bytes).{_may_have_happened(response.request)}"
        ) from error
    if response.request.method != "GET" and _says_no(value):
        raise UnexpectedResponseError(
            f"The CRM answered {response.status_code}, but says that it failed{_quoted_error(content)}."
            f"{_may_have_happened(response.request)}"
        )
    return value


def _says_no(value: Any) -> bool:
    """Whether a success is none: an `error` as the CRM documents it, or `success: false`."""
    return (
        isinstance(value, dict)
        and "id" not in value
        and (value.get("success") is False or (isinstance(value.get("error"), str) and bool(value["error"])))
    )


def _json(content: bytes) -> Any:
    """The JSON, of what every encoding can carry on: numbers beyond all bounds are null, half surrogate pairs
    (a text that was cut within an emoji) are replaced.

    Raises ValueError or RecursionError where it is none.
    """
    text = content.decode("utf-8-sig", errors="replace")
    value = json.loads(text, parse_float=_finite, parse_constant=lambda _: None)
    if HALF_PAIR.search(text) is None:
        return value
    return json.loads(json.dumps(value, ensure_ascii=False).encode(errors="replace"))


def _finite(number: str) -> float | None:
    return value if isfinite(value := float(number)) else None


def _raise_for_status(response: httpx2.Response, content: bytes) -> NoReturn:
    status = response.status_code
    said = _quoted_error(content)
    wait = _retry_after_seconds(response.headers)
    if status == 429:
        wait = _reset_seconds(response.headers) if wait is None else wait
        later = f"Try again in {wait:.0f} s." if wait is not None else "Try again in a minute."
        raise RateLimitedError(
            f"The CRM's rate limit is reached{said}. Nothing was done. {later}", retry_after_seconds=wait
        )
    if 300 <= status < 400:
        raise UnexpectedResponseError(
            f"The CRM redirects ({status}); redirects are not followed with the key. Is the base URL right?"
            + _may_have_happened(response.request)
        )
    if status < 500:
        kind, text = REJECTIONS.get(status, (RejectedError, f"The CRM rejected it with status {status}"))
        nothing = "" if response.request.method == "GET" else f" {NOTHING_DONE}"
        raise kind(f"{text}{said}.{nothing}", status=status)
    if response.request.method == "GET":
        raise UnavailableError(
            f"The CRM failed with status {status}{said}. Try again later.",
            status=status,
            retry_after_seconds=wait,
        )
    raise OutcomeUnknownError(
        f"The CRM failed with status {status}{said}: it may or may not have been done. "
        "Look before doing it again.",
        # What stands before the CRM says the others, and says them while the CRM works.
        may_be_late=status != 500,
    )


def _quoted_error(content: bytes) -> str:
    """The CRM's own `error` string, cut, on one line and without keys; nothing of HTML or an empty body."""
    try:
        said = json.loads(content)["error"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    if not isinstance(said, str) or not said.strip():
        return ""
    printable = "".join(char if char.isprintable() else " " for char in API_KEY.sub("ak_…", said))
    one_line = " ".join(printable.split())
    cut = one_line if len(one_line) <= MAX_QUOTED_CHARS else one_line[: MAX_QUOTED_CHARS - 1] + "…"
    return f': "{cut.rstrip(".")}"'


def _retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """Seconds to wait by `Retry-After`, which is a number or a date; None where neither can be read."""
    value = headers.get("retry-after", "")
    try:
        return _wait(float(value))
    except ValueError:
        pass
    try:
        return _wait(parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _reset_seconds(headers: httpx2.Headers) -> float | None:
    """Seconds to wait by `X-RateLimit-Reset`: a duration or a time, nobody documented which."""
    try:
        value = float(headers.get("x-ratelimit-reset", ""))
    except ValueError:
        return None
    return _wait(value if value < FIRST_EPOCH else value - time.time())


def _wait(seconds: float) -> float | None:
    """None for what nobody would wait for: longer than a day, infinite, not a number."""
    return max(0.0, seconds) if seconds <= MAX_WAIT_SECONDS else None


def _may_have_happened(request: httpx2.Request) -> str:
    return "" if request.method == "GET" else " It may have been done: look before doing it again."


def check_api_key(api_key: str) -> None:
    """Raises ValueError when no header can carry the key; the HTTP library's own error would quote it."""
    if not re.fullmatch(r"[!-~]+", api_key):
        raise ValueError("the API key must be printable ASCII without spaces")
