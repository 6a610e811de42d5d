"""The page on which a person approves what an assistant wants to do: when it is served, and where."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final

from crm_mcp.journal import LedgerError
from crm_mcp.ledger import Ledger

CHECK_SECONDS: Final = 1
SHUTDOWN_GRACE_SECONDS: Final = 1


class ApprovalPage:
    """The page behind the links, served on loopback from a thread of its own while one of them waits.

    Any thread may use it, whatever transport the server speaks. The ledger stays open as long as it serves.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()
        self._serving: _Serving | None = None

    def link(self, approval_id: str) -> str:
        """The address where a person decides about the approval, served from now on.

        Raises OSError where there is no loopback to serve on.
        """
        with self._turn:
            if self._serving is None or not self._serving.goes_on_for(approval_id):
                self._serving = _Serving(self._ledger, approval_id)
            return self._serving.form.address(approval_id)

    def stop(self) -> None:
        """Serve no longer; what waits goes on waiting."""
        with self._turn:
            if self._serving is not None:
                self._serving.stop()
                self._serving = None


class _Serving:
    """One run of the server, on a port of its own, until none of those it was started for waits any more."""

    def __init__(self, ledger: Ledger, approval_id: str) -> None:
        # Most servers never need them, and all would start later.
        import uvicorn  # noqa: PLC0415

        from crm_mcp.approval_form import ApprovalForm  # noqa: PLC0415

        self._turn = threading.Lock()
        self._awaited = {approval_id}
        self._was_idle = False
        self._ledger = ledger
        listener = socket.create_server(("127.0.0.1", 0))
        self.form = ApprovalForm(ledger, listener.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                self.form,
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                callback_notify=self._check,
                timeout_notify=CHECK_SECONDS,
                timeout_graceful_shutdown=SHUTDOWN_GRACE_SECONDS,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="approval page", daemon=True
        )
        self._thread.start()

    def goes_on_for(self, approval_id: str) -> bool:
        """Serve this one too, unless it is over."""
        with self._turn:
            self._awaited.add(approval_id)
            self._was_idle = False
            return not self._server.should_exit

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    async def _check(self) -> None:
        """End at the second look that finds nothing waiting: a double click gets its second answer."""
        with self._turn, suppress(LedgerError):  # a ledger that is busy now is read at the next look
            self._awaited &= {approval.id for approval in self._ledger.waiting()}
            if self._was_idle and not self._awaited:
                self._server.should_exit = True
            self._was_idle = not self._awaited
