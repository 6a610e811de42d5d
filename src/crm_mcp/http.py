"""The server over streamable HTTP: who may connect, a health check, and a clean end."""

from __future__ import annotations

import hashlib
import hmac
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import uvicorn
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware, get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import ListenHandler
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from crm_mcp import __version__
from crm_mcp.settings import Settings

HEALTH_PATH = "/healthz"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
SHUTDOWN_GRACE_SECONDS = 3


def build_app(server: MCPServer[Any], settings: Settings) -> ASGIApp:
    """The ASGI app: `/mcp` and `/healthz`; where a token is set, all but the health check needs it."""

    server.custom_route(HEALTH_PATH, methods=["GET"])(_healthz)
    app = server.streamable_http_app(transport_security=_security(settings))
    return BearerGate(app, settings.tokens) if settings.tokens else app


def principal() -> str:
    """The name of the token that came with the request at hand, where tokens are needed.

    Raises LookupError where there is none: nothing is written in nobody's name.
    """
    token = get_access_token()
    if token is None:
        raise LookupError("what runs here belongs to no request with a token")
    return token.client_id


async def _healthz(_request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok", "version": __version__})


def _security(settings: Settings) -> TransportSecuritySettings:
    """Host and Origin are checked always: a page in a browser must not reach a server on this machine."""
    names = (*LOOPBACK_NAMES, *settings.http_allowed_hosts)
    origins = [f"http://{name}{port}" for name in LOOPBACK_NAMES for port in ("", ":*")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[f"{name}{port}" for name in names for port in ("", ":*")],
        allowed_origins=[*origins, *settings.http_allowed_origins],
    )


class BearerGate:
    """Lets a request through that carries one of the tokens, in that token's name.

    The SDK is told the name as that of an OAuth client: it brings it to whatever runs for the request, and
    keeps a session, and what a person was asked, for the name that it began with.
    """

    def __init__(self, app: ASGIApp, tokens: Mapping[str, SecretStr]) -> None:
        self._app = AuthContextMiddleware(app)
        self._digests = {name: _digest(token.get_secret_value()) for name, token in tokens.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
        elif name := self._name(scope):
            user = AuthenticatedUser(AccessToken(token="", client_id=name, scopes=[]))
            await self._app({**scope, "user": user}, receive, send)
        else:
            refusal = JSONResponse(
                {"error": "A valid Bearer token is required."}, 401, {"WWW-Authenticate": "Bearer"}
            )
            await refusal(scope, receive, send)

    def _name(self, scope: Scope) -> str | None:
        """Found in constant time: every token is compared, by digests, which are equally long."""
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        said = _digest(token.strip())
        fits = [name for name, known in self._digests.items() if hmac.compare_digest(said, known)]
        return fits[0] if fits and scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def stream_closer(server: MCPServer[Any]) -> Callable[[], object]:
    """What ends the streams that clients of the newest protocol listen on: nothing else does."""
    # MCPServer makes the handler itself and shows it nowhere.
    listening = server._lowlevel_server.get_request_handler("subscriptions/listen")
    if listening is None or not isinstance(listening.handler, ListenHandler):
        raise TypeError("something else than the SDK's handler serves subscriptions/listen")
    return listening.handler.close


class _Server(uvicorn.Server):
    """uvicorn, but it tells when it serves and stops, and a signal ends it with success."""

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], object], on_stopping: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_stopping = on_stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises OSError when the address cannot be served on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    # asyncio does this only for sockets it makes; without it answers wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    on_started: Callable[[], object],
    on_stopping: Callable[[], object],
) -> None:
    """Serve until SIGTERM or SIGINT; what is open then is given a moment to end."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS
    )
    await _Server(config, on_started, on_stopping).serve([listener])
