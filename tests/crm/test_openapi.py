import json
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from crm_mcp.crm import openapi
from crm_mcp.crm.companies import CompanyFilter, NewCompany
from crm_mcp.crm.pipeline import PipelineStage

DOCS = Path(__file__).parents[2] / "docs"


def test_the_contract_has_34_operations_each_once() -> None:
    operations = openapi.operations()
    assert len(operations) == 34
    assert len({operation.name for operation in operations}) == 34
    assert len({(operation.method, operation.wire_path) for operation in operations}) == 34


def test_operations_come_family_by_family_as_declared() -> None:
    assert list(openapi.families()) == [
        "activities",
        "companies",
        "contacts",
        "leads",
        "outreach",
        "pipeline",
    ]
    assert [operation.name for operation in openapi.families()["companies"]] == [
        "list_companies",
        "create_company",
        "get_company",
        "update_company",
        "list_company_contacts",
    ]


def test_document_is_valid_openapi_3_1() -> None:
    assert list(OpenAPIV31SpecValidator(openapi.document()).iter_errors()) == []


def test_every_property_and_parameter_carries_its_evidence() -> None:
    marks = {"documented", "observed", "assumed"}
    document = openapi.document()
    schemas = document["components"]["schemas"].values()
    facts = [fact for schema in schemas for fact in schema["properties"].values()]
    for item in document["paths"].values():
        for operation in item.values():
            facts += [fact for fact in operation["parameters"] if "$ref" not in fact]
            facts.append(operation["responses"]["2XX"])
    facts += document["components"]["parameters"].values()
    facts += document["components"]["responses"].values()
    assert {fact["x-evidence"] for fact in facts} == marks


def test_only_required_fields_of_new_records_and_the_stages_are_documented() -> None:
    documented: dict[str, set[str]] = {}
    for model, shape in openapi.document()["components"]["schemas"].items():
        for name, fact in shape["properties"].items():
            if fact["x-evidence"] == "documented":
                documented.setdefault(model, set()).add(name)
    assert documented == {
        "Error": {"error"},
        "ListAddition": {"listId"},
        "NewActivity": {"type", "subject"},
        "NewCompany": {"name"},
        "NewLead": {"title"},
        "NewLeadActivity": {"type", "subject"},
        "NewMembership": {"companyId"},
        "NewStage": {"name"},
        "OutboundEmail": {"leadId", "connectionId", "channel", "subject", "htmlBody"},
        "PipelineStage": set(openapi.properties(PipelineStage)),
        "StageOrder": {"stageIds"},
    }


def test_document_describes_an_operation_in_full() -> None:
    document = openapi.document()
    described = document["paths"]["/api/crm/pipeline-stages/{stageId}"]["patch"]
    responses = described.pop("responses")
    assert described == {
        "operationId": "update_pipeline_stage",
        "summary": "Update a stage",
        "tags": ["pipeline"],
        "x-required-scope": "write:crm",
        "x-documented-error-responses": 3,
        "parameters": [
            {"$ref": "#/components/parameters/entityId"},
            {
                "name": "stageId",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "format": "uuid"},
                "x-evidence": "documented",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StageChanges"}}},
        },
    }
    assert list(responses) == ["2XX", "400", "401", "403", "404", "409", "429", "500"]
    assert document["components"]["schemas"]["StageChanges"]["properties"]["kind"] == {
        "type": ["string", "null"],
        "enum": ["open", "won", "lost", None],
        "x-evidence": "assumed",
    }


def test_query_parameters_are_never_null() -> None:
    parameters = openapi.document()["paths"]["/api/crm/companies"]["get"]["parameters"]
    assert {
        "name": "role",
        "in": "query",
        "schema": {"type": "string", "enum": ["prospect", "customer", "vendor", "both"]},
        "x-evidence": "observed",
    } in parameters


def test_properties_are_named_as_on_the_wire() -> None:
    assert openapi.properties(CompanyFilter)["ownerUserId"] == {
        "type": ["string", "null"],
        "x-evidence": "observed",
    }
    assert openapi.required_names(NewCompany) == {"name"}


@pytest.mark.parametrize("name", ["openapi.json", "contract.md"])
def test_committed_documents_are_those_that_the_declarations_give(name: str) -> None:
    committed = (DOCS / name).read_text(encoding="utf-8")
    assert committed == openapi.outputs()[name], "stale: run `python -m crm_mcp.crm.openapi docs`"


def test_documents_are_written_to_the_directory(tmp_path: Path) -> None:
    openapi.write(tmp_path)
    assert json.loads((tmp_path / "openapi.json").read_text(encoding="utf-8")) == openapi.document()
    assert (tmp_path / "contract.md").read_text(encoding="utf-8") == openapi.contract_page()
