"""Companies: rows 3 to 7 of `crm-api.md`.

A company that is `both` counts as customer and as vendor in the `role` filter (assumed).
"""

from typing import Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.listing import Conditions, Listing, SearchQuery, page, search
from crm_mcp.sandbox.search import company_texts
from crm_mcp.sandbox.store import new_id
from crm_mcp.sandbox.values import Email, Owner, OwnerFilter, RequiredText, Role, Status, Text

_SELECT: Final = """
    SELECT id, name, role, status, owner_user_id, website, industry, email, phone, notes,
        created_at, updated_at
    FROM companies
"""
_LIST: Final = Listing("companies", "companies", _SELECT, order="search, id")


class CompanyQuery(SearchQuery):
    role: Role | None = None
    status: Status | None = None
    owner_user_id: OwnerFilter | None = None


class CompanyPatch(Fields):
    name: RequiredText = ""
    role: Role = "prospect"
    status: Status = "active"
    owner_user_id: Owner | None = None
    website: Text | None = None
    industry: Text | None = None
    email: Email | None = None
    phone: Text | None = None
    notes: Text | None = None


class CompanyCreate(CompanyPatch):
    name: RequiredText


def list_companies(call: Call) -> Answer:
    query = call.query_as(CompanyQuery)
    conditions = _conditions(call, query)
    total = None
    if not query.q:
        sql = f"SELECT sum(n) FROM company_tally WHERE {conditions.sql()}"  # noqa: S608  (clauses are our own)
        total = call.store.number(sql, *conditions.parameters)
    search(call, "companies", query.q, conditions)
    return 200, page(call, query, _LIST, conditions, total=total)


def _conditions(call: Call, query: CompanyQuery) -> Conditions:
    """The filters, in terms that hold for the companies and for their tally."""
    conditions = Conditions(call.caller.entity_no)
    if query.status:
        conditions.add("status = ?", query.status)
    if query.role in ("customer", "vendor"):
        conditions.add("role IN (?, 'both')", query.role)
    elif query.role:
        conditions.add("role = ?", query.role)
    if query.owner_user_id:
        owner = "" if query.owner_user_id == "unassigned" else query.owner_user_id
        conditions.add("coalesce(owner_user_id, '') = ?", owner)
    return conditions


def create_company(call: Call) -> Answer:
    company = call.body_as(CompanyCreate).model_dump()
    company_id, now = new_id(), call.store.now()
    values = {"id": company_id, **company, "created_at": now, "updated_at": now, **company_texts(company)}
    call.store.insert_searched("companies", call.caller.entity_no, values)
    return 201, _company(call, company_id)


def get_company(call: Call) -> Answer:
    return 200, _company(call, records.of_path(call, "companies", "company_id")["id"])


def update_company(call: Call) -> Answer:
    company = records.of_path(call, "companies", "company_id")
    changes = call.body_as(CompanyPatch).model_dump(exclude_unset=True)
    if changes:
        changes |= {"updated_at": call.store.now(), **company_texts({**company, **changes})}
        call.store.update("companies", company["id"], changes)
    return 200, _company(call, company["id"])


def _company(call: Call, company_id: str) -> Json:
    [row] = call.store.all(f"{_SELECT} WHERE id = ?", company_id)
    return to_wire(row)


OPERATIONS: Final[list[Operation]] = [
    ("GET", "/companies", list_companies),
    ("POST", "/companies", create_company),
    ("GET", "/companies/{company_id}", get_company),
    ("PATCH", "/companies/{company_id}", update_company),
]
