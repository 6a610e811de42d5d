"""Which CRM the settings mean, opened: one over the network, or the embedded one in this process."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_mcp.access import OpenCrm, OpenLedger
from crm_mcp.crm.errors import UnavailableError
from crm_mcp.settings import IN_MEMORY, Settings, SettingsError

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.ledger import Ledger
    from crm_mcp.sandbox.store import Store


class UnusableSandboxError(SettingsError, UnavailableError):
    """The embedded CRM's database cannot be used: the operator reads it, or the model."""


def opener(settings: Settings) -> OpenCrm:
    """How to open the CRM that the settings mean."""

    @asynccontextmanager
    async def network() -> AsyncIterator[CrmClient]:
        key = settings.api_key.get_secret_value()
        async with _client(settings, settings.base_url, key, settings.entity_id) as crm:
            yield crm

    @asynccontextmanager
    async def embedded() -> AsyncIterator[CrmClient]:
        import httpx2  # noqa: PLC0415

        from crm_mcp.sandbox.app import create_app  # noqa: PLC0415

        with sandbox_store(settings.sandbox) as store:
            key = store.credentials
            options = {
                "transport": httpx2.ASGITransport(create_app(store)),
                "identity": key.installation_id,
            }
            async with _client(settings, "http://localhost", key.api_key, key.entity_id, **options) as crm:
                yield crm

    return embedded if settings.uses_sandbox else network


def _client(settings: Settings, base_url: str, api_key: str, entity_id: str, **options: Any) -> CrmClient:
    from crm_mcp.crm import CrmClient, Timeouts  # noqa: PLC0415

    return CrmClient(
        base_url,
        api_key,
        entity_id,
        timeouts=Timeouts(
            connect_seconds=settings.connect_timeout,
            write_seconds=settings.write_timeout,
            read_seconds=settings.read_timeout,
            total_seconds=settings.total_timeout,
        ),
        max_in_flight=settings.max_in_flight,
        read_only=settings.read_only,
        **options,
    )


@contextmanager
def sandbox_store(place: str, *, companies: int = 40) -> Iterator[Store]:
    """The embedded CRM's records, with the demo company where they are new; `place` as in the settings.

    Raises UnusableSandboxError.
    """
    from crm_mcp.sandbox.demo_data import seed  # noqa: PLC0415
    from crm_mcp.sandbox.store import SandboxError, Store  # noqa: PLC0415

    try:
        store = Store.open(None if place == IN_MEMORY else Path(place or _user_file("sandbox.db")))
    except SandboxError as error:
        raise UnusableSandboxError(str(error)) from error
    try:
        seed(store, companies)
        yield store
    finally:
        store.close()


def ledger_opener(settings: Settings) -> OpenLedger:
    """How a server opens the record of all writes; it forgets what is older than the operator wants."""

    def opened() -> Ledger:
        from crm_mcp.ledger import SHORT_LOCK_SECONDS, Ledger  # noqa: PLC0415

        path = None if _ends_with_server(settings) else _ledger_file(settings)
        keep = timedelta(days=settings.ledger_days)
        return Ledger.open(path, keep=keep, lock_seconds=SHORT_LOCK_SECONDS)

    return opened


def check_ledger(settings: Settings) -> None:
    """See that the file that an operator named can be the ledger, as far as that is told without opening it.

    Raises SettingsError.
    """
    if not settings.ledger or settings.read_only:
        return
    path = Path(settings.ledger)
    problem = ""
    try:
        if settings.sandbox and path.absolute() == Path(settings.sandbox).absolute():
            problem = "the embedded CRM is kept there"
        elif path.is_file():
            from crm_mcp.journal import why_unusable  # noqa: PLC0415

            problem = why_unusable(path)
        elif path.exists():
            problem = "it is no file"
        else:
            place = next(parent for parent in path.absolute().parents if parent.exists())
            problem = "" if place.is_dir() and os.access(place, os.W_OK) else f"{place} cannot be written to"
    except OSError as error:
        problem = str(error.strerror)
    if problem:
        raise SettingsError(f"the ledger cannot be {path}: {problem}")


def existing_ledger(settings: Settings) -> Ledger:
    """The record of all writes as it is: nothing is made or forgotten.

    Raises LedgerError; NoLedgerError or SettingsError where there is none.
    """
    from crm_mcp.ledger import Ledger  # noqa: PLC0415

    if _ends_with_server(settings):
        raise SettingsError("an embedded CRM in memory has its ledger there too: only its server can read it")
    return Ledger.open(_ledger_file(settings), create=False)


def _ledger_file(settings: Settings) -> Path:
    return Path(settings.ledger) if settings.ledger else _user_file("ledger.db")


def _ends_with_server(settings: Settings) -> bool:
    """Whether the record of all writes does, as an embedded CRM in memory does."""
    return settings.sandbox == IN_MEMORY and not settings.ledger


def approve_command(settings: Settings) -> str:
    """What approves in a terminal, before the id; that has another directory and other variables.

    Empty where the ledger is only this process's own.
    """
    if _ends_with_server(settings):
        return ""
    words = ["crm-mcp", "approve"]
    if settings.ledger:
        words += ["--ledger", str(Path(settings.ledger).absolute())]
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def _user_file(name: str) -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415

    return user_data_path("crm-mcp", appauthor=False) / name
