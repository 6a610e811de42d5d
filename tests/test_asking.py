"""Ambiguous references in writes: the person is asked where the client can ask, in both protocol eras."""

from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Any]
Options = dict[str, Any]

ERAS = {"modern": {}, "legacy": {"mode": "legacy"}}
MOVE = {"lead": "Kestrel Solar", "stage": "Won"}


class Person:
    """Answers each question with `choose(options)`: an option, or an action without one."""

    def __init__(self, choose: Callable[[list[str]], str]) -> None:
        self._choose = choose
        self.asked: list[tuple[str, list[str]]] = []

    async def __call__(self, _context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        schema = params.model_dump()["requested_schema"]
        which = schema["properties"]["which"]
        options = which.get("enum") or [which["const"]]
        self.asked.append((params.message, options))
        choice = self._choose(options)
        if choice in ("decline", "cancel"):
            return ElicitResult(action=choice)
        return ElicitResult(action="accept", content={"which": choice})


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
        "Moved to Won.\nKestrel training package · Kestrel Solar Ltd · Won · EUR 73,000 · "
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
        "Kestrel Solar Ltd has 2 open leads. The person was asked and chose none; nothing was done. "
        f"Say the id of the one that is meant:\n{listed}"
    )
    assert wire.writes == []


async def test_a_client_that_cannot_ask_gets_the_candidates(
    open_client: OpenClient, era: Options, kestrel: list[str], wire: Any
) -> None:
    client = await open_client(**era)
    text = await text_of(client, "move_lead_stage", MOVE, is_error=True)
    assert all(full[:8] in text for full in kestrel)
    assert wire.writes == []
    moved = await text_of(client, "move_lead_stage", {**MOVE, "lead": kestrel[0][:8]}, is_error=False)
    assert moved.startswith("Moved to Won.\nKestrel site expansion · ")


@pytest.mark.parametrize("answer", ["Acme Inc.", "", "x · 5462ba2a", "Acme annual licence"])
async def test_an_answer_that_was_not_offered_changes_nothing(
    open_client: OpenClient, era: Options, wire: Any, answer: str
) -> None:
    client = await open_client(elicitation_callback=Person(lambda _options: answer), **era)
    await text_of(client, "move_lead_stage", MOVE, is_error=True)
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


async def test_a_close_match_is_asked_about_before_a_write(
    open_client: OpenClient, era: Options, find: Find, wire: Any
) -> None:
    person = Person(lambda options: options[0])
    client = await open_client(elicitation_callback=person, **era)
    said = {"company": "Quynt Medica", "phone": "1"}
    text = await text_of(client, "update_company", said, is_error=False)
    assert text.startswith("Company updated.\nQuint Medica Oy · ")
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
    assert text == 'No company "Xqwzt". search_companies lists what there is.'
    assert (person.asked, wire.writes) == ([], [])
