"""The embedded CRM as an ASGI application: routing, authorisation and the one shape of errors.

Written from `crm-api.md` alone, and imports nothing of the client, so that the two can disagree.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from crm_mcp.sandbox import activities, companies, contacts, dashboard, leads, memberships, outreach, stages
from crm_mcp.sandbox.call import ApiError, Call, Handler, Json, Operation
from crm_mcp.sandbox.store import Caller, Store
from crm_mcp.sandbox.values import is_uuid

PREFIX: Final = "/api/crm"

OPERATIONS: Final[list[Operation]] = [
    operation
    for family in (outreach, dashboard, companies, contacts, memberships, stages, leads, activities)
    for operation in family.OPERATIONS
]

_logger = logging.getLogger(__name__)


def create_app(store: Store) -> Starlette:
    """The CRM HTTP API over the store. The caller keeps the store open as long as the application."""
    app = Starlette(
        routes=[
            Route(PREFIX + path, _endpoint(store, method, handler), methods=[method])
            for method, path, handler in OPERATIONS
        ],
        exception_handlers={HTTPException: _routing_error},
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(store: Store, method: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    writes = method != "GET"

    async def endpoint(request: Request) -> Response:
        content = await request.body()
        # No `await` from here on: a cancelled call has happened entirely or not at all.
        try:
            with store.transaction(write=writes):
                status, payload = handler(_call(store, request, content))
        except ApiError as error:
            return _error(error.status, str(error))
        except Exception:  # an error must stay on this side of the wire, even within one process
            _logger.exception("%s %s failed", method, request.url.path)
            return _error(500, "Internal error")
        return Response(status_code=status) if payload is None else JSONResponse(payload, status)

    return endpoint


def _call(store: Store, request: Request, content: bytes) -> Call:
    """The authorised call: who (401), where (400, 403), whether it may (403)."""
    caller = _caller(store, request)
    body = {} if request.method == "GET" else _json_object(request, content)
    entity_id = request.query_params.get("entityId") or body.get("entityId")
    if not isinstance(entity_id, str) or not is_uuid(entity_id):
        raise ApiError(400, "entityId is required, as a UUID.")
    if entity_id.lower() != caller.entity_id:
        raise ApiError(403, "This key belongs to another entity.")
    _check_scope(caller, request.method)
    return Call(store, caller, request.path_params, dict(request.query_params), body)


def _caller(store: Store, request: Request) -> Caller:
    scheme, _, api_key = request.headers.get("authorization", "").partition(" ")
    caller = store.caller(api_key.strip()) if scheme.lower() == "bearer" else None
    if caller is None:
        raise ApiError(401, "Missing or unknown API key.")
    return caller


def _check_scope(caller: Caller, method: str) -> None:
    allowed = {"write:crm"} if method != "GET" else {"read:crm", "write:crm"}
    if caller.scopes.isdisjoint(allowed):
        raise ApiError(403, f"This key lacks the scope {min(allowed)}.")


def _json_object(request: Request, content: bytes) -> Json:
    if not content and request.method == "DELETE":
        return {}
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return body


async def _routing_error(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, error.detail, error.headers)


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": text}, status, headers)
