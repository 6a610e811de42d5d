import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from crm_mcp.crm import openapi
from crm_mcp.crm.comparison import Difference, compare_openapi, read_openapi
from crm_mcp.crm.leads import Lead

Json = dict[str, Any]

LEADS = "/api/crm/leads"
COMPANIES = "/api/crm/companies"


@pytest.fixture
def theirs() -> Json:
    """A document that agrees with us in all."""
    return deepcopy(openapi.document())


def without_prefix(document: Json) -> None:
    document["servers"] = [
        {"url": "https://{tenant}.crm.test/api/crm", "variables": {"tenant": {"default": "a"}}}
    ]
    document["paths"] = {path.removeprefix("/api/crm"): item for path, item in document["paths"].items()}


def with_a_prefix_in_a_variable(document: Json) -> None:
    without_prefix(document)
    document["servers"] = [{"url": "{base}/crm", "variables": {"base": {"default": "/v1/api"}}}]


def with_servers_per_path(document: Json) -> None:
    without_prefix(document)
    for item in document["paths"].values():
        item["servers"] = document["servers"]
    del document["servers"]


def with_other_parameter_names(document: Json) -> None:
    document["paths"] = {
        path.replace("{leadId}", "{id}") + "/": item for path, item in document["paths"].items()
    }


def as_openapi_3_0(document: Json) -> None:
    document["openapi"] = "3.0.3"
    kind = document["components"]["schemas"]["StageChanges"]["properties"]["kind"]
    kind |= {"type": "string", "nullable": True, "enum": ["open", "won", "lost"]}


def with_composed_schemas(document: Json) -> None:
    schemas = document["components"]["schemas"]
    schemas["a/b"] = schemas.pop("NewLead")
    schemas["NewLead"] = {"allOf": [{"$ref": "#/components/schemas/a~1b"}, {"type": "object"}]}
    operation = document["paths"][LEADS]["get"]
    answer = operation["responses"].pop("2XX")
    schema = answer["content"]["application/json"]["schema"]
    operation["responses"]["200"] = {
        "description": "",
        "content": {"application/json; charset=utf-8": {"schema": {"anyOf": [schema, {"type": "null"}]}}},
    }


def with_shared_parameters(document: Json) -> None:
    for item in document["paths"].values():
        for operation in item.values():
            operation["parameters"].pop(0)
        item["parameters"] = [{"$ref": "#/components/parameters/entityId"}]


def with_undescribed_objects(document: Json) -> None:
    document["components"]["schemas"]["NewLead"] = {"type": "object"}
    document["paths"][LEADS]["get"]["responses"] = {"200": {"description": "A list"}}


def with_operations_of_other_rooms(document: Json) -> None:
    document["paths"]["/api/billing/invoices"] = {"get": {"responses": {}}}


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        without_prefix,
        with_a_prefix_in_a_variable,
        with_servers_per_path,
        with_other_parameter_names,
        as_openapi_3_0,
        with_composed_schemas,
        with_shared_parameters,
        with_undescribed_objects,
        with_operations_of_other_rooms,
    ],
)
def test_what_means_the_same_is_no_difference(theirs: Json, change: Callable[[Json], None]) -> None:
    change(theirs)
    assert compare_openapi(theirs) == []


def query_of(document: Json, path: str, name: str) -> Json:
    parameters: list[Json] = document["paths"][path]["get"]["parameters"]
    return next(parameter for parameter in parameters if parameter.get("name") == name)


def properties_of(document: Json, model: str) -> Json:
    found: Json = document["components"]["schemas"][model]["properties"]
    return found


def test_operations_that_only_one_side_has_are_told(theirs: Json) -> None:
    theirs["paths"][f"{LEADS}/{{id}}/merge"] = {"post": {"responses": {}}}
    del theirs["paths"][LEADS]["post"]
    assert compare_openapi(theirs) == [
        Difference("POST /api/crm/leads", "their document does not have it"),
        Difference("POST /api/crm/leads/{id}/merge", "we do not know it"),
    ]


def test_query_parameters_that_differ_are_told(theirs: Json) -> None:
    query_of(theirs, LEADS, "stage")["name"] = "stageName"
    query_of(theirs, LEADS, "stageName")["required"] = True
    query_of(theirs, COMPANIES, "role")["schema"]["enum"] = ["prospect", "customer", "partner"]
    assert compare_openapi(theirs) == [
        Difference(
            "GET /api/crm/companies",
            "query parameter `role`: they allow `customer`, `partner`, `prospect`; "
            "we `both`, `customer`, `prospect`, `vendor`",
        ),
        Difference(
            "GET /api/crm/leads",
            "query parameter `stage`: they have none of that name; they have: `stageName`",
        ),
        Difference("GET /api/crm/leads", "query parameter `stageName`: they require it, we do not"),
    ]


def test_an_operation_that_does_not_take_the_entity_is_told(theirs: Json) -> None:
    theirs["paths"]["/api/crm/dashboard"]["get"]["parameters"] = []
    assert compare_openapi(theirs) == [
        Difference("GET /api/crm/dashboard", "query parameter `entityId`: they have none of that name")
    ]


def test_body_fields_that_differ_are_told(theirs: Json) -> None:
    lead = theirs["components"]["schemas"]["NewLead"]
    lead["properties"]["amount"] = lead["properties"].pop("value")
    lead["required"] = ["title", "stageId", "entityId"]
    properties_of(theirs, "NewStage")["kind"]["enum"] = ["open", "closed"]
    del theirs["paths"]["/api/crm/pipeline-stages/{stageId}"]["delete"]["requestBody"]
    assert compare_openapi(theirs) == [
        Difference(
            "POST /api/crm/leads", "body field `value`: they have none of that name; they have: `amount`"
        ),
        Difference("POST /api/crm/leads", "body field `stageId`: they require it, we do not"),
        Difference(
            "POST /api/crm/pipeline-stages",
            "body field `kind`: they allow `closed`, `open`; we `lost`, `open`, `won`",
        ),
        Difference("DELETE /api/crm/pipeline-stages/{stageId}", "body: they take none"),
    ]


def test_a_body_that_we_do_not_send_is_told(theirs: Json) -> None:
    reason = {"type": "object", "properties": {"reason": {"type": "string"}}, "required": ["reason"]}
    theirs["paths"]["/api/crm/leads/{leadId}"]["delete"]["requestBody"] = {
        "content": {"application/json": {"schema": reason}}
    }
    assert compare_openapi(theirs) == [
        Difference("DELETE /api/crm/leads/{leadId}", "body field `reason`: we do not know it"),
        Difference("DELETE /api/crm/leads/{leadId}", "body field `reason`: they require it, we do not"),
    ]


def test_optional_parameters_that_we_do_not_know_and_other_types_are_told(theirs: Json) -> None:
    added = {"name": "sort", "in": "query", "schema": {"type": "string"}}
    theirs["paths"][LEADS]["get"]["parameters"].append(added)
    query_of(theirs, LEADS, "page")["schema"] = {"oneOf": [{"type": "string"}, {"type": "null"}]}
    properties_of(theirs, "NewLead")["value"]["type"] = ["string", "null"]
    properties_of(theirs, "NewLead")["probabilityPct"]["type"] = "integer"
    assert compare_openapi(theirs) == [
        Difference("GET /api/crm/leads", "query parameter `sort`: we do not know it"),
        Difference("GET /api/crm/leads", "query parameter `page`: they type it `string`; we `number`"),
        Difference("POST /api/crm/leads", "body field `value`: they type it `string`; we `number`"),
    ]


def test_fields_of_an_answer_that_differ_are_told(theirs: Json) -> None:
    membership = properties_of(theirs, "Membership")
    membership["role"] = membership.pop("title")
    properties_of(theirs, "Dashboard")["openLeads"] = {"type": "integer"}
    path = "/api/crm/contacts/{contactId}/company-memberships"
    role = "answer field `title`: they have none of that name; they have: `role`"
    assert compare_openapi(theirs) == [
        Difference(f"GET {path}", role),
        Difference(f"POST {path}", role),
        Difference(f"PATCH {path}/{{membershipId}}", role),
        Difference("GET /api/crm/dashboard", "answer field `openLeads`: we do not know it"),
    ]


def test_fields_of_an_answer_are_found_in_its_envelope(theirs: Json) -> None:
    rows = theirs["paths"][LEADS]["get"]["responses"]["2XX"]["content"]["application/json"]["schema"]
    rows["properties"]["leads"]["items"] = {"type": "object", "properties": {"id": {"type": "string"}}}
    lead = theirs["paths"]["/api/crm/leads/{leadId}"]["get"]["responses"]["2XX"]
    lead["content"]["application/json"]["schema"] = {
        "type": "object",
        "properties": {"data": rows["properties"]["leads"]["items"], "requestId": {"type": "string"}},
    }
    lacking = ", ".join(f"`{name}`" for name in sorted(openapi.properties(Lead).keys() - {"id"}))
    assert compare_openapi(theirs) == [
        Difference("GET /api/crm/leads", f"answer field {lacking}: they have none of that name"),
        Difference("GET /api/crm/leads/{leadId}", f"answer field {lacking}: they have none of that name"),
    ]


def test_an_operation_without_a_success_is_told(theirs: Json) -> None:
    responses = theirs["paths"]["/api/crm/dashboard"]["get"]["responses"]
    theirs["paths"]["/api/crm/dashboard"]["get"]["responses"] = {"default": responses["2XX"]}
    assert compare_openapi(theirs) == [
        Difference("GET /api/crm/dashboard", "answer: they describe no 2xx, only `default`")
    ]


@pytest.mark.parametrize(
    ("pointer", "leads_somewhere"), [("0", True), ("1", False), ("-1", False), ("x", False)]
)
def test_references_into_lists_are_followed(theirs: Json, pointer: str, leads_somewhere: bool) -> None:
    parameters = theirs["paths"]["/api/crm/dashboard"]["get"]["parameters"]
    theirs["components"]["parameters"]["all"] = parameters[:]
    parameters[0] = {"$ref": f"#/components/parameters/all/{pointer}"}
    if leads_somewhere:
        assert compare_openapi(theirs) == []
    else:
        with pytest.raises(ValueError, match="leads nowhere within it"):
            compare_openapi(theirs)


def test_lists_under_another_name_are_told(theirs: Json) -> None:
    bare = {"type": ["array", "null"], "items": {"type": "object"}}
    companies = theirs["paths"][COMPANIES]["get"]["responses"]["2XX"]["content"]["application/json"]
    leads = theirs["paths"][LEADS]["get"]["responses"]["2XX"]["content"]["application/json"]
    companies["schema"] = bare
    leads["schema"]["properties"]["rows"] = leads["schema"]["properties"].pop("leads")
    assert compare_openapi(theirs) == [
        Difference("GET /api/crm/companies", "answer: they send a bare list, we expect it under `companies`"),
        Difference(
            "GET /api/crm/leads", "answer: they have no list `leads`, but `page`, `pageSize`, `rows`, `total`"
        ),
    ]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({}, "The document is not OpenAPI 3.0 or 3.1."),
        ({"swagger": "2.0"}, "The document is not OpenAPI 3.0 or 3.1."),
        ({"openapi": "3.1.0"}, "The document has no operation under /api/crm."),
        ({"openapi": "3.1.0", "paths": [1]}, "The document has no operation under /api/crm."),
        (
            {"openapi": "3.1.0", "paths": {"/leads": {"get": {}}}},
            "The document has no operation under /api/crm.",
        ),
        (
            {"openapi": "3.1.0", "paths": {"/api/crm/leads": {"$ref": "leads.json"}}},
            "The document's reference `leads.json` leads nowhere within it.",
        ),
        (
            {"openapi": "3.1.0", "paths": {"/api/crm/leads": {"$ref": "#/components/pathItems/leads"}}},
            "The document's reference `#/components/pathItems/leads` leads nowhere within it.",
        ),
        (
            {"openapi": "3.1.0", "paths": {"/api/crm/leads": {"$ref": "#/paths/~1api~1crm~1leads"}}},
            "The document's reference `#/paths/~1api~1crm~1leads` leads nowhere within it.",
        ),
    ],
)
def test_a_document_that_cannot_be_compared_is_refused(document: Json, why: str) -> None:
    with pytest.raises(ValueError, match="The document") as caught:
        compare_openapi(document)
    assert str(caught.value) == why


def test_nonsense_within_a_document_counts_as_empty() -> None:
    nonsense: Json = {"get": {"parameters": [1, {"in": "query"}], "responses": [], "requestBody": "none"}}
    found = compare_openapi({"openapi": "3.0.0", "servers": ["x"], "paths": {LEADS: nonsense, COMPANIES: 1}})
    assert [difference.detail for difference in found if difference.operation == "GET /api/crm/leads"] == [
        "query parameter `companyId`, `contactId`, `entityId`, `page`, `pageSize`, `q`, `stage`, `stageId`: "
        "they have none of that name"
    ]


def test_schemas_that_contain_themselves_are_refused() -> None:
    looped = {"allOf": [{"$ref": "#/components/schemas/Lead"}]}
    body = {"content": {"application/json": {"schema": looped}}}
    document = {
        "openapi": "3.1.0",
        "components": {"schemas": {"Lead": looped}},
        "paths": {LEADS: {"post": {"requestBody": body}}},
    }
    with pytest.raises(ValueError, match=r"^The document's schemas are nested too deeply\.$"):
        compare_openapi(document)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(openapi.document()), encoding="utf-8")
    assert read_openapi(path) == openapi.document()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read: No such file or directory."),
        (b"openapi: 3.1.0", "is not JSON."),
        (b"\xff", "is not JSON."),
        (b"[]", "is not an OpenAPI document: it holds no JSON object."),
    ],
)
def test_a_file_that_holds_no_document_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "openapi.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="openapi") as caught:
        read_openapi(path)
    assert str(caught.value) == f"{path} {why}"
