from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]
UNKNOWN = "00000000-0000-4000-8000-000000000000"


def minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


async def test_create_company_answers_with_the_record_that_get_company_shows(
    call: Call, sandbox: Any
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

    text, facts = await call("create_company", **given, owner="me")

    company = facts["company"]
    assert facts == {
        "company": {
            **given,
            "id": company["id"],
            "status": "active",
            "owner_user_id": me,
            "created_at": company["created_at"],
            "updated_at": company["created_at"],
        }
    }
    shown = f"""\
Zeta Werke · vendor · active · zeta.example · {company["id"]}
owner_user_id: {me}
industry: Steel
email: info@zeta.example
phone: +49 30 555
notes: Met at the fair. Likes tea.
created_at: {minute(company["created_at"])}
updated_at: {minute(company["created_at"])}"""
    assert text == f"Company created.\n{shown}"
    assert await call("get_company", company=company["id"]) == (shown, facts)


async def test_search_companies_by_name_shows_a_line_each(call: Call, find: Find) -> None:
    inc, industries = (find("companies", name=name) for name in ("Acme Inc.", "Acme Industries GmbH"))
    text, facts = await call("search_companies", query="ACME")
    assert (
        text
        == f"""\
Companies: 2
Acme Inc. · customer · active · https://www.acme-inc.example · {inc["id"]}
Acme Industries GmbH · prospect · active · https://www.acme-industries-gmbh.example · {industries["id"]}"""
    )
    found = facts.pop("companies")
    assert facts == {"shown": 2, "total": 2}
    assert [(company["id"], company["name"], company["phone"]) for company in found] == [
        (inc["id"], "Acme Inc.", inc["phone"]),
        (industries["id"], "Acme Industries GmbH", industries["phone"]),
    ]


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

    _, facts = await call("search_companies", **arguments)

    assert {company["id"] for company in facts["companies"]} == matching
    assert (facts["shown"], facts["total"]) == (len(matching), len(matching))


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
        f'The CRM has no such record: "There is no company {UNKNOWN}.".'
    )


async def test_update_company_keeps_omitted_fields_and_empties_cleared_ones(call: Call, find: Find) -> None:
    acme = find("companies", name="Acme Inc.")["id"]
    _, before = await call("get_company", company=acme)

    text, facts = await call(
        "update_company", company=acme, industry="Rockets", status="inactive", clear=["phone", "website"]
    )

    expected = {
        **before["company"],
        "industry": "Rockets",
        "status": "inactive",
        "updated_at": facts["company"]["updated_at"],
    }
    del expected["phone"], expected["website"]
    assert facts == {"company": expected}
    assert facts["company"]["updated_at"] > before["company"]["updated_at"]
    assert text.splitlines()[:2] == ["Company updated.", f"Acme Inc. · customer · inactive · {acme}"]
    assert (await call("get_company", company=acme)).facts == facts
