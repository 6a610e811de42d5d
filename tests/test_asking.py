"""Ambiguous references in writes: the person is asked where the client can ask, in both protocol eras."""

from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import INTERNAL_ERROR, ElicitRequestParams, ElicitResult, ErrorData

from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Any]
Options = dict[str, Any]

ERAS = {"modern": {}, "legacy": {"mode": "legacy"}}
MOVE = {"lead": "Kestrel Solar", "stage": "Won"}


class Person:
    """Answers each field of a question with `choose(options)`: an option, nothing, or an action instead."""

    def __init__(self, choose: Callable[[list[str]], Any]) -> None:
        self._choose = choose
        self.asked: list[tuple[str, list[str]]] = []
        self.fields: list[tuple[str, str | None, bool]] = []

    async def __call__(self, _context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        schema = params.model_dump()["requested_schema"]
        content: dict[str, Any] = {}
        for name, field in schema["properties"].items():
            options = field.get("enum") or [field["const"]]
            self.asked.append((params.message, options))
            self.fields.append((field["title"], field.get("description"), name in schema.get("required", [])))
            choice = self._choose(options)
            if choice in ("decline", "cancel"):
                return ElicitResult(action=choice)
            content |= {} if choice is None else {name: choice}
        return ElicitResult(action="accept", content=content)


@pytest.fixture(params=ERAS.values(), ids=ERAS)
def era(request: pytest.FixtureRequest) -> Options:
    """Options of a client that speaks the protocol of one of the two eras."""
    options: Options = request.param
    return options


@pytest.fixture
def kestrel(find: Find) -> list[str]:
    """The ids of the two open leads of Kestrel Solar Ltd."""
    return [find("leads", title=f"Kestrel {what}")["id"] for what in ("site expansion", "training package")]


async def text_of(client: Client, tool: str, arguments: dict[str, Any], *, is_error: bool) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error is is_error, result.content
    [block] = result.content
    assert block.type == "text"
    return block.text


async def test_what_the_person_chooses_is_changed_and_nothing_else(
    open_client: OpenClient, era: Options, kestrel: list[str], wire: Any
) -> None:
    person = Person(lambda options: next(one for one in options if "training" in one))
    client = await open_client(elicitation_callback=person, **era)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=False)
    assert text.startswith(
        "Moved to Won.\n- Kestrel training package · Kestrel Solar Ltd · Won · EUR 73,000 · "
    )
    [(question, options)] = person.asked
    assert question == "Kestrel Solar Ltd has 2 open leads. Which one is meant?"
    assert sorted(option.rpartition(" · ")[2] for option in options) == sorted(full[:8] for full in kestrel)
    [write] = wire.writes
    assert write.path.endswith(f"/leads/{kestrel[1]}/stage")


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_person_who_does_not_choose_gets_the_candidates_and_nothing_is_changed(
    open_client: OpenClient, era: Options, wire: Any, action: str
) -> None:
    person = Person(lambda _options: action)
    client = await open_client(elicitation_callback=person, **era)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=True)
    [(_, options)] = person.asked
    listed = "\n".join(f"- {option}" for option in options)
    assert text == (
        "Kestrel Solar Ltd has 2 open leads. The person was asked and chose none; nothing was done with it. "
        f"Say the id of the one that is meant:\n{listed}\nNothing was sent to the CRM."
    )
    assert wire.writes == []


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        (
            "move_lead_stage",
            {"lead": "Kestrel Solar", "stage": "Wonn"},
            'No stage "Wonn". Did you mean "Won"?',
        ),
        ("create_lead", {"title": "X", "company": "Acm", "stage": "Wonn"}, 'No stage "Wonn".'),
        ("update_lead", {"lead": "Kestrel Solar", "value": 1, "owner": "Bob"}, '"Bob" is no owner: say `me`'),
        ("update_company", {"company": "Acm", "phone": "1", "owner": "Bob"}, '"Bob" is no owner: say `me`'),
        (
            "send_outbound_email",
            {"lead": "Kestrel Solar", "subject": "Hi", "body": "Hi", "connection": "x@y.example"},
            'No e-mail connection "x@y.example".',
        ),
        ("add_to_marketing_list", {"list_id": "News", "companies": ["Acm"]}, 'No marketing list "News"'),
    ],
)
async def test_nobody_is_asked_about_what_is_refused_anyway(
    open_client: OpenClient, era: Options, tool: str, arguments: dict[str, Any], problem: str
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    assert (await text_of(client, tool, arguments, is_error=True)).startswith(problem)
    assert person.asked == []


async def test_a_client_that_cannot_ask_gets_the_candidates(
    open_client: OpenClient, era: Options, kestrel: list[str], wire: Any
) -> None:
    client = await open_client(**era)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=True)
    assert all(full[:8] in text for full in kestrel)
    assert wire.writes == []
    moved = await text_of(client, "move_lead_stage", {**MOVE, "lead": kestrel[0][:8]}, is_error=False)
    assert moved.startswith("Moved to Won.\n- Kestrel site expansion · ")


@pytest.mark.parametrize("answer", ["Acme Inc.", "", "x · 5462ba2a", "Acme annual licence"])
async def test_an_answer_that_was_not_offered_changes_nothing(
    open_client: OpenClient, era: Options, wire: Any, answer: str
) -> None:
    client = await open_client(elicitation_callback=Person(lambda _options: answer), **era)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=True)
    assert text.startswith("Kestrel Solar Ltd has 2 open leads. Say the id of the one that is meant:")
    assert wire.writes == []


async def test_every_ambiguous_reference_of_a_call_is_asked_about(
    open_client: OpenClient, era: Options, find: Find, wire: Any, kestrel: list[str]
) -> None:
    marlow = find("contacts", email="anna.berg@marlow-systems-oy.example")["id"]
    person = Person(lambda options: next(one for one in options if "Marlow" in one or "training" in one))
    client = await open_client(elicitation_callback=person, **era)
    said = {"lead": "Kestrel Solar", "contact": "Anna Berg", "type": "call", "subject": "Hello"}
    await text_of(client, "log_activity", said, is_error=False)
    assert sorted(question for question, _ in person.asked) == [
        '"Anna Berg" fits more than one contact. Which one is meant?',
        "Kestrel Solar Ltd has 2 open leads. Which one is meant?",
    ]
    [write] = wire.writes
    assert write.path.endswith(f"/leads/{kestrel[1]}/activities")
    assert write.body == {"type": "call", "subject": "Hello", "contactId": marlow}


async def test_one_of_two_questions_declined_changes_nothing(
    open_client: OpenClient, era: Options, wire: Any
) -> None:
    person = Person(lambda options: "decline" if "Marlow" in str(options) else options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {"lead": "Kestrel Solar", "contact": "Anna Berg", "type": "call", "subject": "Hello"}
    text = await text_of(client, "log_activity", said, is_error=True)
    assert '"Anna Berg" fits more than one contact.' in text
    assert wire.writes == []


async def test_that_more_fit_than_are_choices_is_said(
    open_client: OpenClient, era: Options, crm: CrmClient
) -> None:
    for number in range(7):
        await crm.companies.create(NewCompany(name=f"Vord {number} Bau"))
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, "update_company", {"company": "Vord", "phone": "1"}, is_error=False)
    assert [question for question, _ in person.asked] == [
        '"Vord" fits more than one company. Which one is meant? 2 more fit; if it is one of them, say no.'
    ]


async def test_a_close_match_is_asked_about_before_a_write(
    open_client: OpenClient, era: Options, find: Find, wire: Any
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {"company": "Quynt Medica", "phone": "1"}
    text = await text_of(client, "update_company", said, is_error=False)
    assert text.startswith("Company updated.\n- Quint Medica Oy · ")
    assert [question for question, _ in person.asked] == [
        'No company is called "Quynt Medica". Which one is meant?'
    ]
    [write] = wire.writes
    assert write.path.endswith(find("companies", name="Quint Medica Oy")["id"])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_company", {"company": "Acme Inc."}),
        ("move_lead_stage", {"lead": "Acme", "stage": "Proposal"}),
        ("update_company", {"company": "acme", "phone": "1"}),
    ],
)
async def test_nobody_is_asked_what_is_plain(
    open_client: OpenClient, era: Options, tool: str, arguments: dict[str, Any]
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, tool, arguments, is_error=False)
    assert person.asked == []


async def test_nobody_is_asked_by_a_read(open_client: OpenClient, era: Options) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, "get_contact", {"contact": "Anna Berg"}, is_error=True)
    assert person.asked == []


async def test_nobody_is_asked_about_what_is_not_found(
    open_client: OpenClient, era: Options, wire: Any
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    text = await text_of(client, "update_company", {"company": "Xqwzt", "phone": "1"}, is_error=True)
    assert text == ('No company "Xqwzt". search_companies lists what there is. Nothing was sent to the CRM.')
    assert (person.asked, wire.writes) == ([], [])


LEAD = "Acme annual licence"
MAIL = {"lead": LEAD, "subject": "Hi", "body": "Hello"}
# What changes a stage, and what is asked for by a name that two stages have once accents do not matter.
STAGE_WRITES: dict[str, dict[str, Any]] = {
    "create_lead": {"title": "Deal", "stage": "PRÖPOSAL"},
    "move_lead_stage": {"lead": LEAD, "stage": "PRÖPOSAL"},
    "update_pipeline_stage": {"stage": "PRÖPOSAL", "color_key": "teal"},
    "delete_pipeline_stage": {"stage": "PRÖPOSAL", "move_leads_to": "Won"},
}


@pytest.fixture
def proposals(sandbox: Any, find: Find) -> dict[str, str]:
    """The ids of two stages whose names differ in an accent."""
    sandbox.execute("UPDATE stages SET name = 'Própósal' WHERE name = 'Negotiation'")
    return {name: find("stages", name=name)["id"] for name in ("Proposal", "Própósal")}


@pytest.mark.parametrize("tool", STAGE_WRITES)
async def test_the_stage_that_the_person_chooses_is_the_one_that_is_meant(
    open_client: OpenClient, era: Options, wire: Any, proposals: dict[str, str], tool: str
) -> None:
    person = Person(lambda options: options[1])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, tool, STAGE_WRITES[tool], is_error=False)
    listed = [f"{name} · {stage}" for name, stage in proposals.items()]
    assert person.asked == [('"PRÖPOSAL" fits more than one stage. Which one is meant?', listed)]
    [write] = wire.writes
    assert proposals["Própósal"] in (write.path.rpartition("/")[2], (write.body or {}).get("stageId"))


async def test_which_stages_are_meant_in_an_order_is_asked_too(
    open_client: OpenClient, era: Options, wire: Any, proposals: dict[str, str]
) -> None:
    person = Person(lambda options: options[-1])
    client = await open_client(elicitation_callback=person, **era)
    order = ["Won", "PRÖPOSAL", "New", "Qualified", "Lost", proposals["Proposal"]]
    await text_of(client, "reorder_pipeline_stages", {"stages": order}, is_error=False)
    listed = [f"{name} · {stage}" for name, stage in proposals.items()]
    assert person.asked[0] == ('"PRÖPOSAL" fits more than one stage. Which one is meant?', listed)
    [write] = wire.writes
    assert [write.body["stageIds"][place] for place in (1, 5)] == [
        proposals["Própósal"],
        proposals["Proposal"],
    ]


async def test_where_the_leads_of_a_deleted_stage_go_is_asked_too(
    open_client: OpenClient, era: Options, wire: Any, proposals: dict[str, str], find: Find
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {"stage": "New", "move_leads_to": "PRÖPOSAL"}
    await text_of(client, "delete_pipeline_stage", said, is_error=False)
    assert len(person.asked) == 1
    [write] = wire.writes
    assert write.body == {"reassignToStageId": proposals["Proposal"]}


@pytest.mark.parametrize("tool", STAGE_WRITES)
async def test_a_stage_that_nobody_chooses_changes_nothing(
    open_client: OpenClient, era: Options, wire: Any, proposals: dict[str, str], tool: str
) -> None:
    client = await open_client(elicitation_callback=Person(lambda _options: "decline"), **era)
    listed = "\n".join(f"- {name} · {stage}" for name, stage in proposals.items())
    assert await text_of(client, tool, STAGE_WRITES[tool], is_error=True) == (
        '"PRÖPOSAL" fits more than one stage. The person was asked and chose none; nothing was done with it. '
        f"Say the id of the one that is meant:\n{listed}\nNothing was sent to the CRM."
    )
    assert wire.writes == []


async def test_a_stage_to_filter_by_is_not_asked_about(
    open_client: OpenClient, era: Options, proposals: dict[str, str]
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, "search_leads", {"stage": "PRÖPOSAL"}, is_error=True)
    assert person.asked == []


@pytest.fixture
def mailboxes(sandbox: Any) -> list[str]:
    """How two active mailboxes are listed."""
    sandbox.execute("UPDATE connections SET status = 'active'")
    rows = sandbox.all("SELECT * FROM connections ORDER BY email")
    return [f"{row['email']} ({row['channel']}, active, {row['id']})" for row in rows]


async def test_the_person_is_asked_from_which_mailbox_to_send(
    open_client: OpenClient, era: Options, wire: Any, mailboxes: list[str]
) -> None:
    person = Person(lambda options: next(one for one in options if "sales@" in one))
    client = await open_client(elicitation_callback=person, **era)
    text = await text_of(client, "send_outbound_email", MAIL, is_error=False)
    assert text.splitlines()[0].endswith(" from sales@nordwind.example.")
    [(question, options)] = person.asked
    assert question == "Several e-mail connections are active. Which one is meant?"
    assert sorted(options) == mailboxes
    [write] = wire.writes
    assert write.body["connectionId"] in mailboxes[1]


async def test_without_a_mailbox_chosen_nothing_is_sent(
    open_client: OpenClient, era: Options, wire: Any, mailboxes: list[str]
) -> None:
    client = await open_client(elicitation_callback=Person(lambda _options: "cancel"), **era)
    head, *listed, end = (await text_of(client, "send_outbound_email", MAIL, is_error=True)).splitlines()
    assert (head, end) == (
        "Several e-mail connections are active. The person was asked and chose none; nothing was done with "
        "it. Say the id of the one that is meant:",
        "Nothing was sent to the CRM.",
    )
    assert sorted(listed) == [f"- {mailbox}" for mailbox in mailboxes]
    assert wire.writes == []


async def test_an_email_that_cannot_be_sent_is_refused_before_anyone_is_asked(
    open_client: OpenClient, era: Options, mailboxes: list[str]
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {**MAIL, "lead": "Kestrel Solar", "body": "---"}
    text = await text_of(client, "send_outbound_email", said, is_error=True)
    assert (text, person.asked) == ("The e-mail has no text. Nothing was sent.", [])


KESTREL = {"lead": "Kestrel Solar"}
# Each holds a reference that a person would be asked about, and is refused all the same.
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("move_lead_stage", {**KESTREL, "leads": ["Acme"], "stage": "Won"}, "Say either `lead` or `leads`."),
    ("log_activity", {**KESTREL, "leads": ["Acme"], "type": "call", "subject": "Hi"}, "Say either `leads`,"),
    ("log_activity", {"company": "Textil", "leads": ["Acme"], "type": "call", "subject": "Hi"}, "Say either"),
    (
        "log_activity",
        {**KESTREL, "type": "call", "subject": "Hi", "due_at": "2031-01-31"},
        "`due_at` is for tasks:",
    ),
    (
        "log_activity",
        {**KESTREL, "type": "call", "subject": "Hi", "occurred_at": "0001-01-01T00:00:00+14:00"},
        "`occurred_at`:",
    ),
    ("update_lead", KESTREL, "Nothing to change was given."),
    (
        "update_lead",
        {**KESTREL, "company": "Textil", "clear": ["company"]},
        "`company` is both given and to be",
    ),
    ("update_company", {"company": "Textil"}, "Nothing to change was given."),
    ("update_contact", {"contact": "Anna Berg", "phone": " "}, "Nothing to change was given."),
    ("update_pipeline_stage", {"stage": "PRÖPOSAL"}, "Nothing to change was given."),
    ("create_contact", {"company": "Textil", "phone": "1"}, "A contact needs a name or an e-mail"),
    (
        "send_outbound_email",
        {**KESTREL, "subject": "Hi\nthere", "body": "Hello"},
        "The subject must be one line",
    ),
]


@pytest.mark.parametrize(("tool", "arguments", "problem"), REFUSED)
async def test_what_is_refused_anyway_is_refused_before_anything_is_looked_up_or_asked(
    open_client: OpenClient,
    era: Options,
    wire: Any,
    proposals: dict[str, str],
    tool: str,
    arguments: dict[str, Any],
    problem: str,
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    text = await text_of(client, tool, arguments, is_error=True)
    assert text.startswith(problem)
    assert (person.asked, wire.sent) == ([], [])


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Zeta"}),
        ("update_company", {"company": "Acme Inc."}),
        ("create_lead", {"title": "Deal"}),
        ("update_lead", {"lead": LEAD}),
    ],
)
async def test_a_short_id_that_two_owners_share_is_asked_about(
    open_client: OpenClient, era: Options, wire: Any, sandbox: Any, tool: str, arguments: dict[str, Any]
) -> None:
    owners = [f"aaaaaaaa-0000-4000-8000-00000000000{end}" for end in "12"]
    sandbox.execute("UPDATE leads SET owner_user_id = ?", owners[0])
    sandbox.execute("UPDATE companies SET owner_user_id = ?", owners[1])
    person = Person(lambda options: options[1])
    client = await open_client(elicitation_callback=person, **era)
    await text_of(client, tool, {**arguments, "owner": "aaaaaaaa"}, is_error=False)
    assert person.asked == [("Several owner ids start with aaaaaaaa. Which one is meant?", owners)]
    [write] = wire.writes
    assert write.body["ownerUserId"] == owners[1]


# Lists

SEVERAL = ["Quint annual licence", "Kestrel Solar", "Xqwzt", "Ilmen Timber"]
QUESTION = "2 of 4 are not clear. Which ones are meant? What is left out is skipped."


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("move_lead_stage", {"stage": "Won", "leads": SEVERAL}),
        ("log_activity", {"type": "note", "subject": "N", "leads": SEVERAL}),
    ],
)
async def test_what_is_not_clear_in_a_list_is_one_question(
    open_client: OpenClient, era: Options, find: Find, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    person = Person(lambda options: next(one for one in options if "training" in one or "pilot" in one))
    client = await open_client(elicitation_callback=person, **era)
    result = await client.call_tool(tool, arguments)
    titles = ("Quint annual licence", "Kestrel training package", "Ilmen pilot project")
    ids = [find("leads", title=title)["id"] for title in titles]
    assert [write.path.split("/")[4] for write in wire.writes] == ids
    assert [question for question, _ in person.asked] == [QUESTION, QUESTION]
    assert person.fields == [
        ("Kestrel Solar", "Kestrel Solar Ltd has 2 open leads.", False),
        ("Ilmen Timber", "Ilmen Timber AG has 2 open leads.", False),
    ]
    items = result.structured_content["batch"]["items"]
    assert [(item["item"], item["outcome"]) for item in items] == [
        ("Quint annual licence", "done"),
        ("Kestrel Solar", "done"),
        ("Xqwzt", "failed"),
        ("Ilmen Timber", "done"),
    ]


async def test_what_the_person_leaves_out_of_a_list_fails_and_nothing_else(
    open_client: OpenClient, era: Options, wire: Any
) -> None:
    person = Person(lambda options: next((one for one in options if "training" in one), None))
    client = await open_client(elicitation_callback=person, **era)
    result = await client.call_tool("move_lead_stage", {"stage": "Won", "leads": SEVERAL})
    items = result.structured_content["batch"]["items"]
    assert [item["outcome"] for item in items] == ["done", "done", "failed", "failed"]
    candidates = "\n".join(f"- {line}" for line in person.asked[1][1])
    assert items[3]["detail"] == (
        "Ilmen Timber AG has 2 open leads. The person was asked and chose none; nothing was done with it. "
        f"Say the id of the one that is meant:\n{candidates}"
    )
    assert len(wire.writes) == 2


@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_declined_list_still_does_what_is_plain(
    open_client: OpenClient, era: Options, wire: Any, action: str
) -> None:
    client = await open_client(elicitation_callback=Person(lambda _options: action), **era)
    result = await client.call_tool("move_lead_stage", {"stage": "Won", "leads": SEVERAL})
    items = result.structured_content["batch"]["items"]
    assert [item["outcome"] for item in items] == ["done", "failed", "failed", "failed"]
    assert len(wire.writes) == 1


async def test_one_unclear_company_of_a_list_is_asked_about_alone(
    open_client: OpenClient, era: Options, find: Find, wire: Any
) -> None:
    person = Person(lambda options: options[1])
    client = await open_client(elicitation_callback=person, **era)
    said = {"list_id": "1" * 8 + "-1111-4111-8111-" + "1" * 12, "companies": ["Acme Inc.", "Textil", "Xqwzt"]}
    text = await text_of(client, "add_to_marketing_list", said, is_error=False)
    assert text.splitlines()[1:-1] == [
        "- done · Acme Inc.",
        "- done · Textil · Ysel Textil Ltd",
        '- failed · Xqwzt · No company "Xqwzt". search_companies lists what there is.',
    ]
    assert [question for question, _ in person.asked] == [
        '"Textil" fits more than one company. Which one is meant?'
    ]
    assert person.fields == [("Textil", None, True)]
    [write] = wire.writes
    assert write.body["companyIds"] == [
        find("companies", name=n)["id"] for n in ("Acme Inc.", "Ysel Textil Ltd")
    ]


async def test_nobody_is_asked_about_a_list_in_which_all_is_plain_or_not_found(
    open_client: OpenClient, era: Options, wire: Any
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {"stage": "Won", "leads": ["Quint annual licence", "Xqwzt"]}
    await text_of(client, "move_lead_stage", said, is_error=False)
    assert (person.asked, len(wire.writes)) == ([], 1)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("move_lead_stage", MOVE),
        ("move_lead_stage", {"stage": "Won", "leads": ["Quint annual licence", "Kestrel Solar"]}),
        ("send_outbound_email", {"lead": "Kestrel Solar", "subject": "Hi", "body": "Hello"}),
    ],
)
async def test_an_answer_to_a_question_that_no_longer_stands_decides_nothing(
    open_client: OpenClient, wire: Any, sandbox: Any, kestrel: list[str], tool: str, arguments: dict[str, Any]
) -> None:
    """The other lead was closed while the person was thinking; where the answer rides on a second call."""

    def choose(options: list[str]) -> str:
        sandbox.execute("UPDATE leads SET closed_at = updated_at WHERE id = ?", kestrel[1])
        return next(one for one in options if "training" in one)

    client = await open_client(elicitation_callback=Person(choose))
    assert await text_of(client, tool, arguments, is_error=True) == (
        "What fits changed while the person was asked. Nothing was done; call again."
    )
    assert wire.writes == []


async def test_a_changed_question_is_asked_again(
    open_client: OpenClient, wire: Any, sandbox: Any, find: Find, kestrel: list[str]
) -> None:
    def choose(options: list[str]) -> str:
        sandbox.execute("UPDATE leads SET value = 1 WHERE id = ?", kestrel[0])
        return next(one for one in options if "site" in one)

    person = Person(choose)
    client = await open_client(elicitation_callback=person)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=False)
    assert text.startswith("Moved to Won.\n- Kestrel site expansion · ")
    assert len(person.asked) == 2
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    "answer",
    [
        ElicitResult(action="accept"),
        ElicitResult(action="accept", content={}),
        ElicitResult(action="accept", content={"which_1": "none of them"}),
    ],
    ids=["no content", "empty", "no choice"],
)
@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("move_lead_stage", MOVE, "Kestrel Solar Ltd has 2 open leads. Say the id of the one that is meant:"),
        ("delete_lead", {"lead": "Acme annual licence"}, "Nothing was sent to the CRM."),
    ],
)
async def test_a_client_that_fails_at_a_question_is_told_what_one_is_told_that_cannot_be_asked(
    open_client: OpenClient,
    era: Options,
    wire: Any,
    answer: ElicitResult,
    tool: str,
    arguments: dict[str, Any],
    problem: str,
) -> None:
    async def fail(_context: ClientRequestContext, _params: ElicitRequestParams) -> ElicitResult:
        return answer

    client = await open_client(policy=Policy(), elicitation_callback=fail, **era)
    text = await text_of(client, tool, arguments, is_error=True)
    assert problem in text.splitlines()[0]
    assert "Resolver" not in text
    assert wire.writes == []


async def test_a_client_whose_question_ends_in_an_error_gets_the_candidates(
    open_client: OpenClient, wire: Any
) -> None:
    """In the newer era it is the client's own library that raises it, so that no call comes back."""

    async def fail(_context: ClientRequestContext, _params: ElicitRequestParams) -> ErrorData:
        return ErrorData(code=INTERNAL_ERROR, message="no window")

    client = await open_client(elicitation_callback=fail, mode="legacy")
    text = await text_of(client, "move_lead_stage", MOVE, is_error=True)
    assert text.startswith("Kestrel Solar Ltd has 2 open leads. Say the id of the one that is meant:")
    assert wire.writes == []
