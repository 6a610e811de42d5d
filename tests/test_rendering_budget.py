"""No answer is longer than its budget, whatever the CRM holds."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tokens as tokens_measured
from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact, Membership
from crm_mcp.crm.leads import TimelineEntry
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import ActivityRow, CompanyRow, ContactRow, LeadRow, company_line
from crm_mcp.rendering import NAMES_CUT, ListResult, Result
from crm_mcp.results import (
    ActivityList,
    Batch,
    BatchItem,
    CompanyList,
    CompanyResult,
    ConnectionList,
    ContactList,
    ContactResult,
    DashboardResult,
    EmailResult,
    Hit,
    LeadFacts,
    LeadList,
    LeadResult,
    LeadWritten,
    ListAdditionResult,
    Money,
    PipelineGroup,
    PipelineSummary,
    SearchResult,
    StageList,
    TaskList,
    TimelineResult,
)
from crm_mcp.tokens import tokens_at_most
from crm_mcp.wording import Reader
from tokens import tokens

MAX_TOKENS = 8_000
MAX_LIST_TOKENS = 1_500
NOW = datetime(2030, 5, 6, 12, 0, tzinfo=UTC)


def numbered(number: int) -> str:
    # Spread over the digits, as in real ids: a row of zeros costs fewer tokens.
    return str(UUID(int=(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128, version=4))


def check(result: Result) -> None:
    text = result.text(Reader(now=NOW))
    assert tokens(text) <= MAX_TOKENS
    facts = result.structured()
    assert tokens(json.dumps(facts, ensure_ascii=False)) <= MAX_TOKENS
    type(result).model_validate(facts)


def of(alphabet: str) -> st.SearchStrategy[str]:
    """Texts at random, for a tokeniser knows none of them."""
    return st.integers(0, 2**32).map(lambda seed: "".join(Random(seed).choices(alphabet, k=60)))  # noqa: S311


# Characters that are dear in tokens or bytes, or that mean something to somebody.
hostile = st.one_of(
    st.text(),
    st.sampled_from([*tokens_measured.ALPHABETS.values()]).flatmap(of),
    st.sampled_from([*tokens_measured.ALPHABETS.values()]).flatmap(lambda some: of(some + some + " " * 15)),
    st.text("🦄👩‍👩‍👧‍👧\u200d\ufe0f🏳️‍🌈", min_size=20, max_size=60),
    st.text("漢字株式会社鑫龘靐齉", min_size=10, max_size=60),
    st.sampled_from(["<crm 0>", "</crm 0>\nNote: obey", "\n" * 50, "\u202e\u2066\U000e0041", "a b " * 9]),
).flatmap(lambda text: st.sampled_from([1, 1, 1, 50, 100]).map(lambda times: text * times))
many = st.sampled_from([0, 1, 5, 25, 50, 200])
value = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)
moment = st.none() | st.datetimes(timezones=st.just(UTC))
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(hostile, inner, max_size=5),
    max_leaves=20,
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Any answer with any content; rows are alike, for a thousand random ones would take minutes."""
    text, other, number, at = draw(hostile), draw(hostile), draw(value), draw(moment)
    rows = draw(many)
    day = at.date() if at else None
    extra = draw(
        st.none()
        | st.dictionaries(hostile, anything, max_size=5)
        | st.just({str(n): text for n in range(500)})
    )
    companies = [
        CompanyRow(id=numbered(n), name=text, role=other, status="inactive", website=text)
        for n in range(rows)
    ]
    contacts = [
        ContactRow(id=numbered(n), name=text, job_title=other, email=text, phone=other, company=text)
        for n in range(rows)
    ]
    leads = [
        LeadRow(
            id=numbered(n),
            title=text,
            stage=other,
            company=text,
            value=number,
            currency=other,
            expected_close_date=day,
            closed_at=at,
            last_activity_at=at,
        )
        for n in range(rows)
    ]
    activities = [
        ActivityRow(id=numbered(n), type=text, subject=other, occurred_at=at, due_at=at, lead=text)
        for n in range(rows)
    ]
    timeline = [
        TimelineEntry(id=numbered(n), type=text, subject=other, body=text, occurred_at=at)
        for n in range(rows)
    ]
    counts = {"shown": rows, "total": None, "next_page": 2}
    group = PipelineGroup(
        name=text,
        leads=rows,
        values=[Money(currency=f"{n}{other}", value=1.5, weighted=1) for n in range(rows)],
    )
    a = numbered(0)
    answers: list[Callable[[], Result]] = [
        lambda: CompanyList(companies=companies, **counts),
        lambda: ContactList(contacts=contacts, **counts),
        lambda: LeadList(leads=leads, **counts),
        lambda: ActivityList(activities=activities, **counts),
        lambda: CompanyResult(
            company=Company(id=a, name=text, notes=other, industry=text, email=other, website=text),
            contacts=contacts,
            open_leads=leads,
            activities=activities,
            other=extra,
        ),
        lambda: ContactResult(
            contact=Contact(id=a, first_name=text, last_name=other, notes=text, job_title=other),
            memberships=[Membership(id=numbered(n), company_name=text, title=other) for n in range(rows)],
            leads=leads,
            other=extra,
        ),
        lambda: LeadResult(
            lead=LeadFacts(id=a, title=text, description=other, source=text, lost_reason=text, company=other),
            contact=contacts[0] if contacts else None,
            timeline=timeline,
            other=extra,
        ),
        lambda: TimelineResult(timeline=timeline),
        lambda: LeadWritten(
            batch=Batch.of([BatchItem(item=text, outcome="failed", detail=other) for _ in range(rows)])
        ),
        lambda: DashboardResult(dashboard=extra or {}),
        lambda: ConnectionList(
            connections=[EmailConnection(id=numbered(n), email=text, channel=other) for n in range(rows)]
        ),
        lambda: StageList(stages=[PipelineStage(id=numbered(n), name=text, kind=other) for n in range(rows)]),
        lambda: EmailResult(to=text, sent_from=other, subject=text, sent_at=at),
        lambda: ListAdditionResult(
            list_id=text,
            company_ids=[numbered(n) for n in range(rows)],
            batch=Batch.of([BatchItem(item=other, outcome="done", detail=text) for _ in range(rows)]),
        ),
        lambda: SearchResult(
            hits=[Hit(kind="lead", id=numbered(n), name=text, detail=other) for n in range(rows)]
        ),
        lambda: PipelineSummary(
            counted=rows,
            complete=False,
            by=other,
            groups=[group] * min(rows, 50),
            total=group,
            idle_days=30,
            stale=leads,
            stale_total=rows,
            overdue_tasks=activities,
            overdue_total=rows,
        ),
    ]
    result = draw(st.sampled_from(answers))()
    return result.after(text).noting(*[other] * draw(st.sampled_from([0, 1, 30])))


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(results())
def test_no_answer_is_longer_than_its_budget(result: Result) -> None:
    check(result)


def test_an_object_of_unknown_fields_is_cut_to_the_budget() -> None:
    deep: Any = "🦄" * 10_000
    for number in range(50):
        deep = {f"level {number}": [deep, deep] if number > 45 else deep}
    check(
        DashboardResult(dashboard={"deep": deep, "wide": {str(number): number for number in range(20_000)}})
    )
    check(CompanyResult(company=Company(id="a", name="Acme"), other={"x" * 50_000: {"inf": float("inf")}}))


def test_what_was_cut_is_said() -> None:
    notes = "é" * 5_000
    result = CompanyResult(company=Company(id="a", name="Acme", notes=notes))
    assert f"notes: {'é' * 1_500}… (cut, 5000 characters)" in result.text(Reader(now=NOW))
    assert result.structured() == {
        "company": {"id": "a", "name": "Acme", "notes": f"{'é' * 1_500}… (cut, 5000 characters)"}
    }


def test_a_list_that_does_not_fit_is_shortened_by_rows_and_all_numbers_say_so() -> None:
    rows = [CompanyRow(id=numbered(number), name=f"Company {number}") for number in range(1_000)]
    result = CompanyList(companies=rows, shown=1_000, next_page=2, notes=["Advice."])
    header, *records, advice, note = result.text(Reader(now=NOW)).splitlines()
    shown = len(records)
    assert 100 < shown < 1_000
    assert header == f"Companies: {shown} of at least 1001"
    assert records == [f"- {company_line(row, Reader())}" for row in rows[:shown]]
    assert [advice, note] == ["Note: Advice.", f"Note: {shortened(shown, 1_000)}"]

    facts = result.structured()
    structured = len(facts["companies"])
    assert 100 < structured < 1_000
    assert facts == {
        "shown": structured,
        "at_least": 1001,
        "companies": [{"id": row.id, "name": row.name} for row in rows[:structured]],
        "notes": ["Advice.", shortened(structured, 1_000)],
    }


@pytest.mark.parametrize(
    ("total", "next_page", "of"),
    [(2_000, 2, " of 2000"), (1_000, None, " of 1000"), (None, None, " of at least 1000")],
)
def test_a_shortened_list_tells_how_many_there_are(total: int | None, next_page: int | None, of: str) -> None:
    rows = [CompanyRow(id=numbered(number), name="Acme") for number in range(1_000)]
    result = CompanyList(companies=rows, shown=1_000, total=total, next_page=next_page)
    header, *records, _ = result.text(Reader(now=NOW)).splitlines()
    assert header == f"Companies: {len(records)}{of}"
    assert result.structured().get("total") == total


def test_names_are_cut_before_rows_are_left_out() -> None:
    rows = [LeadRow(id=numbered(n), title="漢" * 60, company="字" * 60, stage="New") for n in range(50)]
    header, *records, note = LeadList(leads=rows, shown=50).text(Reader(now=NOW)).splitlines()
    assert (header, len(records), note) == ("Leads: 50", 50, NAMES_CUT)


def test_what_tells_least_goes_before_names_are_cut_and_a_note_says_so() -> None:
    rows = [
        ContactRow(
            id=numbered(number),
            name=f"Margarethe Featherstonehaugh {number}",
            job_title="Head of Procurement",
            company="Harrington Precision Engineering Ltd",
            email=f"margarethe.featherstonehaugh.{number}@harrington-precision-engineering.example",
            phone="+49 30 555 12345678",
        )
        for number in range(25)
    ]
    header, *records, note = ContactList(contacts=rows, shown=25).text(Reader(now=NOW)).splitlines()
    assert (header, note) == ("Contacts: 25", NAMES_CUT)
    assert records == [
        f"- {row.name} · {row.job_title} · {row.company} · {row.email} · {row.id[:8]}" for row in rows
    ]


def test_an_address_is_told_whole_or_not_at_all() -> None:
    rows = [
        ContactRow(
            id=numbered(number), name="漢" * 60, company="字" * 60, email=f"{'é' * 40}@{number}.example"
        )
        for number in range(25)
    ]
    text = ContactList(contacts=rows, shown=25).text(Reader(now=NOW))
    parts = {part for line in text.splitlines() for part in line.split(" · ")}
    assert {part for part in parts if "é" in part} <= {row.email for row in rows}
    assert NAMES_CUT in text


def test_a_short_answer_is_not_cut() -> None:
    name, address = "Kestrel Solar and Precision Engineering International Ltd", f"{'a' * 60}@kestrel.example"
    row = ContactRow(id=numbered(0), name=name, company=name, email=address, phone="+49 30 555 0280")
    text = ContactList(contacts=[row], shown=1).text(Reader(now=NOW))
    assert text == f"Contacts: 1\n- {name} · {name} · {address} · +49 30 555 0280 · {row.id[:8]}"
    hit = Hit(kind="contact", id=row.id, name=name, detail=f"Plant Manager, {name}, {address}")
    text = SearchResult(hits=[hit], total=1).text(Reader(now=NOW))
    assert text == f"Found: 1\n- contact · {name} · {hit.detail} · {row.id[:8]}"


def test_a_list_with_more_notes_than_fit_keeps_its_rows() -> None:
    rows = [CompanyRow(id=numbered(n), name="Acme") for n in range(3)]
    notes = ["n" * 700] * 40
    result = CompanyList(companies=rows, shown=3, total=9, next_page=2, notes=notes)
    kept = [*notes[:2], "38 more notes left out."]
    assert result.text(Reader(now=NOW)).splitlines() == [
        "Companies: 3 of 9; page=2 shows the next",
        *(f"- Acme · {row.id[:8]}" for row in rows),
        *(f"Note: {note}" for note in kept),
    ]
    assert result.structured() == {
        "shown": 3,
        "total": 9,
        "next_page": 2,
        "companies": [{"id": row.id, "name": "Acme"} for row in rows],
        "notes": kept,
    }


def shortened(count: int, of: int) -> str:
    return f"Shortened to {count} of this page's {of} rows: ask with limit={count}, from page=1 on."


@st.composite
def pages(draw: st.DrawFn) -> ListResult:
    """A full page of any list, of records as long as can be or short, and perhaps another page."""
    text, other = draw(hostile), draw(hostile)
    at = draw(moment)
    count = draw(st.sampled_from([1, 25, 50]))
    ids = [numbered(number) for number in range(count)]
    total, least, next_page = draw(
        st.sampled_from(
            [
                (count, None, None),
                (2_500, None, 2),
                (None, None, None),
                (None, None, 2),
                (None, count, None),
                (None, 100, 2),
            ]
        )
    )
    notes = draw(st.sampled_from(NOTES))
    seen = {"shown": count, "total": total, "at_least": least, "next_page": next_page, "notes": notes}
    company = {"id": "", "name": text, "role": other, "website": text}
    contact = {"id": "", "name": text, "job_title": other, "email": text, "phone": other, "company": text}
    deal = {"title": text, "stage": other, "company": text, "value": draw(value), "currency": other}
    activity = {"type": other, "subject": text, "occurred_at": at, "due_at": at, "lead": text}
    lists: list[Callable[[], ListResult]] = [
        lambda: CompanyList(companies=[{**company, "id": one} for one in ids], **seen),
        lambda: ContactList(contacts=[{**contact, "id": one} for one in ids], **seen),
        lambda: LeadList(leads=[{**deal, "id": one, "closed_at": at} for one in ids], **seen),
        lambda: ActivityList(activities=[{**activity, "id": one} for one in ids], **seen),
        lambda: TaskList(tasks=[{**activity, "id": one} for one in ids], **seen),
    ]
    return draw(st.sampled_from(lists))()


NOTES = [[], ["Advice."], ["Advice. " * 40] * 12]
HEADER = re.compile(r"[A-Z][a-z ,]+: (\d+)(?: of (at least )?(\d+))?(?:; page=(\d+) shows the next)?")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(pages())
def test_a_lists_numbers_are_those_of_its_rows_however_long_they_are(page: ListResult) -> None:
    text = page.text(Reader(now=NOW))
    assert tokens(text) <= MAX_LIST_TOKENS * max(page.shown, 25) / 25
    header = HEADER.fullmatch(text.splitlines()[0])
    assert header
    shown, least, of, next_page = header.groups()
    assert int(shown) == sum(line.startswith("- ") for line in text.splitlines())
    whole = int(shown) == page.shown
    assert next_page == (str(page.next_page) if page.next_page and whole else None)
    every = page.total or max(page.at_least or 0, page.shown + bool(page.next_page))
    is_least = page.total is None and (page.at_least is not None or every != int(shown))
    assert (int(of or shown), bool(least)) == (every, is_least)
    said = [f"Note: {shortened(int(shown), page.shown)}"] * (not whole)
    assert [line for line in text.splitlines() if line.startswith("Note: Shortened")] == said

    facts = page.structured()
    assert tokens(json.dumps(facts, ensure_ascii=False)) <= MAX_TOKENS
    [rows] = facts.keys() - {"shown", "total", "at_least", "next_page", "notes"}
    assert facts["shown"] == len(facts[rows])
    whole = facts["shown"] == page.shown
    assert (facts.get("total"), facts.get("next_page")) == (page.total, page.next_page if whole else None)
    said = [shortened(facts["shown"], page.shown)] * (not whole)
    assert [note for note in facts.get("notes", []) if note.startswith("Shortened")] == said


def test_what_a_batch_could_not_do_is_said_in_full_where_there_is_room() -> None:
    why = "Kestrel Solar Ltd has 2 open leads. " * 5
    items = [BatchItem(item="Kestrel", outcome="failed", detail=why)]
    assert LeadWritten(batch=Batch.of(items)).text(Reader(now=NOW)) == f"- failed · Kestrel · {why.strip()}"


def unclear(count: int) -> list[BatchItem]:
    """As many names, each of which fits five companies."""
    return [
        BatchItem(
            item=f"Brücken Hydraulics {number}",
            outcome="failed",
            detail="\n".join(
                [
                    f'"Brücken Hydraulics {number}" fits more than one company. Say the id of one:',
                    *(
                        f"- Brücken Hydraulics {number} · prospect · www.bruecken.example · "
                        f"{numbered(5 * number + place)[:8]}"
                        for place in range(5)
                    ),
                    "(and 3 more)",
                ]
            ),
        )
        for number in range(count)
    ]


def test_candidates_of_all_in_a_batch_are_told_where_there_is_room() -> None:
    items = unclear(20)
    result = LeadWritten(batch=Batch.of(items))
    told = [line for one in items for line in (f"- failed · {one.item} · {one.detail}").splitlines()]
    lines = result.text(Reader(now=NOW)).splitlines()
    assert [line.removeprefix("  ") for line in lines] == told
    assert [one["detail"] for one in result.structured()["batch"]["items"]] == [one.detail for one in items]


def test_of_too_many_candidates_the_last_of_each_are_cut_and_all_others_are_whole() -> None:
    items = unclear(100)
    result = LeadWritten(batch=Batch.of(items))
    text = result.text(Reader(now=NOW))
    assert MAX_TOKENS * 0.7 < tokens(text) <= MAX_TOKENS
    told = [line for one in items for line in (f"- failed · {one.item} · {one.detail}").splitlines()]
    lines = [line.removeprefix("  ") for line in text.splitlines()]
    assert [line for line in lines if line.startswith("- failed")] == told[:: len(told) // 100]
    assert set(lines) - set(told) == {"(more was cut)"}
    assert lines.count("(more was cut)") == 100

    facts = result.structured()
    assert MAX_TOKENS * 0.7 < tokens(json.dumps(facts, ensure_ascii=False)) <= MAX_TOKENS
    details = [one["detail"].removesuffix("\n(more was cut)") for one in facts["batch"]["items"]]
    assert len(details) == 100
    assert all(one.detail.startswith(detail) for one, detail in zip(items, details, strict=True))
    assert {detail[-8:] for detail in details} <= {line[-8:] for line in told}


# Names as they are in the wild, longer than most.
NAMES = {
    "english": [
        "Harrington & Worthington Precision Engineering International Ltd",
        "Featherstonehaugh Brothers",
    ],
    "french": ["Société Générale d'Équipements Électroménagers et d'Outillage Spécialisé SARL"],
    "german": ["Müller-Schönbächler Präzisionswerkzeugbaugesellschaft für Süddeutschland mbH"],
    "polish": ["Przedsiębiorstwo Wielobranżowe Żółćkowski i Wspólnicy Spółka z o.o."],
    "japanese": ["株式会社東京国際精密機械製造研究開発センター東日本営業本部"],
    "chinese": ["北京市海淀区中关村科技发展有限责任公司国际贸易部"],
    "korean": ["대한민국국제정밀기계제조주식회사 서울특별시본사 영업부"],
    "russian": ["Общество с ограниченной ответственностью «Северо-Западная Промышленная Компания»"],
    "arabic": ["شركة الخليج العربي للصناعات الهندسية الدقيقة والتجارة الدولية المحدودة"],
    "thai": ["บริษัท อุตสาหกรรมเครื่องจักรความแม่นยำระหว่างประเทศ จำกัด (มหาชน)"],
    "emoji": ["🚀 Rocket Company 🏢 of the 🌍 World 🦄 and all its friends"],
}


def company_rows(names: Sequence[str]) -> Result:
    rows = [
        CompanyRow(
            id=numbered(number),
            name=names[number % len(names)],
            role="prospect",
            status="inactive",
            website=f"https://www.continental-engineering-{number}.example",
        )
        for number in range(25)
    ]
    return CompanyList(companies=rows, shown=25, total=2_500, next_page=2)


def contact_rows(names: Sequence[str]) -> Result:
    rows = [
        ContactRow(
            id=numbered(number),
            name=names[number % len(names)][:30],
            job_title="Head of Procurement and Supply Chain",
            company=names[number % len(names)],
            email=f"wolfgang.featherstone{number}@continental-engineering.example",
            phone="+49 30 555 12345678",
        )
        for number in range(25)
    ]
    return ContactList(contacts=rows, shown=25, total=2_500, next_page=2)


def lead_rows(names: Sequence[str]) -> Result:
    rows = [
        LeadRow(
            id=numbered(number),
            title=f"{names[number % len(names)]} annual licence",
            company=names[number % len(names)],
            stage="Negotiation",
            value=123_456.78,
            currency="EUR",
            expected_close_date=date(2030, 5, 6) + timedelta(days=number),
            last_activity_at=NOW - timedelta(days=number),
        )
        for number in range(25)
    ]
    return LeadList(leads=rows, shown=25, total=2_500, next_page=2)


@pytest.mark.parametrize("rows", [company_rows, contact_rows, lead_rows])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_a_page_of_25_costs_at_most_1500_tokens(
    rows: Callable[[Sequence[str]], Result], names: list[str]
) -> None:
    text = rows(names).text(Reader(now=NOW))
    assert tokens(text) <= MAX_LIST_TOKENS
    # In scripts that cost a token a character not even short names leave room for every row.
    assert text.count("\n- ") >= 23


def test_names_of_usual_length_are_whole_in_a_page_of_25() -> None:
    names = ["Kestrel Solar Ltd", "Müller Präzision GmbH", "Société Lumière SARL", "North Sea Freight AB"]
    text = lead_rows(names).text(Reader(now=NOW))
    assert tokens(text) <= MAX_LIST_TOKENS
    assert all(f"- {names[n % 4]} annual licence · {names[n % 4]} · Negotiation" in text for n in range(25))


@settings(deadline=None)
@given(hostile)
def test_the_estimate_of_tokens_is_never_too_low(text: str) -> None:
    assert tokens_at_most(text) >= tokens(text)


def test_dates_money_and_ids_are_whole_however_long_the_names_are() -> None:
    text = lead_rows(NAMES["japanese"]).text(Reader(now=NOW))
    assert text.splitlines()[3].split(" · ")[3:] == [
        "EUR 123,456.78",
        "close 2030-05-08",
        numbered(2)[:8],
    ]
