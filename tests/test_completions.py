import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from mcp import Client
from mcp.types import PromptReference, ResourceTemplateReference

from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.leads import NewLead
from crm_mcp.crm.pipeline import NewStage

pytestmark = pytest.mark.anyio

Complete = Callable[..., Awaitable[list[str]]]
Find = Callable[..., dict[str, Any]]


@pytest.fixture
def complete(client: Client) -> Complete:
    """`await complete(where, argument, typed)`: what is offered, for a prompt or a URI template."""

    async def complete(where: str, argument: str, typed: str) -> list[str]:
        template = "://" in where
        ref = ResourceTemplateReference(uri=where) if template else PromptReference(name=where)
        result = await client.complete(ref, {"name": argument, "value": typed})
        return result.completion.values

    return complete


@pytest.mark.parametrize(
    ("where", "argument", "typed", "offered"),
    [
        ("prepare_meeting", "company", "acme", ["Acme Inc.", "Acme Industries GmbH"]),
        ("prepare_meeting", "company", "ACME IND", ["Acme Industries GmbH"]),
        ("prepare_meeting", "company", "Müll", ["Müller Präzisionstechnik GmbH"]),
        ("prepare_meeting", "company", "mull", ["Müller Präzisionstechnik GmbH"]),
        ("prepare_meeting", "company", "societe gen", ["Société Générine de Lumière"]),
        ("prepare_meeting", "company", "xqwzt", []),
        ("crm://contacts/{id}", "id", "luc lefè", ["Luc Lefèvre"]),
        ("log_call", "lead", "quint ann", ["Quint annual licence"]),
        ("follow_up_email", "lead", "bruma", ["Bruma framework contract"]),
        ("crm://companies/{id}", "id", "quint", ["Quint Medica Oy"]),
        ("crm://contacts/{id}", "id", "anna mü", ["Anna Müller"]),
        ("crm://contacts/{id}", "id", "luc lefev", ["Luc Lefèvre"]),
        ("crm://leads/{id}", "id", "acme pilot", ["Acme pilot project"]),
        ("crm://leads/{id}/timeline", "id", "acme pilot", ["Acme pilot project"]),
        ("crm://pipeline-stages/{stage}", "stage", "o", ["Proposal", "Negotiation", "Won", "Lost"]),
        ("crm://pipeline-stages/{stage}", "stage", "QUAL", ["Qualified"]),
    ],
)
async def test_what_is_typed_is_completed_to_names(
    complete: Complete, where: str, argument: str, typed: str, offered: list[str]
) -> None:
    assert sorted(await complete(where, argument, typed)) == sorted(offered)


async def test_with_nothing_typed_some_are_offered(complete: Complete) -> None:
    assert len(await complete("prepare_meeting", "company", "")) == 10
    assert len(await complete("crm://pipeline-stages/{stage}", "stage", "")) == 6


async def test_what_begins_as_typed_is_offered_first(complete: Complete, crm: CrmClient) -> None:
    await crm.companies.create(NewCompany(name="The Acme Museum"))
    assert await complete("prepare_meeting", "company", "acme") == [
        "Acme Inc.",
        "Acme Industries GmbH",
        "The Acme Museum",
    ]


async def test_of_many_what_begins_as_typed_is_offered_first(complete: Complete, crm: CrmClient) -> None:
    for number in range(20):
        await crm.leads.create(NewLead(title=f"Package {number:02}"))
    assert (await complete("log_call", "lead", "ac"))[0].startswith("Acme ")
    assert (await complete("crm://pipeline-stages/{stage}", "stage", "w"))[0] == "Won"


async def test_a_name_that_several_have_is_offered_once(complete: Complete) -> None:
    assert await complete("crm://contacts/{id}", "id", "anna berg") == ["Anna Berg"]


@pytest.mark.parametrize(
    ("where", "argument"),
    [("prepare_meeting", "colour"), ("nothing", "name"), ("crm://dashboard", "x"), ("other://{id}", "id")],
)
async def test_what_has_no_names_is_not_completed(complete: Complete, where: str, argument: str) -> None:
    assert await complete(where, argument, "a") == []


async def test_what_is_too_long_for_a_name_is_not_completed(complete: Complete, wire: Any) -> None:
    assert await complete("prepare_meeting", "company", "x" * 10_000) == []
    assert not [sent for sent in wire.sent if len(sent.query.get("q", "")) > 200]


@pytest.mark.parametrize(
    "where", ["prepare_meeting", "crm://companies/{id}", "crm://pipeline-stages/{stage}"]
)
async def test_a_crm_that_is_down_completes_nothing_and_is_no_error(
    complete: Complete, wire: Any, where: str
) -> None:
    wire.inner = httpx2.MockTransport(lambda _request: httpx2.Response(500))
    argument = {"p": "company", "c": "id"}[where[0]] if "stage" not in where else "stage"
    assert await complete(where, argument, "a") == []


async def test_a_name_has_nothing_that_cannot_be_seen(complete: Complete, crm: CrmClient) -> None:
    await crm.companies.create(NewCompany(name="Zz\u202eTop\u200b\nLtd"))
    assert await complete("prepare_meeting", "company", "zz") == ["ZzTop Ltd"]
    await crm.pipeline.create(NewStage(name="Yy\u202eTop\u200b\nLtd"))
    assert await complete("crm://pipeline-stages/{stage}", "stage", "yy") == ["YyTop Ltd"]


@pytest.mark.parametrize(
    ("uri", "part", "column"),
    [
        ("companies/Acme Inc.", "company", "name"),
        ("companies/acme-inc.example", "company", "name"),
        ("contacts/luc.lefevre@acme-inc.example", "contact", "first_name"),
        ("contacts/Luc Lefèvre at Acme", "contact", "first_name"),
        ("leads/Acme annual licence", "lead", "title"),
        ("leads/Acme", "lead", "title"),
        ("pipeline-stages/Qualified", "stage", "name"),
    ],
)
async def test_a_resource_is_read_by_name(client: Client, uri: str, part: str, column: str) -> None:
    expected = {"company": "Acme Inc.", "contact": "Luc", "lead": "Acme annual licence", "stage": "Qualified"}
    [content] = (await client.read_resource(f"crm://{quote(uri)}")).contents
    assert json.loads(content.text)[part][column] == expected[part]  # type: ignore[union-attr]


async def test_the_timeline_of_a_lead_is_read_by_name(client: Client, find: Find) -> None:
    named, by_id = [
        (await client.read_resource(f"crm://leads/{quote(said)}/timeline")).contents[0].text  # type: ignore[union-attr]
        for said in ("Acme annual licence", find("leads", title="Acme annual licence")["id"])
    ]
    assert named == by_id


@pytest.fixture
async def many(crm: CrmClient) -> None:
    """More companies than one request brings; the demo's Müller Präzisionstechnik is not of the first."""
    for number in range(120):
        await crm.companies.create(NewCompany(name=f"Aa Zephyr {number}"))


class Unsearched(httpx2.AsyncBaseTransport):
    """The CRM behind it, as one that does not know `q`."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_remove_param("q")
        return await self.inner.handle_async_request(request)


@pytest.mark.usefixtures("many")
async def test_a_crm_that_does_not_search_is_not_read_anew_for_each_key(
    complete: Complete, wire: Any
) -> None:
    wire.inner = Unsearched(wire.inner)
    sent = len(wire.sent)
    for typed in ("z", "ze", "zep", "zephyr 11"):
        offered = await complete("prepare_meeting", "company", typed)
    assert "Aa Zephyr 11" in offered
    # Whether it searches, and the first records.
    assert len(wire.sent) - sent == 2


async def test_all_spellings_are_offered(complete: Complete, crm: CrmClient) -> None:
    for name in ("Zurn AG", "Zürn GmbH"):
        await crm.companies.create(NewCompany(name=name))
    for typed in ("zurn", "zürn"):
        assert sorted(await complete("prepare_meeting", "company", typed)) == ["Zurn AG", "Zürn GmbH"]


async def test_in_a_large_crm_what_is_typed_with_accents_is_offered_without(
    complete: Complete, crm: CrmClient
) -> None:
    await crm.companies.create(NewCompany(name="Zurn AG"))
    for number in range(120):
        await crm.companies.create(NewCompany(name=f"Aa Zephyr {number}"))
    assert await complete("prepare_meeting", "company", "zürn") == ["Zurn AG"]


@pytest.mark.usefixtures("many")
async def test_what_was_read_lately_is_completed_without_accents(complete: Complete, client: Client) -> None:
    assert await complete("prepare_meeting", "company", "mull") == []
    # No search finds this, so that all companies are read for it.
    await client.call_tool("get_company", {"company": "Mullr Prazisionstechnik", "detail": "brief"})
    assert await complete("prepare_meeting", "company", "mull") == ["Müller Präzisionstechnik GmbH"]


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("typed", "offered", "more"),
    [
        # A Zúrn may be among those that were not looked at.
        ("zurn", ["Zurn AG"], True),
        ("mull", [], True),
        ("山田", ["山田 KK"], False),
    ],
)
async def test_in_a_large_crm_completions_do_not_claim_to_be_all(
    client: Client, crm: CrmClient, typed: str, offered: list[str], more: bool
) -> None:
    for name in ("Zurn AG", "山田 KK"):
        await crm.companies.create(NewCompany(name=name))
    ref = PromptReference(name="prepare_meeting")
    completion = (await client.complete(ref, {"name": "company", "value": typed})).completion
    assert (completion.values, completion.has_more) == (offered, more)
