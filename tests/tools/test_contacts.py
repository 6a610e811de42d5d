from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .crms import REFUSED, adding, cutting, refusing
from .expected import CONTACT, LEAD, day, facts, line, moment, prose, short

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[str]]
Find = Callable[..., dict[str, Any]]
MEMBERSHIP = "id company_id title"


@pytest.fixture
def acme(find: Find) -> str:
    return find("companies", name="Acme Inc.")["id"]


@pytest.fixture
def harbour(find: Find) -> str:
    return find("companies", name="Harbour & Pine Trading Ltd")["id"]


@pytest.fixture
async def mira(call: Call, acme: str) -> str:
    """A contact whose one company is Acme Inc."""
    answer = await call(
        "create_contact", first_name="Mira", last_name="Stone", email="mira@acme.example", company=acme
    )
    return answer.facts["contact"]["id"]


async def test_create_contact_answers_with_its_row_and_get_contact_shows_all_of_it(
    call: Call, acme: str, find: Find
) -> None:
    given = {
        "first_name": "Ada",
        "last_name": "Krüger",
        "email": "ada@acme.example",
        "phone": "+49 30 556",
        "job_title": "CFO",
        "notes": "Prefers e-mail.",
    }

    created = await call("create_contact", **given, company="Acme")

    contact = find("contacts", last_name="Krüger")
    assert contact | given == contact
    membership = find("memberships", contact_id=contact["id"])
    row = f"Ada Krüger · CFO · Acme Inc. · ada@acme.example · +49 30 556 · {short(contact['id'])}"
    assert created == (
        f"Contact created.\n- {row}",
        {"contact": facts(contact, CONTACT, name="Ada Krüger", company_id=acme, company="Acme Inc.")},
    )
    assert await call("get_contact", contact="Ada Krüger") == (
        f"""\
- {row}
companies: 1
- Acme Inc. · primary · {short(acme)}
leads: none
{prose("notes: Prefers e-mail.")}""",
        {
            "contact": facts(contact, f"id created_at updated_at {' '.join(given)}", company_id=acme),
            "memberships": [facts(membership, "id company_id", company_name="Acme Inc.", is_primary=True)],
            "leads": [],
        },
    )


async def test_get_contact_brings_its_companies_and_leads(
    call: Call, sandbox: Any, find: Find, acme: str
) -> None:
    [anna] = sandbox.all("SELECT * FROM contacts WHERE email = 'anna.muller@acme-inc.example'")
    industries = find("companies", name="Acme Industries GmbH")["id"]
    homes = [find("memberships", contact_id=anna["id"], company_id=company) for company in (acme, industries)]
    sandbox.execute("DELETE FROM leads WHERE title = 'Acme pilot project'")
    [licence] = sandbox.all("SELECT * FROM leads WHERE contact_id = ?", anna["id"])

    assert await call("get_contact", contact="Anna Müller at Acme Inc") == (
        f"""\
- Anna Müller · {anna["job_title"]} · Acme Inc. · {anna["email"]} · {anna["phone"]} · {short(anna["id"])}
companies: 2
- Acme Inc. · {homes[0]["title"]} · primary · {short(acme)}
- Acme Industries GmbH · {homes[1]["title"]} · {short(industries)}
leads: 1
- Acme annual licence · Acme Inc. · Qualified · USD 48,000 · close {day(licence["expected_close_date"])}\
 · last activity {day(licence["last_activity_at"])} · {short(licence["id"])}""",
        {
            "contact": facts(anna, f"{CONTACT} first_name last_name created_at updated_at", company_id=acme),
            "memberships": [
                facts(homes[0], MEMBERSHIP, company_name="Acme Inc.", is_primary=True),
                facts(homes[1], MEMBERSHIP, company_name="Acme Industries GmbH", is_primary=False),
            ],
            "leads": [facts(licence, LEAD, stage="Qualified", company="Acme Inc.")],
        },
    )


async def test_get_contact_in_brief_names_its_company(call: Call, sandbox: Any) -> None:
    [anna] = sandbox.all("SELECT * FROM contacts WHERE email = 'anna.muller@acme-inc.example'")
    text, brief = await call("get_contact", contact=anna["id"], detail="brief")
    reach = f"{anna['email']} · {anna['phone']}"
    assert text == f"- Anna Müller · {anna['job_title']} · Acme Inc. · {reach} · {short(anna['id'])}"
    assert (brief["company"], sorted(brief)) == ("Acme Inc.", ["company", "contact"])


async def test_a_contact_of_many_leads_says_where_the_rest_is(call: Call, mira: str) -> None:
    for number in range(11):
        await call("create_lead", title=f"Parts {number}", contact=mira)
    text, found = await call("get_contact", contact="Mira Stone")
    note = "11 leads, 10 shown; search_leads(contact) lists all."
    assert (len(found["leads"]), found["notes"]) == (10, [note])
    assert text.splitlines()[-1] == f"Note: {note}"


async def test_get_contact_in_full_brings_fields_that_nobody_documented(
    call: Call, wire: Any, find: Find, mira: str, acme: str
) -> None:
    at = moment(find("contacts", id=mira)["created_at"])
    wire.inner = adding(f"/{mira}", {"linkedIn": "mira-stone"}, wire.inner)
    normal = await call("get_contact", contact=mira)
    assert await call("get_contact", contact=mira, detail="full") == (
        f"""\
- Mira Stone · Acme Inc. · mira@acme.example · {short(mira)}
created_at: {at}
updated_at: {at}
companies: 1
- Acme Inc. · primary · {short(acme)}
leads: none
{prose("linkedIn: mira-stone")}""",
        {**normal.facts, "other": {"linkedIn": "mira-stone"}},
    )


@pytest.mark.parametrize(("part", "path"), [("memberships", "/company-memberships"), ("leads", "/leads")])
async def test_a_part_that_fails_costs_only_itself(
    call: Call, wire: Any, mira: str, part: str, path: str
) -> None:
    whole = await call("get_contact", contact=mira)
    wire.inner = refusing(path, wire.inner)
    text, found = await call("get_contact", contact=mira)
    note = f"{part} {REFUSED}"
    assert found == {**{name: value for name, value in whole.facts.items() if name != part}, "notes": [note]}
    assert text.splitlines()[-1] == f"Note: {note}"


async def test_create_contact_needs_a_name_or_an_address(refusal: Call, wire: Any) -> None:
    assert await refusal("create_contact", phone="+49 30 556", first_name=" ") == (
        "A contact needs a name or an e-mail address. Nothing was created."
    )
    assert wire.sent == []


async def test_search_contacts_tells_namesakes_apart(call: Call, sandbox: Any) -> None:
    rows = sandbox.all(
        "SELECT contacts.*, company_id, companies.name AS company FROM contacts"
        " JOIN memberships ON contact_id = contacts.id AND is_primary"
        " JOIN companies ON companies.id = company_id"
        " WHERE first_name = 'Anna' AND last_name = 'Berg' ORDER BY contacts.id"
    )
    lines = [
        line("- Anna Berg", row["job_title"], row["company"], row["email"], row["phone"], short(row["id"]))
        for row in rows
    ]
    assert len(rows) == 2
    assert await call("search_contacts", query="anna berg") == (
        "\n".join(["Contacts: 2", *lines]),
        {
            "shown": 2,
            "total": 2,
            "contacts": [facts(row, f"{CONTACT} company_id company", name="Anna Berg") for row in rows],
        },
    )


async def test_search_contacts_of_a_company_finds_members_by_word_and_page(
    call: Call, sandbox: Any, acme: str
) -> None:
    for first_name in ("Xaver", "Xenia", "Yves"):
        await call("create_contact", first_name=first_name, company=acme)
    members = {
        row["contact_id"]
        for row in sandbox.all("SELECT contact_id FROM memberships WHERE company_id = ?", acme)
    }

    every = await call("search_contacts", company="Acme Inc")
    first = await call("search_contacts", company=acme, limit=len(members) - 1)
    second = await call("search_contacts", company=acme, limit=len(members) - 1, page=2)
    xenia = await call("search_contacts", company=acme, query="xenia")

    assert {contact["id"] for contact in every.facts["contacts"]} == members
    assert every.text.splitlines()[0] == f"Contacts: {len(members)}"
    assert first.text.splitlines()[0] == (
        f"Contacts: {len(members) - 1} of {len(members)}; page=2 shows the next"
    )
    assert first.facts["contacts"] + second.facts["contacts"] == every.facts["contacts"]
    assert second.text.splitlines()[0] == f"Contacts: 1 of {len(members)}"
    [found] = xenia.facts["contacts"]
    assert xenia == (
        f"Contacts: 1\n- Xenia · Acme Inc. · {short(found['id'])}",
        {
            "shown": 1,
            "total": 1,
            "contacts": [{"id": found["id"], "name": "Xenia", "company_id": acme, "company": "Acme Inc."}],
        },
    )


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("anna muller", ["Anna Müller"]),
        ("Müller, Anna", ["Anna Müller"]),
        ("luc procurement", ["Luc Lefèvre"]),
        ("ingrid.okafor@acme", ["Ingrid Okafor"]),
        ("anna procurement", []),
        ("anna +49", []),
        ("@", ["Ingrid Okafor", "Luc Lefèvre", "Anna Müller"]),
    ],
)
async def test_search_contacts_of_a_company_finds_who_has_all_words(
    call: Call, query: str, names: list[str]
) -> None:
    _, found = await call("search_contacts", company="Acme Inc.", query=query)
    assert sorted(contact["name"] for contact in found["contacts"]) == sorted(names)


async def test_update_contact_keeps_omitted_fields_and_empties_cleared_ones(
    call: Call, find: Find, mira: str, acme: str
) -> None:
    await call("update_contact", contact="Mira Stone", phone="+49 1", notes="Old.")
    before = find("contacts", id=mira)

    text, found = await call(
        "update_contact", contact="mira@acme.example", job_title="CTO", clear=["phone", "notes"]
    )

    after = find("contacts", id=mira)
    assert after == {
        **before,
        "job_title": "CTO",
        "phone": None,
        "notes": None,
        "updated_at": after["updated_at"],
    }
    assert (before["phone"], before["notes"]) == ("+49 1", "Old.")
    assert after["updated_at"] > before["updated_at"]
    assert text == f"Contact updated.\n- Mira Stone · CTO · Acme Inc. · mira@acme.example · {short(mira)}"
    assert found == {
        "contact": facts(after, CONTACT, name="Mira Stone", company_id=acme, company="Acme Inc.")
    }
    assert (await call("get_contact", contact=mira)).facts["contact"] == facts(
        after, "id first_name last_name job_title email created_at updated_at", company_id=acme
    )


async def test_update_contact_moves_and_removes_the_primary_company(
    call: Call, mira: str, harbour: str
) -> None:
    moved = await call("update_contact", contact=mira, company=harbour)
    assert moved.facts["contact"]["company_id"] == harbour
    [membership] = (await call("get_contact", contact=mira)).facts["memberships"]
    assert membership["company_name"] == "Harbour & Pine Trading Ltd"

    alone = await call("update_contact", contact=mira, clear=["company"])
    assert "company_id" not in alone.facts["contact"]
    assert (await call("get_contact", contact=mira)).facts["memberships"] == []


async def test_link_creates_a_membership_and_then_updates_it(
    call: Call, mira: str, acme: str, harbour: str
) -> None:
    text, linked = await call(
        "link_contact_to_company", contact="Mira Stone", company="Harbour & Pine", title="Adviser"
    )
    membership = linked["membership"]
    assert linked == {
        "membership": {
            "id": membership["id"],
            "company_id": harbour,
            "company_name": "Harbour & Pine Trading Ltd",
            "title": "Adviser",
            "is_primary": False,
        }
    }
    assert text == f"Contact Mira Stone linked.\n- Harbour & Pine Trading Ltd · Adviser · {short(harbour)}"

    text, updated = await call("link_contact_to_company", contact=mira, company=harbour, is_primary=True)
    assert updated == {"membership": {**membership, "is_primary": True}}
    line = f"- Harbour & Pine Trading Ltd · Adviser · primary · {short(harbour)}"
    assert text == f"Membership of Mira Stone updated.\n{line}"

    _, read = await call("get_contact", contact=mira)
    assert read["contact"]["company_id"] == harbour
    assert [(one["company_id"], one["is_primary"]) for one in read["memberships"]] == [
        (harbour, True),
        (acme, False),
    ]


async def test_a_link_that_is_there_already_is_not_sent(call: Call, wire: Any, mira: str, acme: str) -> None:
    already_written = len(wire.writes)
    text, _ = await call("link_contact_to_company", contact=mira, company=acme)
    assert text.splitlines()[0] == (
        "Mira Stone is a member of Acme Inc. already. Nothing was sent to the CRM."
    )
    assert len(wire.writes) == already_written


async def test_unlink_ends_the_membership_and_leaves_both_records(
    call: Call, refusal: Call, mira: str, acme: str
) -> None:
    [membership] = (await call("get_contact", contact=mira)).facts["memberships"]

    text, found = await call("unlink_contact_from_company", contact="Mira Stone", company="Acme Inc")

    assert text == "Contact Mira Stone unlinked from Acme Inc."
    assert found == {"removed": "membership", "id": membership["id"]}
    assert (await call("get_contact", contact=mira)).facts["memberships"] == []
    assert (await call("get_company", company=acme)).facts["company"]["name"] == "Acme Inc."
    assert await refusal("unlink_contact_from_company", contact=mira, company=acme) == (
        "The contact is not a member of that company. Nothing was unlinked."
    )


async def test_delete_contact_deletes_once(call: Call, refusal: Call, mira: str) -> None:
    text, found = await call("delete_contact", contact="Mira Stone at Acme")
    assert text == "Contact Mira Stone deleted."
    assert found == {"removed": "contact", "id": mira}
    gone = f'The CRM has no such record: "There is no contact {mira}".'
    assert await refusal("get_contact", contact=mira) == gone
    assert (await call("delete_contact", contact=mira)).text == (
        "Done before, so that nothing was sent again. Contact Mira Stone deleted."
    )
    assert await refusal("delete_contact", contact="Mira Stone") == (
        'No contact "Mira Stone". search_contacts lists what there is. Nothing was sent to the CRM.'
    )


async def test_a_contact_is_not_deleted_by_part_of_a_name(refusal: Refusal, wire: Any) -> None:
    assert (await refusal("delete_contact", contact="Lefèvre Luc")).endswith("Nothing was deleted.")
    assert wire.writes == []


async def test_namesakes_are_told_apart_however_they_are_spelt(
    call: Call, refusal: Refusal, wire: Any
) -> None:
    await call("create_contact", first_name="Anna", last_name="Müller", allow_duplicate=True)
    before = len(wire.writes)
    for said in ("Anna Müller", "anna muller"):
        assert (await refusal("update_contact", contact=said, phone="1")).startswith(
            f'"{said}" fits more than one contact.'
        )
    assert len(wire.writes) == before


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("unlink_contact_from_company", {"contact": "Mira", "company": "Acme Inc."}),
        ("unlink_contact_from_company", {"contact": "Mira Stone", "company": "Harbour"}),
        ("delete_contact", {"contact": "Mira"}),
        ("delete_lead", {"lead": "Acme annual"}),
    ],
)
async def test_nothing_is_ended_by_part_of_a_name(
    call: Call, refusal: Refusal, wire: Any, mira: str, tool: str, arguments: dict[str, str]
) -> None:
    await call("link_contact_to_company", contact=mira, company="Harbour & Pine Trading")
    already_written = len(wire.writes)
    problem = await refusal(tool, **arguments)
    assert "is not the whole name of what is meant" in problem
    assert problem.endswith("Nothing was deleted.")
    assert len(wire.writes) == already_written


@pytest.fixture
async def sams(call: Call) -> None:
    """A company with five people, of whom the third and the last are called Sam."""
    company = (await call("create_company", name="Gravitas Ltd")).facts["company"]["id"]
    for first, last in (("Al", "Aa"), ("Bo", "Bb"), ("Sam", "Cole"), ("Di", "Dd"), ("Sam", "Zola")):
        await call("create_contact", first_name=first, last_name=last, company=company)


@pytest.mark.usefixtures("sams")
async def test_people_on_further_pages_of_a_company_count(call: Call, refusal: Refusal, wire: Any) -> None:
    wire.inner = cutting("/contacts", "contacts", 3, wire.inner, pages=True)
    text, _ = await call("search_contacts", company="Gravitas")
    assert text.startswith("Contacts: 5\n")
    problem = await refusal("update_contact", contact="Sam at Gravitas", phone="1")
    assert problem.startswith('"Sam at Gravitas" fits more than one contact.')


@pytest.mark.usefixtures("sams")
async def test_where_people_of_a_company_are_kept_back_reads_say_so_and_writes_do_not_choose(
    call: Call, refusal: Refusal, wire: Any
) -> None:
    wire.inner = cutting("/contacts", "contacts", 3, wire.inner)
    kept_back = "The CRM shows only 3 of the company's 5 contacts."
    for tool, arguments in (
        ("search_contacts", {"company": "Gravitas"}),
        ("get_company", {"company": "Gravitas"}),
        ("get_contact", {"contact": "Sam at Gravitas"}),
    ):
        assert kept_back in (await call(tool, **arguments)).text
    already_written = len(wire.writes)
    problem = await refusal("update_contact", contact="Sam at Gravitas", phone="1")
    assert f'"Sam at Gravitas" fits one contact. {kept_back}' in problem
    assert len(wire.writes) == already_written
