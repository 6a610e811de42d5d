"""Tools that reach people outside: e-mail and marketing lists."""

from __future__ import annotations

import re
from html import unescape
from typing import Annotated, Literal

from mcp.server.mcpserver import Resolve
from pydantic import Field

from crm_mcp.calls import CALL
from crm_mcp.candidates import Meant
from crm_mcp.crm.errors import CrmError, InvalidInputError, UnresolvedReferenceError
from crm_mcp.crm.outreach import ListAddition, OutboundEmail
from crm_mcp.rendering import evenly, fits
from crm_mcp.results import (
    DASHBOARD_URI,
    Batch,
    BatchItem,
    ConnectionList,
    EmailResult,
    ListAdditionResult,
    lead_uri,
)
from crm_mcp.tools.asking import Found, MeantCompanies, MeantConnection, MeantLead, MeantList
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import CompanyRef, Crm, LeadRef, Repeat
from crm_mcp.tools.parts import unclear_ones

MAX_COMPANIES = 100
# What a person may have to read before they approve it.
MAX_BODY_CHARS = 100_000
# What shows letters in another order than they are approved in.
TURNING_TAGS = {"bdo", "bdi"}
# All that may stand in a tag is shown to whoever approves it, but for sizes.
SIZES = frozenset(["width", "height", "colspan", "rowspan", "start"])
ATTRIBUTES: dict[str, set[str]] = {
    "*": set(),
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
SIZE = re.compile(r"[0-9]{1,4}%?")
ADDRESS_IN_HTML = re.compile(r'\b(?:href|src)="([^"]*)"')
# A host in plain sight: no user before it, no escapes in it, nothing that only a browser takes for a slash.
PLAIN_ADDRESS = re.compile(r"https?://[^\s/\\?#@%]+(?:[/?#][^\s\\]*)?$|mailto:|tel:|#", re.IGNORECASE)
# What nobody sees, or what turns letters round; but joiners within scripts and emojis that are written with
# them, each once.
JOINED = "\xa9\xae\u0590-\u1fff\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030-\u3299\U0001f000-\U0001faff"
LINE_BREAK = re.compile("[\t\n\r\x85\u2028\u2029]")
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
    f"|(?<![{JOINED}])(?<![{JOINED}]\ufe0f)[\u200c\u200d]|(?<![{JOINED}#*0-9])\ufe0f"
)


def email_html(body: str, body_format: str) -> str:
    """The body as HTML that is safe to send: Markdown rendered, then whatever could act or track removed.

    Raises InvalidInputError when nothing that can be read is left.
    """
    import nh3  # noqa: PLC0415  # only sending needs these
    from markdown_it import MarkdownIt  # noqa: PLC0415

    if len(body) > MAX_BODY_CHARS:
        raise InvalidInputError(
            f"The e-mail is too long: {len(body)} characters, of at most {MAX_BODY_CHARS}. Nothing was sent."
        )
    if body_format == "markdown":
        body = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table").render(body)
    tags, schemes = nh3.ALLOWED_TAGS - TURNING_TAGS, {"http", "https", "mailto", "tel"}
    cleaned = nh3.clean(
        body, tags=tags, attributes=ATTRIBUTES, attribute_filter=_of_known_size, url_schemes=schemes
    )
    cleaned = UNSEEN.sub("", cleaned).strip()
    odd = [link for link in map(unescape, ADDRESS_IN_HTML.findall(cleaned)) if not PLAIN_ADDRESS.match(link)]
    if odd:
        raise InvalidInputError(
            f"A link must say plainly where it leads, as https://host/path does: `{odd[0][:100]}`. "
            "Nothing was sent."
        )
    if not unescape(nh3.clean(cleaned, tags=set())).strip():
        raise InvalidInputError("The e-mail has no text. Nothing was sent.")
    return cleaned


def _of_known_size(_tag: str, name: str, value: str) -> str | None:
    """Sizes are numbers: anything else would be a text that nobody sees."""
    return value if name not in SIZES or SIZE.fullmatch(value) else None


# Made first, before anyone is asked about what cannot be sent anyway.
Html = Annotated[str, Resolve(email_html)]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List e-mail connections")
async def list_email_connections(crm: Crm) -> ConnectionList:
    """The mailboxes that send_outbound_email can send from."""
    return ConnectionList(connections=await crm.client.outreach.connections())


def _fits_a_line(subject: str, **_: object) -> None:
    if LINE_BREAK.search(subject) or UNSEEN.search(subject):
        raise InvalidInputError("The subject must be one line of text that can be seen. Nothing was sent.")


@tool(effect=Effect.REACH_OUT, toolset=Toolset.EMAIL, title="Send an e-mail", check=_fits_a_line)
async def send_outbound_email(
    crm: Crm,
    lead: LeadRef,
    subject: str,
    body: Annotated[str, Field(description="Markdown; with the greeting and the signature.")],
    connection: Annotated[
        str, Field(description="Address, channel or id to send from; needed if several are active.")
    ] = "",
    body_format: Literal["markdown", "html"] = "markdown",
    repeat: Repeat = False,
    *,
    html: Html,
    mailbox: MeantConnection,
    meant: MeantLead,
) -> EmailResult:
    """Send an e-mail to a lead's contact, for good. A person has to approve it."""
    crm.memory.names.learn(mailbox.id, mailbox.email or mailbox.id)
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
    companies: Annotated[
        list[CompanyRef],
        Field(description="Names, websites or ids.", min_length=1, max_length=MAX_COMPANIES),
    ],
    *,
    target: MeantList,
    meant: MeantCompanies,
) -> ListAdditionResult:
    """Put companies on a marketing list: they may get its mailings."""
    ids = list(dict.fromkeys(one.id for one in meant.values() if isinstance(one, Meant)))
    if not ids:
        nothing = "Nothing was put on the list."
        problems = evenly(list(map(str, meant.values())), lambda cut: fits("\n".join([*cut, nothing])))
        raise UnresolvedReferenceError("\n".join([*problems, nothing]))
    CALL.get().left_out = unclear_ones(meant)
    told = await crm.client.outreach.add_to_marketing_list(ListAddition(list_id=target, company_ids=ids))
    result = ListAdditionResult(
        list_id=target,
        company_ids=ids,
        added=told.added if told else None,
        already_on_list=told.already_on_list if told else None,
        batch=Batch.of(_put(meant)),
    )
    added = "" if result.added is None else f" ({result.added} new)"
    failed = f", {result.batch.failed} failed" if result.batch.failed else ""
    return result.after(f"Companies put on list {list_id}: {len(ids)}{added}{failed}.")


def _put(meant: Found[Meant]) -> list[BatchItem]:
    put: set[str] = set()
    items = []
    for said, one in meant.items():
        if isinstance(one, CrmError):
            items.append(BatchItem(item=said, outcome="failed", detail=str(one)))
            continue
        detail = "" if one.name in (None, said) else one.name
        items.append(BatchItem(item=said, outcome="named twice" if one.id in put else "done", detail=detail))
        put.add(one.id)
    return items
