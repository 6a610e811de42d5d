"""What tests of writes share: an assistant's calls in short, and CRMs that lose answers or hold them back."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
from mcp import Client


async def text_of(client: Client, tool: str, *, fails: bool = False, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert block.type == "text"
    assert result.is_error is fails, block.text
    return block.text


async def facts_of(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def losing_the_answer(inner: httpx2.AsyncBaseTransport, *, before: bool = False) -> httpx2.MockTransport:
    """A CRM whose connection breaks on writes: after they were done, or before."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET" and before:
            raise httpx2.ReadError("broken", request=request)
        response = await inner.handle_async_request(request)
        if request.method != "GET":
            raise httpx2.ReadError("broken", request=request)
        return response

    return httpx2.MockTransport(answer)


def keeping_otherwise(inner: httpx2.AsyncBaseTransport, other: dict[str, Any]) -> httpx2.MockTransport:
    """A CRM that gives no answer to a POST, and shows another record afterwards than was sent."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return await inner.handle_async_request(request)
        body = {**json.loads(request.content), **other}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        theirs = httpx2.Request("POST", request.url, headers=headers, content=json.dumps(body).encode())
        assert (await inner.handle_async_request(theirs)).is_success
        raise httpx2.ReadError("broken", request=request)

    return httpx2.MockTransport(answer)


def failing_writes(inner: httpx2.AsyncBaseTransport, status: int) -> httpx2.MockTransport:
    """A CRM that does no write, and answers with this status."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await inner.handle_async_request(request)
        return httpx2.Response(status)

    return httpx2.MockTransport(answer)


def hiding_memberships(inner: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that shows nobody who is a member of which company."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/company-memberships"):
            return httpx2.Response(403, json={"error": "no"})
        return await inner.handle_async_request(request)

    return httpx2.MockTransport(answer)


class Held:
    """A CRM that keeps the first of some requests waiting: it is `met`, until it is `let_go`."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, which: Callable[[httpx2.Request], bool]) -> None:
        self._inner, self._which = inner, which
        self.met, self.let_go = anyio.Event(), anyio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if self._which(request) and not self.met.is_set():
            self.met.set()
            await self.let_go.wait()
        return response


class Late(httpx2.MockTransport):
    """A CRM that gives writes no answer, and does them when it is told to."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self._late: list[httpx2.Request] = []
        super().__init__(self._answer)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await self._inner.handle_async_request(request)
        await request.aread()
        self._late.append(request)
        raise httpx2.ReadTimeout("late", request=request)

    async def catch_up(self) -> None:
        for request in self._late:
            assert (await self._inner.handle_async_request(request)).is_success


def showing(
    inner: httpx2.AsyncBaseTransport, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> httpx2.MockTransport:
    """A CRM that shows each of its records changed like this."""

    def changed(value: Any) -> Any:
        if isinstance(value, list):
            return [changed(one) for one in value]
        if not isinstance(value, dict):
            return value
        shown = {name: changed(one) for name, one in value.items()}
        return change(shown) if "id" in shown else shown

    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await inner.handle_async_request(request)
        content = await response.aread()
        if not content:
            return httpx2.Response(response.status_code)
        return httpx2.Response(response.status_code, json=changed(json.loads(content)))

    return httpx2.MockTransport(answer)


def without(*fields: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda record: {name: value for name, value in record.items() if name not in fields}


def without_nulls(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None}


def dark_once_it_wrote(inner: httpx2.AsyncBaseTransport, *, answers: bool = True) -> httpx2.MockTransport:
    """A CRM that does the next write, and shows nothing from then on."""
    is_dark = False

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal is_dark
        if is_dark:
            return httpx2.Response(403)
        response = await inner.handle_async_request(request)
        if request.method != "GET":
            is_dark = True
            if not answers:
                raise httpx2.ReadError("broken", request=request)
        return response

    return httpx2.MockTransport(answer)


def doing_it_in_the_dark(inner: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """The same, which gives that write no answer either."""
    return dark_once_it_wrote(inner, answers=False)
