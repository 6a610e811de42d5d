"""Marketing lists and outbound e-mail on the CRM's wire: rows 1, 33 and 34 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    Body,
    Entity,
    Many,
    Operation,
    Record,
    Timestamp,
    Uuid,
    Written,
)

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient


class EmailConnection(Entity):
    """A mailbox that the CRM can send from."""

    channel: Annotated[str | None, ASSUMED] = None
    email: Annotated[str | None, ASSUMED] = None
    status: Annotated[str | None, ASSUMED] = None


class OutboundEmail(Body):
    """An e-mail to a lead's contact. It cannot be called back, so only documented fields are sent."""

    lead_id: Annotated[Uuid, DOCUMENTED]
    connection_id: Annotated[Uuid, DOCUMENTED]
    channel: Annotated[str, DOCUMENTED, Field(examples=["gmail", "outlook"])]
    subject: Annotated[str, DOCUMENTED]
    html_body: Annotated[str, DOCUMENTED]


class SentEmail(Record):
    """What the CRM says of an e-mail that it took."""

    id: Annotated[str | None, ASSUMED] = None
    to: Annotated[str | None, ASSUMED] = None
    status: Annotated[str | None, ASSUMED] = None
    sent_at: Annotated[Timestamp | None, ASSUMED] = None


class ListAddition(Body):
    """Companies to add to a marketing list."""

    list_id: Annotated[Uuid, DOCUMENTED]
    company_ids: Annotated[list[Uuid], ASSUMED]


class ListAdditionResult(Record):
    """What the CRM says of an addition to a list."""

    added: Annotated[int | None, ASSUMED] = None
    already_on_list: Annotated[int | None, ASSUMED] = None


ADD_TO_MARKETING_LIST = Operation(
    "add_to_marketing_list",
    "Add companies to a marketing list",
    "POST",
    "/prospecting/add-to-marketing-list",
    answer=Written(ListAdditionResult),
    evidence=ASSUMED,
    body=ListAddition,
    error_responses=2,
)
SEND_EMAIL = Operation(
    "send_outbound_email",
    "Send an e-mail to a lead's contact",
    "POST",
    "/outbound-email",
    answer=Written(SentEmail, "email"),
    evidence=ASSUMED,
    body=OutboundEmail,
    error_responses=1,
)
LIST_CONNECTIONS = Operation(
    "list_outbound_email_connections",
    "List the mailboxes that the CRM can send from",
    "GET",
    "/outbound-email-connections",
    answer=Many(EmailConnection, "connections"),
    evidence=ASSUMED,
)


class Outreach:
    """`crm.outreach`."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def connections(self) -> list[EmailConnection]:
        return (await self._client.call(LIST_CONNECTIONS)).records

    async def send_email(self, email: OutboundEmail) -> SentEmail | None:
        """What the CRM says of it, or None where it says nothing. The recipient is the lead's contact."""
        return await self._client.call(SEND_EMAIL, body=email)

    async def add_to_marketing_list(self, addition: ListAddition) -> ListAdditionResult | None:
        """What the CRM says of it, or None where it says nothing."""
        return await self._client.call(ADD_TO_MARKETING_LIST, body=addition)
