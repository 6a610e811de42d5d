"""What the settings say reaches the client of the CRM, whichever CRM they mean."""

import socket

import pytest

from crm_mcp import backend
from crm_mcp.crm import Timeouts
from crm_mcp.crm.companies import CompanyFilter, NewCompany
from crm_mcp.crm.errors import ReadOnlyError
from crm_mcp.settings import IN_MEMORY, load_settings

EMBEDDED = {"CRM_MCP_SANDBOX": IN_MEMORY}


async def test_read_only_reads_and_does_not_write() -> None:
    settings = load_settings({}, environ={**EMBEDDED, "CRM_MCP_READ_ONLY": "true"})
    async with backend.opener(settings)() as crm:
        with pytest.raises(ReadOnlyError):
            await crm.companies.create(NewCompany(name="Nobody Ltd"))
        assert (await crm.companies.search(CompanyFilter(q="Nobody Ltd"))).records == []
        assert (await crm.companies.search()).records


async def test_read_only_sends_no_write_over_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        variables = {
            "CRM_BASE_URL": f"http://127.0.0.1:{listener.getsockname()[1]}",
            "CRM_API_KEY": "ak_a",
            "CRM_ENTITY_ID": "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11",
            "CRM_MCP_READ_ONLY": "true",
            "CRM_MCP_TOTAL_TIMEOUT": "1",
        }
        async with backend.opener(load_settings({}, environ=variables))() as crm:
            with pytest.raises(ReadOnlyError):
                await crm.companies.create(NewCompany(name="Nobody Ltd"))
        with pytest.raises(BlockingIOError):  # nobody has connected
            listener.accept()


async def test_without_read_only_it_writes() -> None:
    async with backend.opener(load_settings({}, environ=EMBEDDED))() as crm:
        await crm.companies.create(NewCompany(name="Nobody Ltd"))
        [company] = (await crm.companies.search(CompanyFilter(q="Nobody Ltd"))).records
    assert company.name == "Nobody Ltd"


async def test_each_time_limit_is_the_settings_own() -> None:
    limits = {"CONNECT": "1", "WRITE": "2", "READ": "3", "TOTAL": "4"}
    variables = {f"CRM_MCP_{name}_TIMEOUT": seconds for name, seconds in limits.items()}
    async with backend.opener(load_settings({}, environ={**EMBEDDED, **variables}))() as crm:
        assert crm.timeouts == Timeouts(connect_seconds=1, write_seconds=2, read_seconds=3, total_seconds=4)
