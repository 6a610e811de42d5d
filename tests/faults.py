"""What goes wrong at a CRM, the writes that it hits, and what must be true afterwards.

`docs/faults.md` is made of it by `python tests/faults.py`, and `test_faults` sees that it is so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

DOCUMENT = Path(__file__).parent.parent / "docs" / "faults.md"


@dataclass(frozen=True)
class Write:
    """A call of a tool that writes, and the query that counts its effects in the CRM."""

    operation: str
    tool: str
    arguments: dict[str, Any]
    effects: str
    # Whether the CRM shows afterwards that it was done; whether it shows, too, that it was not.
    is_shown: bool = True
    is_missed: bool = True
    # What somebody else makes of the same request at the same time: each is ours but for these fields.
    lookalikes: tuple[dict[str, Any], ...] = ()

    @property
    def is_surely_missed(self) -> bool:
        """Not where somebody made what is like ours: whose it is nobody knows."""
        return self.is_missed and not (self.tool.startswith("create") and self.lookalikes)

    @property
    def comes_to_the_same(self) -> bool:
        """Whether doing it twice is as good as doing it once."""
        return self.operation.startswith(("update", "move", "reorder", "add"))


LIST = "11111111-1111-4111-8111-111111111111"
DEAL = "Acme annual licence"
WRITES = (
    Write(
        "create_company",
        "create_company",
        {"name": "Newcomer AG", "phone": "2"},
        "SELECT count(*) FROM companies WHERE name = 'Newcomer AG'",
        lookalikes=({"phone": "3"}, {"name": "Newcomer GmbH"}),
    ),
    Write(
        "create_contact",
        "create_contact",
        {"first_name": "New", "last_name": "Comer", "phone": "2"},
        "SELECT count(*) FROM contacts WHERE last_name = 'Comer'",
        lookalikes=({"phone": "3"}, {"firstName": "NEW"}),
    ),
    Write(
        "create_lead",
        "create_lead",
        {"title": "New deal", "value": 10},
        "SELECT count(*) FROM leads WHERE title = 'New deal'",
        lookalikes=({"value": 11}, {"title": "New Deal"}),
    ),
    Write(
        "reorder_pipeline_stages",
        "reorder_pipeline_stages",
        {"stages": ["Qualified", "New", "Proposal", "Negotiation", "Won", "Lost"]},
        "SELECT count(*) FROM stages WHERE name = 'Qualified' AND sort_order = 0",
    ),
    Write(
        "create_pipeline_stage",
        "create_pipeline_stage",
        {"name": "Trial"},
        "SELECT count(*) FROM stages WHERE name = 'Trial'",
    ),
    Write(
        "delete_pipeline_stage",
        "delete_pipeline_stage",
        {"stage": "Negotiation", "move_leads_to": "Proposal"},
        "SELECT count(*) = 0 FROM stages WHERE name = 'Negotiation'",
    ),
    Write(
        "update_pipeline_stage",
        "update_pipeline_stage",
        {"stage": "Proposal", "color_key": "teal"},
        "SELECT count(*) FROM stages WHERE color_key = 'teal'",
    ),
    Write(
        "update_company",
        "update_company",
        {"company": "Acme Inc.", "phone": "1"},
        "SELECT count(*) FROM companies WHERE phone = '1'",
    ),
    Write(
        "update_contact",
        "update_contact",
        {"contact": "Luc Lefèvre", "phone": "1"},
        "SELECT count(*) FROM contacts WHERE phone = '1'",
    ),
    Write(
        "update_lead",
        "update_lead",
        {"lead": "Acme pilot project", "source": "fair"},
        "SELECT count(*) FROM leads WHERE source = 'fair'",
    ),
    Write(
        "move_lead_stage",
        "move_lead_stage",
        {"lead": DEAL, "stage": "Won"},
        "SELECT count(*) FROM stage_changes JOIN leads ON leads.id = lead_id"
        " WHERE title = 'Acme annual licence' AND subject = 'Stage: Qualified → Won'",
    ),
    Write(
        "log_lead_activity",
        "log_activity",
        {"type": "call", "subject": "Hello", "body": "All is well", "lead": DEAL},
        "SELECT count(*) FROM activities WHERE subject = 'Hello'",
        lookalikes=({"subject": "Hallo"}, {"type": "note"}),
    ),
    Write(
        "log_activity",
        "log_activity",
        {"type": "call", "subject": "Good day", "company": "Acme Inc."},
        "SELECT count(*) FROM activities WHERE subject = 'Good day'",
        lookalikes=({"subject": "Good night"}, {"type": "note"}),
    ),
    Write(
        "create_company_membership",
        "link_contact_to_company",
        {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"},
        "SELECT count(*) FROM memberships JOIN companies ON companies.id = company_id"
        " JOIN contacts ON contacts.id = contact_id"
        " WHERE name = 'Kestrel Solar Ltd' AND last_name = 'Müller' AND first_name = 'Anna'",
    ),
    Write(
        "update_company_membership",
        "link_contact_to_company",
        {"contact": "Anna Moreau", "company": "Palisade Instruments Inc.", "title": "Chief"},
        "SELECT count(*) FROM memberships WHERE title = 'Chief'",
    ),
    Write(
        "delete_company_membership",
        "unlink_contact_from_company",
        {"contact": "Tilda Ivanov", "company": "Rhein Pharma Oy"},
        "SELECT count(*) = 0 FROM memberships JOIN companies ON companies.id = company_id"
        " JOIN contacts ON contacts.id = contact_id WHERE name = 'Rhein Pharma Oy' AND first_name = 'Tilda'",
    ),
    Write(
        "delete_contact",
        "delete_contact",
        {"contact": "Ulrich Castelli"},
        "SELECT count(*) = 0 FROM contacts WHERE last_name = 'Castelli' AND first_name = 'Ulrich'",
    ),
    Write(
        "delete_lead",
        "delete_lead",
        {"lead": "Acme fleet upgrade"},
        "SELECT count(*) = 0 FROM leads WHERE title = 'Acme fleet upgrade'",
    ),
    Write(
        "send_outbound_email",
        "send_outbound_email",
        {"lead": DEAL, "subject": "Our offer", "body": "Dear Anna"},
        "SELECT count(*) FROM outbox WHERE subject = 'Our offer'",
        is_missed=False,
        lookalikes=({"htmlBody": "<p>Dear Otto</p>"}, {"subject": "Your offer"}),
    ),
    Write(
        "add_to_marketing_list",
        "add_to_marketing_list",
        {"list_id": LIST, "companies": ["Kestrel Solar Ltd"]},
        "SELECT count(*) FROM marketing_list_companies",
        is_shown=False,
        is_missed=False,
    ),
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a write; `says` is what the assistant reads when nothing shows it done."""

    name: str
    done: Literal["no", "yes", "later"]
    says: str
    # Whether the answer tells for certain what became of it; or claims that it was done.
    tells: bool = False
    claims: bool = False
    # Whether the CRM lets nobody look afterwards either.
    is_blind: bool = False


def _unknown(name: str, says: str, *done: Literal["no", "yes", "later"], **options: Any) -> list[Fault]:
    when = {"no": "not done", "yes": "done", "later": "done later"}
    return [Fault(f"{name}, {when[one]}", one, says, **options) for one in done]


MAYBE = "it may or may not have been done. Look before doing it again."
NO_ANSWER = f"The request was sent, but no answer came ({{}}): {MAYBE}"
LOOK = "It may have been done: look before doing it again."
NO_JSON = f"The CRM answered 200 with something that is not JSON ({{}}). {LOOK}"
FAULTS = (
    Fault(
        "connection refused",
        "no",
        "No connection to the CRM at 127.0.0.1 (ConnectError). Nothing was sent; try again later.",
        tells=True,
    ),
    Fault("reset before it is read", "no", NO_ANSWER.format("ReadError")),
    *_unknown("reset after it was read", NO_ANSWER.format("ReadError"), "no", "yes"),
    *_unknown("no answer in time", NO_ANSWER.format("ReadTimeout"), "no", "yes", "later"),
    Fault(
        "429 with `Retry-After`",
        "no",
        "The CRM's rate limit is reached. Nothing was done. Try again in 30 s.",
        tells=True,
    ),
    Fault(
        "429",
        "no",
        "The CRM's rate limit is reached. Nothing was done. Try again in a minute.",
        tells=True,
    ),
    *(
        fault
        for status in (500, 502, 503)
        for fault in _unknown(str(status), f"The CRM failed with status {status}: {MAYBE}", "no", "yes")
    ),
    *_unknown("200 with an HTML page", NO_JSON.format("text/html, 15 bytes"), "no", "yes"),
    Fault("truncated JSON, done", "yes", NO_JSON.format("application/json, 9 bytes")),
    Fault("connection closed in the answer, done", "yes", NO_ANSWER.format("RemoteProtocolError")),
    Fault("200 with JSON of another shape, done", "yes", "", tells=True),
    Fault(
        "204, not done",
        "no",
        "The CRM says that it was done, but does not show it. Look before doing it again.",
        claims=True,
    ),
    Fault("a slow drip, done", "yes", NO_ANSWER.format("TimeoutError")),
    Fault(
        "an endless list, done",
        "yes",
        f"The CRM's answer is longer than 32 MiB; it was not read on. {LOOK}",
    ),
    *_unknown(
        "reset, and nothing can be read then", NO_ANSWER.format("ReadError"), "no", "yes", is_blind=True
    ),
)


class Cell(NamedTuple):
    """How often it is in the CRM and what the ledger says: after the call, and after the same call again."""

    effects: int
    ledger: tuple[str, ...]
    effects_in_all: int
    ledger_in_all: tuple[str, ...]


def expected(fault: Fault, write: Write) -> Cell:
    """By what can be known; nothing here knows how it is found out."""
    effects = int(fault.done == "yes")
    if fault.claims and not write.is_surely_missed:
        # The CRM says so, and nothing shows that it is not true; a value that is not there is set again.
        sets = write.comes_to_the_same and write.is_shown
        return Cell(0, ("applied",), int(sets), ("applied", "applied") if sets else ("applied",))
    if fault.tells:
        first = "applied" if effects else "failed"
    else:
        first = "applied" if effects and write.is_shown and not fault.is_blind else "unknown"
    if first == "applied":
        return Cell(effects, (first,), 1, (first,))
    if first == "failed":
        return Cell(effects, (first,), 1, (first, "applied"))
    if not write.is_shown or (fault.done == "later" and write.comes_to_the_same):
        # Which of the two it was that set the value nobody can tell.
        return Cell(effects, (first,), 1, (first, "applied"))
    if fault.done != "no":
        at_once = ("refused",) if fault.done == "later" else ()
        return Cell(effects, (first,), 1, ("applied", *at_once))
    return _not_done(write, first)


def _not_done(write: Write, first: str) -> Cell:
    """It was not done, and nobody said so: what is found when it is called again."""
    somebody_elses = write.tool.startswith("create") and write.lookalikes
    if write.operation == "send_outbound_email" or somebody_elses:
        # Which of those that are there by now is ours, if any, is for a person to say.
        return Cell(0, (first,), 0, (first, "refused"))
    return Cell(0, (first,), 1, ("failed" if write.is_surely_missed else first, "applied"))


def told(fault: Fault, write: Write, change: str) -> str:
    """What the assistant reads when it was not done, or when nobody knows."""
    if fault.tells:
        return fault.says
    again = "looks first"
    return f"{fault.says} (Change {change}; the same call again {again}.)"


def document() -> str:
    """The table: a row for each fault, a column for all writes that fare alike."""
    columns: dict[tuple[Cell, ...], list[str]] = {}
    for write in WRITES:
        fares = tuple(expected(fault, write) for fault in FAULTS)
        columns.setdefault(fares, []).append(write.operation.replace("_", " "))
    rows = [
        ["what goes wrong with the write", *(", ".join(names) for names in columns.values())],
        ["---", *("---" for _ in columns)],
        *(
            [fault.name, *(_shown(column[number]) for column in columns)]
            for number, fault in enumerate(FAULTS)
        ),
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"""\
# When the CRM fails in the middle of a write

Made by `python tests/faults.py`, and seen to be so by `tests/test_faults.py`: each write, called over MCP,
meets a CRM on a real socket that fails in each of these ways; then the same call is made again, and the CRM
is well. What is done later is called again before that too: then what would double it is *refused*. In the
moment before the write leaves, somebody else makes what resembles it in all but one field; and the CRM has
an older one that is the same in all. Some of it is seen again with each call approved by a person.

A cell says how often the write is done in the CRM, and what the ledger says of it; then both after the
second call. *Applied* stands only where it is in the CRM, or where the CRM says so and shows nothing else;
*failed* only where the CRM told so, could not be reached, or still shows what there was before; all else is
*unknown*, and so it stays where nothing can be looked at, where a value does not show what it was before, and
where the CRM has what may be ours, for somebody made one like it. An e-mail of which nobody knows is not sent
again: the call is *refused* until somebody has looked.

What fails in the reads around a write is seen by `tests/test_faults_in_reads.py`, read by read. Before it:
nothing is sent, the ledger says *failed*, the assistant reads that nothing was sent and when to try again,
and the same call works once the fault has passed. After it: what the CRM said of the write stands, and where
it said nothing the write is *unknown* until somebody can look.

{table}
"""


def _shown(cell: Cell) -> str:
    return f"{cell.effects} {', '.join(cell.ledger)} → {cell.effects_in_all} {', '.join(cell.ledger_in_all)}"


if __name__ == "__main__":
    DOCUMENT.write_text(document(), "utf-8")
