"""CRMs that keep, show or allow less than the embedded one, or show more; each takes the place of it."""

import json
from collections.abc import Callable
from typing import Any

import httpx2


def dropping(field: str, crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that overlooks a field of what is written."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.content:
            body = json.loads(request.content)
            body.pop(field, None)
            headers = {"Authorization": request.headers["Authorization"]}
            request = httpx2.Request(request.method, request.url, headers=headers, json=body)
        return await crm.handle_async_request(request)

    return httpx2.MockTransport(answer)


def taciturn(crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that does what is written, and answers 204."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        return response if request.method == "GET" else httpx2.Response(204)

    return httpx2.MockTransport(answer)


def refusing(end_of_path: str, crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that does not let this be read."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and request.url.path.endswith(end_of_path):
            return httpx2.Response(403, json={"error": "Not this."})
        return await crm.handle_async_request(request)

    return httpx2.MockTransport(answer)


def cutting(
    end_of_path: str, rows: str, size: int, crm: httpx2.AsyncBaseTransport, *, pages: bool = False
) -> httpx2.MockTransport:
    """A CRM that shows the first so many rows of a list and tells how many there are; with `pages`, the next
    ones on the next page."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        if request.method != "GET" or not request.url.path.endswith(end_of_path):
            return response
        every = json.loads(await response.aread())[rows]
        page = int(request.url.params.get("page", 1)) if pages else 1
        part = every[(page - 1) * size : page * size]
        return httpx2.Response(200, json={rows: part, "total": len(every), "page": page, "pageSize": size})

    return httpx2.MockTransport(answer)


# What the model reads of a part that `refusing` keeps back.
REFUSED = (
    "could not be fetched: The CRM denied it: the key lacks the scope or belongs to another entity: "
    '"Not this".'
)


def adding(end_of_path: str, fields: dict[str, Any], crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that tells more of a record."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        if request.url.path.endswith(end_of_path):
            return httpx2.Response(response.status_code, json=json.loads(await response.aread()) | fields)
        return response

    return httpx2.MockTransport(answer)


def without_nulls(crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that leaves out what is null."""
    return _told(crm, lambda _, value: value is not None)


def hiding(field: str, crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM whose lists do not show a field of their rows."""

    return _told(crm, lambda name, _: name != field)


def _told(crm: httpx2.AsyncBaseTransport, tells: Callable[[str, Any], bool]) -> httpx2.MockTransport:
    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        return httpx2.Response(response.status_code, json=told(json.loads(await response.aread())))

    def told(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: told(part) for name, part in value.items() if tells(name, part)}
        return [told(part) for part in value] if isinstance(value, list) else value

    return httpx2.MockTransport(answer)
