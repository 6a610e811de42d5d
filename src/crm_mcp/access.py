"""The CRM behind the server, opened with the first call that needs it, and the memory of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from crm_mcp.calls import Call, Policy, attempted, made_before
from crm_mcp.memory import Memory

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.ledger import Attempt, Ledger, NeverSent
    from crm_mcp.page import ApprovalPage
    from crm_mcp.tenant import Tenant

OpenLedger = Callable[[], "Ledger"]
OpenCrm = Callable[[], AbstractAsyncContextManager["CrmClient"]]


def in_memory() -> Ledger:
    """A record of writes that ends with the process."""
    from crm_mcp.ledger import Ledger  # noqa: PLC0415

    return Ledger.open(None)


class CrmAccess:
    """Where tools and resources get the client from; a server that only lists its tools never opens it."""

    def __init__(
        self,
        open_crm: OpenCrm,
        lists: Mapping[str, str] | None = None,
        *,
        open_ledger: OpenLedger = in_memory,
        policy: Policy | None = None,
        principal: Callable[[], str] = lambda: "local",
        approve_command: str = "",
    ) -> None:
        self._open_crm = open_crm
        self._lists = lists or {}
        self._open_ledger = open_ledger
        self.policy = policy or Policy()
        # Who asks for what is being done: over HTTP another one with each request.
        self.principal = principal
        # What a person types before an approval's id in a terminal; nothing where that finds no ledger.
        self.approve_command = approve_command
        self._ledger: Ledger | None = None
        self._page: ApprovalPage | None = None
        self._opening = anyio.Lock(fast_acquire=True)
        self._stack = AsyncExitStack()
        self._tenant: Tenant | None = None
        self.memory = Memory()
        self.closed = anyio.Event()

    async def tenant(self) -> Tenant:
        """The one tenant of this server.

        Raises UnavailableError when it cannot be opened.
        """
        async with self._opening:
            if self._tenant is None:
                from crm_mcp.tenant import Tenant  # noqa: PLC0415

                client = await self._stack.enter_async_context(self._open_crm())
                self._tenant = Tenant(client, self.memory, self._lists)
            return self._tenant

    def ledger(self) -> Ledger:
        """The record of all writes, opened with the first one.

        Raises LedgerError.
        """
        if self._ledger is None:
            self._ledger = self._open_ledger()
        return self._ledger

    async def writing_tenant(self) -> Tenant:
        """The tenant, whose writes go through the gate."""
        from crm_mcp.gate import Gate  # noqa: PLC0415

        tenant = await self.tenant()
        gate = Gate(tenant, self.ledger, self.policy, self.principal())
        return replace(tenant, client=tenant.client.through(gate))

    async def recall(self, call: Call) -> None:
        """Learn what the same call did before, and what became of it where its answer was lost: what is gone
        by now, or linked, will not be sent again, and would never be known."""
        from crm_mcp.crm.errors import CrmError  # noqa: PLC0415
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        # What is wrong with the CRM or the ledger the call itself will meet.
        with suppress(CrmError, LedgerError):
            crm, ledger, attempt = (await self.tenant()).client, self.ledger(), self._attempted(call, "")
            call.before = made_before(ledger, attempt)
            lost = [change for change in call.before if change.outcome == "unknown"]
            for change in lost:
                from crm_mcp.lost import settle_recorded  # noqa: PLC0415

                await settle_recorded(crm, ledger, change)
            if lost:
                call.before = made_before(ledger, attempt)

    async def put_on_record(self, call: Call, title: str, error: Exception) -> None:
        """Keep a call that came to no write, and why, unless what it tried is on record already."""
        from crm_mcp.crm import errors  # noqa: PLC0415
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.ledger import patiently  # noqa: PLC0415

        if call.on_record:
            return
        # What we would not send; all else the CRM kept us from by failing.
        ours = (
            errors.RefusedError,
            errors.UnresolvedReferenceError,
            errors.InvalidInputError,
            errors.NotFoundError,
        )
        failed = isinstance(error, errors.CrmError) and not isinstance(error, ours)
        outcome: NeverSent = "failed" if failed else "refused"
        if isinstance(error, errors.DeclinedError):
            outcome = "declined"
        with suppress(errors.CrmError):
            await self.tenant()
        # It is an error already, and nothing was sent.
        with suppress(LedgerError):
            attempt, why = self._attempted(call, title), str(error).partition("\n")[0]
            await patiently(lambda: self.ledger().never_sent(attempt, outcome, why))

    def _attempted(self, call: Call, title: str) -> Attempt:
        entity = self._tenant.client.identity if self._tenant else ""
        return attempted(call, self.principal(), entity, title, self.policy)

    def approval_link(self, approval_id: str) -> str:
        """Where a person on this machine can approve it in a browser; served while something waits."""
        if self._page is None:
            from crm_mcp.page import ApprovalPage  # noqa: PLC0415

            self._page = ApprovalPage(self.ledger())
        return self._page.link(approval_id)

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[CrmAccess]:
        """Closes what was opened when the server ends."""
        try:
            async with self._stack:
                yield self
        finally:
            self._tenant = None
            if self._page:
                self._page.stop()
                self._page = None
            if self._ledger:
                self._ledger.shut()
                self._ledger = None
            self.closed.set()
