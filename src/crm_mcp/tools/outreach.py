"""Tools that reach people outside: e-mail and marketing lists."""

from __future__ import annotations

from html import unescape
from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm.errors import InvalidInputError
from crm_mcp.crm.outreach import ListAddition, OutboundEmail
from crm_mcp.references import find_connection
from crm_mcp.results import DASHBOARD_URI, ConnectionList, EmailResult, ListAdditionResult, lead_uri
from crm_mcp.tools.asking import MeantLead
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import CompanyRef, Crm, LeadRef


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List e-mail connections")
async def list_email_connections(crm: Crm) -> ConnectionList:
    """The mailboxes that send_outbound_email can send from."""
    return ConnectionList(connections=await crm.client.outreach.connections())


@tool(effect=Effect.REACH_OUT, toolset=Toolset.EMAIL, title="Send an e-mail")
async def send_outbound_email(
    crm: Crm,
    lead: LeadRef,
    subject: str,
    body: Annotated[str, Field(description="Markdown; with the greeting and the signature.")],
    connection: Annotated[
        str, Field(description="Address, channel or id to send from; needed if several are active.")
    ] = "",
    body_format: Literal["markdown", "html"] = "markdown",
    *,
    meant: MeantLead,
) -> EmailResult:
    """Send an e-mail to a lead's contact, at once and for good. Show the text to the person first."""
    if not subject.isprintable():
        raise InvalidInputError("The subject must be one line of text. Nothing was sent.")
    html = email_html(body, body_format)
    mailbox = find_connection(await crm.client.outreach.connections(), connection)
    email = OutboundEmail(
        lead_id=meant.id,
        connection_id=mailbox.id,
        channel=mailbox.channel or "gmail",
        subject=subject,
        html_body=html,
    )
    sent = await crm.client.outreach.send_email(email)
    result = EmailResult(
        to=sent.to if sent else None,
        sent_from=mailbox.email,
        subject=subject,
        sent_at=sent.sent_at if sent else None,
    )
    recipient = result.to or "the lead's contact"
    return result.after(
        f'E-mail "{subject}" sent to {recipient} from {mailbox.email}.', lead_uri(meant.id), DASHBOARD_URI
    )


@tool(effect=Effect.REACH_OUT, toolset=Toolset.LISTS, title="Add companies to a marketing list")
async def add_to_marketing_list(
    crm: Crm,
    list_id: Annotated[str, Field(description="Alias or id of the list.")],
    companies: Annotated[list[CompanyRef], Field(description="Names, websites or ids.", min_length=1)],
) -> ListAdditionResult:
    """Put companies on a marketing list: they may get its mailings. All or none: a company that is not found
    stops it."""
    target = await crm.refs.marketing_list(list_id)
    meant = [await crm.refs.company(company, writing=True) for company in companies]
    ids = list(dict.fromkeys(company.id for company in meant))
    told = await crm.client.outreach.add_to_marketing_list(ListAddition(list_id=target, company_ids=ids))
    result = ListAdditionResult(
        list_id=target,
        company_ids=ids,
        added=told.added if told else None,
        already_on_list=told.already_on_list if told else None,
    )
    added = "" if result.added is None else f" ({result.added} new)"
    names = ", ".join(dict.fromkeys(company.name or company.id for company in meant))
    return result.after(f"Companies put on list {list_id}: {len(ids)}{added}: {names}.")


def email_html(body: str, body_format: str) -> str:
    """The body as HTML that is safe to send: Markdown rendered, then whatever could act or track removed.

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
