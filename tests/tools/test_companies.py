import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .crms import REFUSED, adding, hiding, refusing
from .expected import ACTIVITY, COMPANY, CONTACT, LEAD, activity_line, day, facts, line, moment, prose, short

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def acme(find: Find) -> dict[str, Any]:
    return find("companies", name="Acme Inc.")


async def test_create_company_answers_with_its_row_and_get_company_shows_all_of_it(
    call: Call, sandbox: Any, find: Find
) -> None:
    me = sandbox.caller(sandbox.credentials.api_key).user_id
    given = {
        "name": "Zeta Werke",
        "role": "vendor",
        "website": "zeta.example",
        "industry": "Steel",
        "email": "info@zeta.example",
        "phone": "+49 30 555",
        "notes": "Met at the fair.\nLikes tea.",
    }

    created = await call("create_company", **given, owner="me")

    company = find("companies", name="Zeta Werke")
    assert company | given == company
    row = f"Zeta Werke · vendor · zeta.example · {short(company['id'])}"
    assert created == (f"Company created.\n- {row}", {"company": facts(company, COMPANY)})
    assert await call("get_company", company="zeta werke") == (
        f"""\
- {row}
owner_user_id: {short(me)}
industry: Steel
email: info@zeta.example
phone: +49 30 555
contacts: none
open leads: none
{prose("notes: Met at the fair. Likes tea.", "latest activities: none")}""",
        {
            "company": facts(company, f"id owner_user_id status created_at updated_at {' '.join(given)}"),
            "contacts": [],
            "open_leads": [],
            "activities": [],
        },
    )


MORE_ACTIVITIES = "8 activities, 5 shown; list_activities(company) lists all."


async def test_get_company_brings_its_contacts_open_leads_and_latest_activities(
    call: Call, sandbox: Any, find: Find, acme: dict[str, Any]
) -> None:
    contacts = sandbox.all(
        "SELECT * FROM contacts JOIN memberships ON contact_id = contacts.id WHERE company_id = ?"
        " ORDER BY is_primary DESC, sort_key",
        acme["id"],
    )
    licence = find("leads", title="Acme annual licence")
    activities = sandbox.all(
        "SELECT activities.*, leads.title AS lead FROM activities JOIN leads ON leads.id = lead_id"
        " WHERE activities.company_id = ? ORDER BY occurred_at DESC LIMIT 5",
        acme["id"],
    )

    text, found = await call("get_company", company="acme-inc.example")

    people = [
        line(
            f"- {one['first_name']} {one['last_name']}",
            one["job_title"],
            "Acme Inc.",
            one["email"],
            one["phone"],
            short(one["contact_id"]),
        )
        for one in contacts
    ]
    assert len(contacts) == 3
    assert {one["type"] for one in activities} > {"task", "call"}
    assert (
        text
        == f"""\
- Acme Inc. · customer · https://www.acme-inc.example · {short(acme["id"])}
owner_user_id: {short(acme["owner_user_id"])}
industry: {acme["industry"]}
email: {acme["email"]}
phone: {acme["phone"]}
contacts: 3
{chr(10).join(people)}
open leads: 1
- Acme annual licence · Acme Inc. · Qualified · USD 48,000 · close {day(licence["expected_close_date"])}\
 · last activity {day(licence["last_activity_at"])} · {short(licence["id"])}
Note: {MORE_ACTIVITIES}
{prose("latest activities: 5", *(f"- {activity_line(one)}" for one in activities))}"""
    )
    assert found == {
        "notes": [MORE_ACTIVITIES],
        "company": facts(acme, f"{COMPANY} owner_user_id industry email phone created_at updated_at"),
        "contacts": [
            facts(
                {**one, "id": one["contact_id"]},
                f"{CONTACT} company_id",
                name=f"{one['first_name']} {one['last_name']}",
                company="Acme Inc.",
            )
            for one in contacts
        ],
        "open_leads": [facts(licence, LEAD, stage="Qualified", company="Acme Inc.")],
        "activities": [facts(one, f"{ACTIVITY} lead", company="Acme Inc.") for one in activities],
    }


async def test_a_company_with_much_going_on_is_cut_and_says_where_the_rest_is(
    call: Call, sandbox: Any, acme: dict[str, Any]
) -> None:
    for number in range(12):
        await call("create_contact", first_name=f"Xaver {number}", company="Acme Inc.")
        await call("create_lead", title=f"Parts {number}", company="Acme Inc.")

    text, found = await call("get_company", company="Acme Inc.")

    parts = ("contacts", "open_leads", "activities")
    assert [len(found[part]) for part in parts] == [10, 10, 5]
    assert sorted(found["notes"]) == [
        '13 open leads, 10 shown; search_leads(company, stage="open") lists all.',
        "15 contacts, 10 shown; search_contacts(company) lists all.",
        MORE_ACTIVITIES,
    ]
    assert [text.count(f"\n{note}\n") for note in map("Note: {}".format, found["notes"])] == [1, 1, 1]


async def test_an_open_lead_is_shown_though_many_newer_ones_are_closed(
    call: Call, sandbox: Any, find: Find, acme: dict[str, Any]
) -> None:
    sandbox.execute(
        "UPDATE leads SET company_id = ?, stage_id = ?, updated_at = '2031-01-01T00:00:00.000Z'",
        acme["id"],
        find("stages", name="Won")["id"],
    )
    assert sandbox.number("SELECT count(*) FROM leads") > 50
    sandbox.execute(
        "UPDATE leads SET stage_id = ?, closed_at = NULL, updated_at = '2020-01-01T00:00:00.000Z'"
        " WHERE title = 'Acme fleet upgrade'",
        find("stages", name="New")["id"],
    )
    _, found = await call("get_company", company="Acme Inc.")
    assert [lead["title"] for lead in found["open_leads"]] == ["Acme fleet upgrade"]
    assert found["notes"] == [MORE_ACTIVITIES]


async def test_parts_of_a_crm_that_does_not_show_whose_they_are_say_so_once(
    call: Call, wire: Any, acme: dict[str, Any]
) -> None:
    wire.inner = hiding("companyId", wire.inner)
    text, found = await call("get_company", company="Acme Inc.")
    note = "The filter `companyId` could not be verified: the CRM's rows do not show it."
    assert sorted(found["notes"]) == [MORE_ACTIVITIES, note]
    assert text.count(note) == 1


async def test_get_company_in_full_brings_fields_that_nobody_documented(
    call: Call, wire: Any, acme: dict[str, Any]
) -> None:
    wire.inner = adding(f"/{acme['id']}", {"creditRating": "AA", "tags": ["a", "b"]}, wire.inner)
    normal = await call("get_company", company="Acme Inc.")
    text, found = await call("get_company", company="Acme Inc.", detail="full")
    assert "creditRating" not in normal.text
    assert found == {**normal.facts, "other": {"creditRating": "AA", "tags": ["a", "b"]}}
    opening, people, was_done = re.split(r"(?=contacts: 3\n)|(?=latest activities: 5\n)", normal.text)
    times = "".join(f"{name}: {moment(acme[name])}\n" for name in ("created_at", "updated_at"))
    assert text == f'{opening}{times}{people}creditRating: AA\ntags: ["a", "b"]\n{was_done}'


@pytest.mark.parametrize(
    ("part", "path", "name"),
    [
        ("contacts", "/contacts", "contacts"),
        ("open_leads", "/leads", "open leads"),
        ("activities", "/activities", "activities"),
    ],
)
async def test_a_part_that_fails_costs_only_itself(
    call: Call, wire: Any, part: str, path: str, name: str
) -> None:
    whole = await call("get_company", company="Acme Inc.")
    wire.inner = refusing(path, wire.inner)
    text, found = await call("get_company", company="Acme Inc.")
    note = f"{name} {REFUSED}"
    assert sorted(found["notes"]) == sorted([note, *([] if part == "activities" else [MORE_ACTIVITIES])])
    assert {**found, "notes": []} == {
        **{name: value for name, value in whole.facts.items() if name != part},
        "notes": [],
    }
    assert f"\nNote: {note}\n" in f"{text}\n"


async def test_only_open_leads_are_open_even_where_the_crm_does_not_say_when_they_closed(
    call: Call, sandbox: Any, acme: dict[str, Any]
) -> None:
    sandbox.execute("UPDATE leads SET closed_at = NULL WHERE company_id = ?", acme["id"])
    _, found = await call("get_company", company="Acme Inc.")
    assert [lead["title"] for lead in found["open_leads"]] == ["Acme annual licence"]


async def test_search_companies_by_name_shows_a_line_each(call: Call, find: Find) -> None:
    inc, industries = (find("companies", name=name) for name in ("Acme Inc.", "Acme Industries GmbH"))
    assert await call("search_companies", query="ACME") == (
        f"""\
Companies: 2
- Acme Inc. · customer · https://www.acme-inc.example · {short(inc["id"])}
- Acme Industries GmbH · prospect · https://www.acme-industries-gmbh.example · {short(industries["id"])}""",
        {"shown": 2, "total": 2, "companies": [facts(inc, COMPANY), facts(industries, COMPANY)]},
    )


@pytest.mark.parametrize(
    ("arguments", "condition"),
    [
        ({"role": "customer"}, "role IN ('customer', 'both')"),
        ({"status": "inactive"}, "status = 'inactive'"),
        ({"owner": "unassigned"}, "owner_user_id IS NULL"),
        ({"owner": "me"}, "owner_user_id = (SELECT user_id FROM api_keys)"),
        ({"role": "prospect", "status": "active"}, "role = 'prospect' AND status = 'active'"),
    ],
)
async def test_search_companies_filters(
    call: Call, sandbox: Any, arguments: dict[str, str], condition: str
) -> None:
    matching = {row["id"] for row in sandbox.all(f"SELECT id FROM companies WHERE {condition}")}  # noqa: S608
    assert 0 < len(matching) < 40

    _, found = await call("search_companies", **arguments)

    assert {company["id"] for company in found["companies"]} == matching
    assert (found["shown"], found["total"]) == (len(matching), len(matching))


async def test_search_companies_page_by_page_shows_each_once(call: Call, sandbox: Any) -> None:
    pages = [await call("search_companies", limit=15, page=page) for page in (1, 2, 3, 4)]
    assert [page.text.splitlines()[0] for page in pages] == [
        "Companies: 15 of 40; page=2 shows the next",
        "Companies: 15 of 40; page=3 shows the next",
        "Companies: 10 of 40",
        "Companies: 0 of 40",
    ]
    assert [page.facts.get("next_page") for page in pages] == [2, 3, None, None]
    ids = [company["id"] for page in pages for company in page.facts["companies"]]
    assert sorted(ids) == sorted(row["id"] for row in sandbox.all("SELECT id FROM companies"))


async def test_get_company_that_is_not_there(refusal: Call) -> None:
    assert await refusal("get_company", company=UNKNOWN) == (
        f'The CRM has no such record: "There is no company {UNKNOWN}".'
    )


async def test_update_company_keeps_omitted_fields_and_empties_cleared_ones(
    call: Call, find: Find, acme: dict[str, Any]
) -> None:
    text, found = await call(
        "update_company", company="acme", industry="Rockets", status="inactive", clear=["phone", "website"]
    )

    after = find("companies", id=acme["id"])
    assert after == {
        **acme,
        "industry": "Rockets",
        "status": "inactive",
        "phone": None,
        "website": None,
        "updated_at": after["updated_at"],
    }
    assert after["updated_at"] > acme["updated_at"]
    assert text == f"Company updated.\n- Acme Inc. · customer · archived · {short(acme['id'])}"
    assert found == {"company": facts(after, COMPANY)}
    assert (await call("get_company", company="acme")).facts["company"] == facts(
        after, f"{COMPANY} owner_user_id industry email created_at updated_at"
    )
