"""What a tool works with: one tenant's CRM, and what makes its names ids and its ids names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from crm_mcp.memory import Memory
from crm_mcp.references import References
from crm_mcp.rows import Rows

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient


@dataclass
class Tenant:
    """A CRM client with its memory; `lists` are the operator's aliases of marketing lists."""

    client: CrmClient
    memory: Memory = field(default_factory=Memory)
    lists: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def refs(self) -> References:
        return References(self.client, self.memory, self.rows, self.lists)

    @cached_property
    def rows(self) -> Rows:
        return Rows(self.client, self.memory)
