from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


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


async def test_create_contact_answers_with_the_record_that_get_contact_shows(call: Call, acme: str) -> None:
    given = {
        "first_name": "Ada",
        "last_name": "Krüger",
        "email": "ada@acme.example",
        "phone": "+49 30 556",
        "job_title": "CFO",
        "notes": "Prefers e-mail.",
    }

    text, facts = await call("create_contact", **given, company=acme)

    contact = facts["contact"]
    assert facts == {
        "contact": {
            **given,
            "id": contact["id"],
            "company_id": acme,
            "created_at": contact["created_at"],
            "updated_at": contact["created_at"],
        }
    }
    shown = f"""\
Ada Krüger · CFO · ada@acme.example · +49 30 556 · {contact["id"]}
company_id: {acme}
notes: Prefers e-mail.
created_at: {minute(contact["created_at"])}
updated_at: {minute(contact["created_at"])}"""
    assert text == f"Contact created.\n{shown}"

    text, read = await call("get_contact", contact=contact["id"])
    [membership] = read["memberships"]
    assert text == f"{shown}\nmember of Acme Inc. · primary · {acme}"
    assert read == {**facts, "memberships": [membership]}
    assert membership == {
        "id": membership["id"],
        "company_id": acme,
        "company_name": "Acme Inc.",
        "is_primary": True,
    }


async def test_create_contact_needs_a_name_or_an_address(refusal: Call, wire: Any) -> None:
    assert await refusal("create_contact", phone="+49 30 556", first_name=" ") == (
        "A contact needs a name or an e-mail address. Nothing was created."
    )
    assert wire.sent == []


async def test_search_contacts_tells_namesakes_apart(call: Call, sandbox: Any) -> None:
    text, facts = await call("search_contacts", query="anna berg")
    rows = {
        row["id"]: row
        for row in sandbox.all("SELECT * FROM contacts WHERE first_name = 'Anna' AND last_name = 'Berg'")
    }
    lines = [
        f"Anna Berg · {row['job_title']} · {row['email']} · {row['phone']} · {row['id']}"
        for row in (rows[contact["id"]] for contact in facts["contacts"])
    ]
    assert text == "\n".join(["Contacts: 2", *lines])
    assert (len(rows), facts["shown"], facts["total"]) == (2, 2, 2)


async def test_search_contacts_of_a_company_finds_members_by_word_and_page(
    call: Call, sandbox: Any, acme: str
) -> None:
    for first_name in ("Xaver", "Xenia", "Yves"):
        await call("create_contact", first_name=first_name, company=acme)
    members = {
        row["contact_id"]
        for row in sandbox.all("SELECT contact_id FROM memberships WHERE company_id = ?", acme)
    }

    every = await call("search_contacts", company=acme)
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
    assert [contact["first_name"] for contact in xenia.facts["contacts"]] == ["Xenia"]


async def test_update_contact_keeps_omitted_fields_and_empties_cleared_ones(call: Call, mira: str) -> None:
    await call("update_contact", contact=mira, phone="+49 1", notes="Old.")
    _, before = await call("get_contact", contact=mira)

    text, facts = await call("update_contact", contact=mira, job_title="CTO", clear=["phone", "notes"])

    expected = {
        **before["contact"],
        "job_title": "CTO",
        "updated_at": facts["contact"]["updated_at"],
    }
    del expected["phone"], expected["notes"]
    assert facts == {"contact": expected}
    assert text.splitlines()[:2] == ["Contact updated.", f"Mira Stone · CTO · mira@acme.example · {mira}"]
    assert (await call("get_contact", contact=mira)).facts["contact"] == expected


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
    text, linked = await call("link_contact_to_company", contact=mira, company=harbour, title="Adviser")
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
    assert text == f"Contact linked.\nHarbour & Pine Trading Ltd · Adviser · {harbour}"

    text, updated = await call("link_contact_to_company", contact=mira, company=harbour, is_primary=True)
    assert updated == {"membership": {**membership, "is_primary": True}}
    assert text == f"Membership updated.\nHarbour & Pine Trading Ltd · Adviser · primary · {harbour}"

    _, read = await call("get_contact", contact=mira)
    assert read["contact"]["company_id"] == harbour
    assert [(one["company_id"], one["is_primary"]) for one in read["memberships"]] == [
        (harbour, True),
        (acme, False),
    ]


async def test_link_that_would_change_nothing_is_refused(
    refusal: Call, wire: Any, mira: str, acme: str
) -> None:
    already_written = len(wire.writes)
    assert await refusal("link_contact_to_company", contact=mira, company=acme) == (
        "Nothing to change was given. Fields: title, is_primary."
    )
    assert len(wire.writes) == already_written


async def test_unlink_ends_the_membership_and_leaves_both_records(
    call: Call, refusal: Call, mira: str, acme: str
) -> None:
    [membership] = (await call("get_contact", contact=mira)).facts["memberships"]

    text, facts = await call("unlink_contact_from_company", contact=mira, company=acme)

    assert text == "Contact unlinked from the company."
    assert facts == {"removed": "membership", "id": membership["id"]}
    assert (await call("get_contact", contact=mira)).facts["memberships"] == []
    assert (await call("get_company", company=acme)).facts["company"]["name"] == "Acme Inc."
    assert await refusal("unlink_contact_from_company", contact=mira, company=acme) == (
        "The contact is not a member of that company. Nothing was unlinked."
    )


async def test_delete_contact_deletes_once(call: Call, refusal: Call, mira: str) -> None:
    text, facts = await call("delete_contact", contact=mira)
    assert text == f"Contact {mira} deleted."
    assert facts == {"removed": "contact", "id": mira}
    gone = f'The CRM has no such record: "There is no contact {mira}.".'
    assert await refusal("get_contact", contact=mira) == gone
    assert await refusal("delete_contact", contact=mira) == gone
