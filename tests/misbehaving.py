"""A CRM on a real socket that does with each write what a test wants, down to resetting the connection."""

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import httpx2

from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.store import Store

SECONDS = 20
DRIP_SECONDS = 0.05
HTML = b"<h1>Sorry</h1>\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all


class Exchange:
    """One request and what becomes of it: a connection of its own, since no answer keeps it open."""

    def __init__(self, crm: "MisbehavingCrm", connection: socket.socket) -> None:
        self.crm, self._connection = crm, connection
        self.method = self.path = ""
        self.query: dict[str, str] = {}
        self._request: httpx2.Request | None = None

    def read(self) -> bool:
        """Whether a whole request has come."""
        content = b""
        while b"\r\n\r\n" not in content:
            if not (more := self._connection.recv(65536)):
                return False
            content += more
        head, _, body = content.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", "0")):
            body += self._connection.recv(65536)
        self.method, target, _ = first.split(" ")
        self.path = target.partition("?")[0]
        self._request = httpx2.Request(
            self.method, f"http://localhost{target}", headers=headers, content=body or None
        )
        self.query = dict(self._request.url.params)
        return True

    def done(self) -> bytes:
        """Have the embedded CRM do it; its answer, which nobody has got yet."""

        async def do() -> bytes:
            assert self._request is not None
            response = await self.crm.app.handle_async_request(self._request)
            content = await response.aread()
            if self.method != "GET" and response.is_success:
                self.crm.written.append(f"{self.method} {self.path}")
            return answer(response.status_code, content)

        return asyncio.run(do())

    def send(self, content: bytes) -> None:
        self._connection.sendall(content)

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def hang(self) -> None:
        """Say nothing until the other side has had enough of it."""
        with suppress(ConnectionError):
            while self._connection.recv(65536):
                pass

    def has_hung_up(self, *, within: float) -> bool:
        """Whether the other side has had enough of it."""
        self._connection.settimeout(within)
        try:
            return not self._connection.recv(65536)
        except TimeoutError:
            return False


Behaviour = Callable[[Exchange], None]


def answer(status: int, content: bytes, *, length: int | None = None, **headers: str) -> bytes:
    """As HTTP has it."""
    fields = {
        "content-type": "application/json",
        "content-length": str(len(content) if length is None else length),
        "connection": "close",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + content


def json_answer(status: int, value: Any, **headers: str) -> bytes:
    return answer(status, json.dumps(value).encode(), length=None, **headers)


def well(exchange: Exchange) -> None:
    exchange.send(exchange.done())


def hang(exchange: Exchange) -> None:
    exchange.hang()


def reset(exchange: Exchange) -> None:
    exchange.reset()


def answering(content: bytes) -> Behaviour:
    return lambda exchange: exchange.send(content)


def after(behaviour: Behaviour) -> Behaviour:
    """The same once the write is done."""

    def done_first(exchange: Exchange) -> None:
        exchange.done()
        behaviour(exchange)

    return done_first


def drip(exchange: Exchange) -> None:
    exchange.send(answer(200, b"", length=1000))
    while not exchange.has_hung_up(within=DRIP_SECONDS):
        exchange.send(b" ")


def endless(exchange: Exchange) -> None:
    exchange.send(answer(200, b'{"companies": [', length=2**40))
    while True:
        exchange.send(b'{"id": "x"}, ' * 100_000)


class MisbehavingCrm:
    """`with MisbehavingCrm(store) as crm`: serves at `crm.url` until the end.

    `on_write` is what it does with requests that write, `on_read` with the others; `at_once`, once, with the
    next connection, before anything is read.
    """

    def __init__(self, store: Store) -> None:
        self.app = httpx2.ASGITransport(create_app(store))
        self.credentials = store.credentials
        self.on_write: Behaviour = well
        self.on_read: Behaviour = well
        self.at_once: Behaviour | None = None
        self.is_behaving = threading.Event()
        self.written: list[str] = []
        self.tried: list[str] = []
        self._exchanges: list[threading.Thread] = []
        self._listener = self._listen(0)
        self._port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse_connections()
        self.settle()

    @property
    def settings(self) -> dict[str, str]:
        """How a program finds it."""
        return {
            "CRM_BASE_URL": self.url,
            "CRM_API_KEY": self.credentials.api_key,
            "CRM_ENTITY_ID": self.credentials.entity_id,
        }

    def refuse_connections(self) -> None:
        with suppress(OSError):  # it is closed already
            # Wakes who waits for a connection, which closing alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def behave(self) -> None:
        """Do all as it should be from now on, once what is under way has come to its end."""
        self.on_write = self.on_read = well
        self.at_once = None
        self.is_behaving.set()
        self.settle()
        self.is_behaving.clear()
        if self._listener.fileno() == -1:
            self._listener = self._listen(self._port)

    def settle(self) -> None:
        for thread in self._exchanges:
            if thread is not threading.current_thread():
                thread.join(SECONDS)
                assert not thread.is_alive()
        self._exchanges.clear()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # it was closed
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._exchanges.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        at_once, self.at_once = self.at_once, None
        exchange = Exchange(self, connection)
        with connection, suppress(ConnectionError):
            if at_once:
                # A connection that breaks before anything was sent is no lost write: it is made again.
                connection.recv(1, socket.MSG_PEEK)
                at_once(exchange)
            elif exchange.read():
                if exchange.method != "GET":
                    self.tried.append(f"{exchange.method} {exchange.path}")
                (self.on_read if exchange.method == "GET" else self.on_write)(exchange)
