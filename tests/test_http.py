"""Who may talk to the server over HTTP: its ASGI app, with every setting that lets somebody in."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from crm_mcp import __version__, backend, http
from crm_mcp.access import CrmAccess
from crm_mcp.server import build_server
from crm_mcp.settings import Settings, load_settings

pytestmark = pytest.mark.anyio

TOKEN = "t0ken-" + "x" * 32
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}

Serve = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@asynccontextmanager
async def serve(
    base_url: str = "http://127.0.0.1:8000", **variables: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the app with these settings."""
    settings: Settings = load_settings({"CRM_MCP_SANDBOX": ":memory:", **variables}, environ={})
    access = CrmAccess(backend.opener(settings))
    server = build_server(access, settings.toolsets, read_only=False, sandbox=True)
    app = http.build_app(server, settings)
    headers = {"Accept": "application/json, text/event-stream"}
    async with (
        server.session_manager.run(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=base_url, headers=headers) as client,
    ):
        yield client


async def initialize(client: httpx2.AsyncClient, **headers: str | bytes) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/mcp", json=INITIALIZE, headers=named)


@pytest.mark.parametrize("token", ["", TOKEN], ids=["without a token", "with a token"])
async def test_health_is_open_to_whoever_asks(token: str) -> None:
    async with serve(CRM_MCP_HTTP_TOKEN=token) as client:
        response = await client.get("/healthz", headers={"Host": "10.0.0.7:8000"})
    assert (response.status_code, response.json()) == (200, {"status": "ok", "version": __version__})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.0.0.1", 200),
        ("localhost:9", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example:8000", 421),
        ("localhost.evil.example", 421),
        ("192.168.0.7:8000", 421),
        ("", 421),
    ],
)
async def test_host_must_be_one_of_this_machines_names(host: str, status: int) -> None:
    async with serve() as client:
        response = await initialize(client, Host=host)
    assert response.status_code == status
    if status == 421:
        assert response.text == "Invalid Host header"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://localhost:5173", 200),
        ("http://[::1]:8000", 200),
        ("https://app.example.com", 200),
        ("https://app.example.com:444", 403),
        ("http://app.example.com", 403),
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
    ],
)
async def test_origin_must_be_this_machine_or_allowed(origin: str, status: int) -> None:
    async with serve(CRM_MCP_HTTP_ALLOWED_ORIGINS="https://app.example.com") as client:
        response = await initialize(client, Origin=origin)
    assert response.status_code == status
    if status == 403:
        assert response.text == "Invalid Origin header"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_rebound_name_reaches_nothing(method: str) -> None:
    async with serve("http://rebound.example:8000") as client:
        response = await client.request(method, "/mcp", json=INITIALIZE)
    assert (response.status_code, response.text) == (421, "Invalid Host header")


async def test_allowed_hosts_come_on_top_of_the_loopback_names() -> None:
    async with serve(CRM_MCP_HTTP_ALLOWED_HOSTS="mcp.example.com, crm.example.com") as client:
        hosts = ("mcp.example.com", "crm.example.com:443", "localhost", "other.example.com")
        statuses = [(await initialize(client, Host=host)).status_code for host in hosts]
    assert statuses == [200, 200, 200, 421]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN} x",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN.upper()}",
        f"Bearer {'ü' * len(TOKEN)}".encode(),
        b"Bearer \xff\xfe",
    ],
)
async def test_without_the_token_nothing_is_answered(authorization: str | bytes) -> None:
    async with serve(CRM_MCP_HTTP_TOKEN=TOKEN) as client:
        for path in ("/mcp", "/", "/healthz/", "/nothing"):
            response = await client.post(path, json=INITIALIZE, headers={"Authorization": authorization})
            assert (response.status_code, response.json(), response.headers["WWW-Authenticate"]) == (
                401,
                {"error": "A valid Bearer token is required."},
                "Bearer",
            )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_token_lets_in(scheme: str) -> None:
    async with serve(CRM_MCP_HTTP_TOKEN=TOKEN) as client:
        response = await initialize(client, Authorization=f"{scheme} {TOKEN}")
    assert response.status_code == 200


async def test_token_does_not_stand_in_for_the_host() -> None:
    async with serve(CRM_MCP_HTTP_TOKEN=TOKEN) as client:
        response = await initialize(client, Authorization=f"Bearer {TOKEN}", Host="evil.example")
    assert response.status_code == 421
