"""Marketing lists and outbound e-mail: rows 1, 33 and 34 of `crm-api.md`.

Nothing leaves the machine: a sent e-mail ends in the table `outbox`. The recipient is the lead's contact
(assumed: the documented body names none).
"""

from typing import Final

from pydantic import Field

from crm_mcp.sandbox import records
from crm_mcp.sandbox.activities import add_activity
from crm_mcp.sandbox.call import Answer, ApiError, Call, Fields, Operation, to_wire
from crm_mcp.sandbox.store import Record, new_id
from crm_mcp.sandbox.values import Channel, RequiredText, Uuid


class ListAddition(Fields):
    list_id: Uuid
    company_ids: list[Uuid] = Field(default=[])


class OutboundEmail(Fields):
    lead_id: Uuid
    connection_id: Uuid
    channel: Channel
    subject: RequiredText
    html_body: RequiredText


def add_to_marketing_list(call: Call) -> Answer:
    """The API creates no lists, so that a list begins with its first use."""
    body = call.body_as(ListAddition)
    company_ids = dict.fromkeys(body.company_ids)
    for company_id in company_ids:
        records.referred(call, "companies", "companyIds", company_id)
    entity_no = call.caller.entity_no
    call.store.execute("INSERT OR IGNORE INTO marketing_lists VALUES (?, ?)", entity_no, body.list_id)
    added = sum(
        call.store.execute(
            "INSERT OR IGNORE INTO marketing_list_companies VALUES (?, ?, ?)",
            entity_no,
            body.list_id,
            company_id,
        )
        for company_id in company_ids
    )
    return 200, {"listId": body.list_id, "added": added, "alreadyOnList": len(company_ids) - added}


def send_email(call: Call) -> Answer:
    email = call.body_as(OutboundEmail)
    lead = records.referred(call, "leads", "leadId", email.lead_id)
    _check_connection(
        records.referred(call, "connections", "connectionId", email.connection_id), email.channel
    )
    recipient = _recipient(call, lead)
    email_id, now = new_id(), call.store.now()
    sent = {
        "id": email_id,
        "entity_no": call.caller.entity_no,
        "lead_id": lead["id"],
        "connection_id": email.connection_id,
        "recipient": recipient,
        "subject": email.subject,
        "html_body": email.html_body,
        "sent_at": now,
    }
    call.store.insert("outbox", sent)
    activity = {"type": "email", "subject": email.subject, "body": email.html_body, "occurred_at": now}
    add_activity(call, activity, lead)
    return 201, {"id": email_id, "to": recipient, "subject": email.subject, "sentAt": now, "status": "sent"}


def list_connections(call: Call) -> Answer:
    rows = call.store.all(
        "SELECT id, channel, email, status FROM connections WHERE entity_no = ? ORDER BY email, id",
        call.caller.entity_no,
    )
    return 200, {"connections": [to_wire(row) for row in rows]}


def _check_connection(connection: Record, channel: str) -> None:
    if connection["status"] != "active":
        raise ApiError(400, f"connectionId: {connection['email']} is {connection['status']}.")
    if connection["channel"] != channel:
        raise ApiError(400, f"channel: {connection['email']} is a connection of {connection['channel']}.")


def _recipient(call: Call, lead: Record) -> str:
    if lead["contact_id"] is None:
        raise ApiError(400, "This lead has no contact.")
    contact = records.referred(call, "contacts", "contactId", lead["contact_id"])
    if contact["email"] is None:
        raise ApiError(400, "This lead's contact has no e-mail address.")
    return str(contact["email"])


OPERATIONS: Final[list[Operation]] = [
    ("POST", "/prospecting/add-to-marketing-list", add_to_marketing_list),
    ("POST", "/outbound-email", send_email),
    ("GET", "/outbound-email-connections", list_connections),
]
