from datetime import UTC, datetime
from typing import Any

import pytest

from crm_mcp.crm.activities import Activity, ActivityFilter
from crm_mcp.crm.companies import Company, CompanyChanges, CompanyFilter
from crm_mcp.crm.contract import Many, One, Rows, Written, describe, equals, mentions, owned, plain
from crm_mcp.crm.errors import InvalidInputError, UnexpectedResponseError
from crm_mcp.crm.leads import GET_LEAD, Lead, LeadChanges, LeadFilter
from crm_mcp.crm.pipeline import PipelineStage

ID = "0b6f0f0e-6f57-4c1b-8d5b-3b1f9c1f2a11"
OTHER = "1c7f0f0e-6f57-4c1b-8d5b-3b1f9c1f2a22"


def test_record_keeps_what_nobody_declared() -> None:
    raw = {"id": ID, "name": "Acme", "ownerUserId": OTHER, "tier": {"level": 3}}
    company = Company.from_wire(raw)
    assert (company.id, company.name, company.owner_user_id) == (ID, "Acme", OTHER)
    assert (company.wire, company.unknown) == (raw, {"tier": {"level": 3}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("value", "a lot"),
        ("expectedCloseDate", 17.5),
        ("companyId", {"id": ID}),
        ("closedAt", "soon"),
        ("closedAt", "0001-01-01T00:00:00+05:00"),
        ("closedAt", "9999-12-31T23:59:59-05:00"),
    ],
)
def test_odd_values_of_assumed_fields_are_left_unset_but_kept_in_wire(name: str, value: Any) -> None:
    raw = {"id": ID, "title": "Deal", name: value}
    lead = Lead.from_wire(raw)
    assert lead.model_dump(exclude_none=True) == {"id": ID, "title": "Deal"}
    assert lead.wire == raw


def test_python_names_are_not_taken_for_wire_names() -> None:
    raw = {"id": ID, "title": "Deal", "company_id": {}, "probability_pct": 10}
    lead = Lead.from_wire(raw)
    assert lead.model_dump(exclude_none=True) == {"id": ID, "title": "Deal"}
    assert lead.unknown == {"company_id": {}, "probability_pct": 10}


def test_numeric_ids_are_read_as_text() -> None:
    assert Company.from_wire({"id": 7, "name": "Acme"}).id == "7"


@pytest.mark.parametrize("raw", [{"id": ID}, {"id": ID, "name": None}, {"id": ID, "name": ["New"]}])
def test_a_record_without_its_required_field_is_an_error(raw: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedResponseError, match="The CRM sent a PipelineStage without a usable `name`"):
        PipelineStage.from_wire(raw)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-03-01T10:00:00Z", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T10:00:00", datetime(2025, 3, 1, 10, tzinfo=UTC)),
        ("2025-03-01T12:00:00+02:00", datetime(2025, 3, 1, 10, tzinfo=UTC)),
    ],
)
def test_timestamps_are_read_in_utc(text: str, moment: datetime) -> None:
    read = Activity.from_wire({"id": ID, "occurredAt": text}).occurred_at
    assert read == moment
    assert read.tzinfo is UTC


def test_body_sends_what_was_set_and_null_for_none() -> None:
    assert CompanyChanges().to_wire() == {}
    assert CompanyChanges(name="Acme", owner_user_id=None).to_wire() == {"name": "Acme", "ownerUserId": None}


def test_body_refuses_fields_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        CompanyChanges.model_validate({"nmae": "Acme"})


def test_not_kept_by_names_the_fields_that_came_back_otherwise() -> None:
    changes = CompanyChanges(name="Acme", industry="Rockets", phone=None, website="https://acme.test")
    shown = Company.from_wire({"id": ID, "name": "Acme", "industry": None, "phone": "+49 30 1"})
    assert changes.not_kept_by(shown) == (["industry", "phone"], ["website"])


def test_not_kept_by_compares_values_not_spellings() -> None:
    changes = LeadChanges.model_validate(
        {"value": 100, "expected_close_date": "2025-06-30", "owner_user_id": "me"}
    )
    shown = Lead.from_wire(
        {"id": ID, "title": "Deal", "value": 100.0, "expectedCloseDate": "2025-06-30", "ownerUserId": OTHER}
    )
    assert changes.not_kept_by(shown) == ([], [])


def test_filter_sends_wire_names_and_leaves_out_none() -> None:
    assert CompanyFilter(owner_user_id="me", page=2).to_wire() == {"ownerUserId": "me", "page": "2"}


def test_every_filter_in_force_has_a_check() -> None:
    wanted = LeadFilter(company_id=ID, stage="Won", page=3)
    assert [(name, value) for name, _, value in wanted.checks()] == [("companyId", ID), ("stage", "Won")]


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"companyId": ID}, True),
        ({"companyId": ID.upper()}, True),
        ({"companyId": OTHER}, False),
        ({"company": {"id": ID}}, True),
        ({"companyId": None, "company": {"id": ID}}, True),
        ({"companyId": None}, False),
        ({"company": "Acme"}, None),
        ({"companyId": 7}, None),
        ({}, None),
    ],
)
def test_equals(row: dict[str, Any], verdict: bool | None) -> None:
    assert equals("companyId", "company.id").passes(row, ID) is verdict


@pytest.mark.parametrize(("role", "verdict"), [("vendor", True), ("both", True), ("prospect", False)])
def test_equals_also(role: str, verdict: bool) -> None:
    assert equals("role", also="both").passes({"role": role}, "vendor") is verdict


@pytest.mark.parametrize(
    ("owner", "wanted", "verdict"),
    [
        ({"ownerUserId": ID}, ID.upper(), True),
        ({"ownerUserId": ID}, OTHER, False),
        ({"ownerUserId": None}, ID, False),
        ({"ownerUserId": None}, "unassigned", True),
        ({"ownerUserId": ID}, "unassigned", False),
        ({"ownerUserId": ID}, "me", None),
        ({"ownerUserId": None}, "me", False),
        ({}, ID, None),
    ],
)
def test_owned(owner: dict[str, Any], wanted: str, verdict: bool | None) -> None:
    assert owned("ownerUserId").passes(owner, wanted) is verdict


@pytest.mark.parametrize(
    ("row", "words", "verdict"),
    [
        ({"name": "Société  Générale"}, "societe generale", True),
        ({"name": "Acme"}, "acme inc", False),
        ({"name": "Acme", "notes": "globex"}, "globex", False),
        ({"name": None}, "acme", None),
        ({"title": "Acme"}, "acme", None),
    ],
)
def test_mentions_in_named_fields(row: dict[str, Any], words: str, verdict: bool | None) -> None:
    assert mentions("name").passes(row, words) is verdict


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        ({"contact": {"emails": ["anna@acme.test"]}}, True),
        ({"firstName": "Anna", "lastName": "of Acme"}, True),
        ({"firstName": "Anna"}, None),
        ({"firstName": "Bert"}, False),
        ({"age": 7}, None),
    ],
)
def test_mentions_anywhere(row: dict[str, Any], verdict: bool | None) -> None:
    assert mentions().passes(row, "anna acme") is verdict


def test_plain_drops_case_accents_and_spare_spaces() -> None:
    assert plain("  ÉCOLE\t Straße ") == "ecole strasse"


@pytest.mark.parametrize(
    "raw",
    [
        {"companies": [{"id": ID, "name": "Acme"}]},
        {"data": [{"id": ID, "name": "Acme"}]},
        {"items": [{"id": ID, "name": "Acme"}]},
        {"results": [{"id": ID, "name": "Acme"}]},
        [{"id": ID, "name": "Acme"}],
    ],
)
def test_a_list_is_found_wherever_it_stands(raw: Any) -> None:
    assert Many(Company, "companies").read(raw) == Rows([Company.from_wire({"id": ID, "name": "Acme"})])


def test_a_list_tells_its_place_in_the_whole() -> None:
    rows = Many(Company, "companies").read({"companies": [], "total": 40, "page": 2, "pageSize": True})
    assert rows == Rows([], total=40, page=2, page_size=None)


@pytest.mark.parametrize(
    ("raw", "came"),
    [
        (None, "an empty body"),
        ({}, "an empty object"),
        ({"rows": []}, "an object with `rows`"),
        ([1, "a"], "a list of 2 (int, str)"),
        ("companies", "a JSON str"),
    ],
)
def test_what_is_no_list_is_described_by_its_shape(raw: Any, came: str) -> None:
    with pytest.raises(UnexpectedResponseError) as caught:
        Many(Company, "companies").read(raw)
    assert str(caught.value) == f"The CRM did not send a list of companies, but {came}."


@pytest.mark.parametrize("key", ["company", "data", "result", "item"])
def test_one_record_is_found_bare_or_enveloped(key: str) -> None:
    raw = {"id": ID, "name": "Acme"}
    assert (
        One(Company, "company").read(raw)
        == One(Company, "company").read({key: raw})
        == Company.from_wire({"id": ID, "name": "Acme"})
    )


@pytest.mark.parametrize("raw", [None, [], {"ok": True}, {"company": None}])
def test_a_missing_record_is_an_error_for_a_read(raw: Any) -> None:
    with pytest.raises(UnexpectedResponseError, match="The CRM did not send a Company"):
        One(Company, "company").read(raw)


@pytest.mark.parametrize("raw", [None, [], {"ok": True}, {"id": [ID]}])
def test_a_missing_or_odd_record_is_no_error_for_a_write_that_succeeded(raw: Any) -> None:
    assert Written(Company, "company").read(raw) is None


@pytest.mark.parametrize("field", ["company", "data", "result", "item"])
def test_a_record_may_have_a_field_that_is_named_like_an_envelope(field: str) -> None:
    raw = {"id": ID, "name": "Acme", field: {"size": 3}}
    assert One(Company, "company").read(raw).wire == raw


@pytest.mark.parametrize(
    ("name", "verdict"), [("Acme, Inc.", True), ("ACME INC", True), ("Acmé (Inc)", True), ("Acme", False)]
)
def test_another_spelling_of_a_name_is_no_contradiction(name: str, verdict: bool) -> None:
    assert mentions("name").passes({"name": name}, "Acme Inc") is verdict


def test_describe_names_fields_and_never_values() -> None:
    assert describe({"secret": "value"}) == "an object with `secret`"
    assert describe([]) == "an empty list"


def test_path_is_filled_with_ids() -> None:
    assert GET_LEAD.url_path(lead_id=ID) == f"/api/crm/leads/{ID}"


def test_an_id_that_is_no_uuid_is_refused() -> None:
    with pytest.raises(InvalidInputError) as caught:
        GET_LEAD.url_path(lead_id="../../x")
    assert str(caught.value) == "`../../x` is no lead id: ids are UUIDs."


def test_an_activity_that_names_no_company_may_be_its_leads() -> None:
    [(_, check, _)] = ActivityFilter(company_id=ID).checks()
    rows: list[dict[str, Any]] = [{"companyId": ID}, {"companyId": OTHER}, {"companyId": None}, {}]
    assert [check.passes(row, ID) for row in rows] == [True, False, None, None]
