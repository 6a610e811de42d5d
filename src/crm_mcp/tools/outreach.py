"""Tools that reach people outside: e-mail and marketing lists."""

from __future__ import annotations

from html import unescape
from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm.errors import InvalidInputError
from crm_mcp.crm.outreach import ListAddition, OutboundEmail
from crm_mcp.references import Id, find_connection
from crm_mcp.rendering import (
    DASHBOARD_URI,
    ConnectionList,
    EmailResult,
    ListAdditionResult,
    lead_uri,
)
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import Crm, LeadRef


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List e-mail connections")
async def list_email_connections(crm: Crm) -> ConnectionList:
    """The mailboxes that send_outbound_email can send from."""
    return ConnectionList(connections=await crm.outreach.connections())


@tool(effect=Effect.REACH_OUT, toolset=Toolset.EMAIL, title="Send an e-mail")
async def send_outbound_email(
    crm: Crm,
    lead: LeadRef,
    subject: str,
    body: Annotated[str, Field(description="Markdown; with the greeting and the signature.")],
    connection: Annotated[
        str, Field(description="Id or address to send from; needed if several are active.")
    ] = "",
    body_format: Literal["markdown", "html"] = "markdown",
) -> EmailResult:
    """Send an e-mail to a lead's contact, at once and for good. Show the text to the person first."""
    html = email_html(body, body_format)
    mailbox = find_connection(await crm.outreach.connections(), connection)
    email = OutboundEmail(
        lead_id=lead,
        connection_id=mailbox.id,
        channel=mailbox.channel or "gmail",
        subject=subject,
        html_body=html,
    )
    sent = await crm.outreach.send_email(email)
    result = EmailResult(
        to=sent.to if sent else None,
        sent_from=mailbox.email,
        subject=subject,
        sent_at=sent.sent_at if sent else None,
    )
    recipient = result.to or "the lead's contact"
    return result.after(
        f'E-mail "{subject}" sent to {recipient} from {mailbox.email}.', lead_uri(lead), DASHBOARD_URI
    )


@tool(effect=Effect.REACH_OUT, toolset=Toolset.LISTS, title="Add companies to a marketing list")
async def add_to_marketing_list(
    crm: Crm,
    list_id: Annotated[Id, Field(description="Id of the list, from the CRM; it cannot be looked up here.")],
    companies: Annotated[list[Id], Field(description="Company ids.", min_length=1)],
) -> ListAdditionResult:
    """Put companies on a marketing list: they may get its mailings."""
    unique = list(dict.fromkeys(companies))
    told = await crm.outreach.add_to_marketing_list(ListAddition(list_id=list_id, company_ids=unique))
    result = ListAdditionResult(
        list_id=list_id,
        sent=len(unique),
        added=told.added if told else None,
        already_on_list=told.already_on_list if told else None,
    )
    added = "" if result.added is None else f" ({result.added} new)"
    return result.after(f"Companies put on list {list_id}: {len(unique)}{added}.")


def email_html(body: str, body_format: str) -> str:
    """The body as HTML that is safe to send: Markdown rendered, then whatever could act removed.

    Raises InvalidInputError when nothing that can be read is left.
    """
    import nh3  # noqa: PLC0415  # only sending needs these
    from markdown_it import MarkdownIt  # noqa: PLC0415

    if body_format == "markdown":
        body = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").render(body)
    cleaned = nh3.clean(body, url_schemes={"http", "https", "mailto", "tel"}).strip()
    if not unescape(nh3.clean(cleaned, tags=set())).strip():
        raise InvalidInputError("The e-mail has no text. Nothing was sent.")
    return cleaned
