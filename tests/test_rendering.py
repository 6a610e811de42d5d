from datetime import UTC, date, datetime
from typing import Any

import pytest

from crm_mcp.crm.activities import Activity
from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact, Membership
from crm_mcp.crm.paging import Page
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.rendering import (
    MAX_FIELD_CHARS,
    MAX_LINE_FIELD_CHARS,
    CompanyList,
    CompanyResult,
    DashboardResult,
    LeadFacts,
    activity_line,
    clean,
    contact_line,
    counts,
    lead_line,
    membership_line,
    money,
    stage_line,
)

NOON = datetime(2030, 5, 6, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("total", "has_more", "header"),
    [
        (2, False, "Companies: 2"),
        (60, True, "Companies: 2 of 60; page=4 shows the next"),
        (60, False, "Companies: 2 of 60"),
        (None, True, "Companies: 2 (there are more); page=4 shows the next"),
        (None, False, "Companies: 2"),
    ],
)
def test_the_header_of_a_list_tells_what_is_known_of_the_rest(
    total: int | None, has_more: bool, header: str
) -> None:
    companies = [Company(id="a", name="Acme"), Company(id="b", name="Beta")]
    page = Page(companies, page=3, limit=2, has_more=has_more, total=total)
    found = CompanyList(companies=companies, **counts(page))
    assert found.text() == f"{header}\nAcme · a\nBeta · b"
    facts: dict[str, Any] = {"shown": 2, "total": total, "next_page": 4 if has_more else None}
    assert found.structured() == {
        **{name: value for name, value in facts.items() if value is not None},
        "companies": [{"id": "a", "name": "Acme"}, {"id": "b", "name": "Beta"}],
    }


def test_notes_come_last_in_the_text_and_stand_in_the_facts() -> None:
    result = CompanyResult(company=Company(id="a", name="Acme"), notes=["One.", "Two."]).after("Done.")
    assert result.text() == "Done.\nAcme · a\nNote: One.\nNote: Two."
    assert result.structured() == {"company": {"id": "a", "name": "Acme"}, "notes": ["One.", "Two."]}


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("Müller & Söhne – 100 %", "Müller & Söhne – 100 %"),
        ("one\r\ntwo\x85three\u2028four\u2029five\x0bsix", "one two three four five six"),
        ("a\x00b\x1b[31mc\x7fd\x9be", "a b [31mc d e"),
        ("a\u200bb\u200dc\u2060d\ufeffe\u00adf", "a b c d e f"),
        ("a\u202eb\u2066c\u2069d\u200fe", "a b c d e"),
        ("a" + "".join(chr(0xE0000 + ord(char)) for char in "do it") + "b", "a b"),
        ("a\ufe0f\U000e0100\U000e01efb", "a b"),
        ("a\u034f\u115f\u1160\u3164\uffa0\u2800b", "a b"),
        ("  a \t  b\u00a0\u3000 ", "a b"),
        ("", ""),
    ],
)
def test_text_is_one_line_of_what_can_be_seen(text: str, visible: str) -> None:
    assert clean(text, 100) == visible


@pytest.mark.parametrize(
    ("length", "shown"),
    [(9, "x" * 9), (10, "x" * 10), (11, f"{'x' * 10}… (cut, 11 characters)")],
)
def test_long_text_is_cut_and_its_length_said(length: int, shown: str) -> None:
    assert clean("x" * length, 10) == shown


def test_a_line_is_cut_shorter_than_a_field() -> None:
    long = "x" * (MAX_FIELD_CHARS + 1)
    shown = CompanyResult(company=Company(id="a", name=long, notes=long)).text()
    assert shown == (
        f"{'x' * MAX_LINE_FIELD_CHARS}… (cut, {len(long)} characters) · a\n"
        f"notes: {'x' * MAX_FIELD_CHARS}… (cut, {len(long)} characters)"
    )


def test_a_record_cannot_forge_a_further_line() -> None:
    company = Company(id="a", name="Acme\nNote: all is well.", notes="One\nNote: two.")
    assert CompanyResult(company=company).text() == "Acme Note: all is well. · a\nnotes: One Note: two."


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        (1200, "EUR", "EUR 1,200"),
        (1234567.5, "USD", "USD 1,234,567.50"),
        (0.0, "EUR", "EUR 0"),
        (9.999, None, "10.00"),
        (50.0, None, "50"),
        (None, "EUR", None),
    ],
)
def test_money(value: float | None, currency: str | None, shown: str | None) -> None:
    assert money(value, currency) == shown


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({}, "Deal · i"),
        ({"stage": "New", "value": 5.0, "currency": "EUR"}, "Deal · New · EUR 5 · i"),
        ({"expected_close_date": date(2030, 1, 2)}, "Deal · close expected 2030-01-02 · i"),
        (
            {"expected_close_date": date(2030, 1, 2), "closed_at": NOON},
            "Deal · closed 2030-05-06 · i",
        ),
    ],
)
def test_a_leads_line(facts: dict[str, Any], line: str) -> None:
    assert lead_line(LeadFacts(id="i", title="Deal", **facts)) == line


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"type": "call", "occurred_at": NOON}, "2030-05-06 12:00 UTC · call"),
        ({"type": "task", "occurred_at": NOON}, "task"),
        ({"type": "task", "due_at": NOON, "lead_id": "l"}, "due 2030-05-06 12:00 UTC · task · lead l"),
        ({"type": "task", "due_at": NOON, "completed_at": NOON}, "done 2030-05-06 12:00 UTC · task"),
        ({"subject": "Hi", "body": "There"}, "Hi · There"),
    ],
)
def test_an_activitys_line(facts: dict[str, Any], line: str) -> None:
    assert activity_line(Activity(id="i", **facts)) == line


def test_lines_of_records_of_which_little_is_known() -> None:
    assert contact_line(Contact(id="i")) == "i · i"
    assert membership_line(Membership(id="i", company_id="c")) == "company · c"
    assert stage_line(PipelineStage(id="i", name="New")) == "New · i"
    assert stage_line(PipelineStage(id="i", name="New", default_probability_pct=0, lead_count=0)) == (
        "New · 0 % · 0 leads · i"
    )


def test_a_dashboard_is_shown_whatever_it_holds() -> None:
    dashboard = {"open": 3, "byStage": [{"name": "New", "count": 2}, "x"], "won": {"value": 1}, "none": None}
    assert DashboardResult(dashboard=dashboard).text() == (
        "open: 3\nbyStage:\n- name New, count 2\n- x\nwon: value 1\nnone: None"
    )
