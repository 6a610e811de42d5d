"""The contract as a document: an OpenAPI 3.1 description and a page to read, derived from the declarations.

`python -m crm_mcp.crm.openapi DIRECTORY` writes both.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from crm_mcp import crm
from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    OBSERVED,
    Evidence,
    Many,
    One,
    Operation,
    PagedFilter,
    Record,
    WireModel,
    Written,
)

Json = dict[str, Any]

SCHEMA_REF = "#/components/schemas/{model}"
ENTITY_ID = {"$ref": "#/components/parameters/entityId"}
UUID_SCHEMA = {"type": "string", "format": "uuid"}

ERRORS: dict[int, tuple[str, Evidence]] = {
    400: ("The input is invalid.", OBSERVED),
    401: ("The key is unknown or revoked.", OBSERVED),
    403: ("The key lacks the scope, or belongs to another entity.", OBSERVED),
    404: ("There is no such record.", OBSERVED),
    409: ("The record's state does not allow it.", ASSUMED),
    429: ("The key's rate limit is reached.", OBSERVED),
    500: ("The CRM failed.", OBSERVED),
}

FACTS: list[tuple[str, Evidence]] = [
    ("All paths are under `/api/crm`; the host is configuration", DOCUMENTED),
    ("The key is sent as `Authorization: Bearer ak_...`", DOCUMENTED),
    ("`entityId` (UUID) is required in every call's query, and must match the key's entity", DOCUMENTED),
    ("A mismatch of key and entity answers 403", OBSERVED),
    ("The scopes are `read:crm` and `write:crm`", DOCUMENTED),
    ("A GET needs `read:crm`, everything else `write:crm`", ASSUMED),
    ("`write:crm` implies `read:crm`", OBSERVED),
    ('Errors are `{"error": string}`', DOCUMENTED),
    ("Rate limits are per key, of the order of 100 reads and 30 writes a minute", OBSERVED),
    ("`Retry-After` tells when a limit ends", ASSUMED),
    ("`X-RateLimit-Reset` comes with a limit; whether seconds or a time, nobody documented", OBSERVED),
    ("Ids are UUIDs, names are camelCase", DOCUMENTED),
    ("Timestamps are ISO 8601 in UTC, dates `YYYY-MM-DD`", ASSUMED),
    ("In a PATCH, `null` clears a field and absence keeps it", ASSUMED),
    ("`GET /pipeline-stages` answers with `stages` in an object", DOCUMENTED),
    ("The other lists come likewise, under their plural name", ASSUMED),
    ("Pages are told by `total`, `page` and `pageSize` beside the list", ASSUMED),
    ("Any 2xx is success; its body may be empty", ASSUMED),
]

MARKS = {DOCUMENTED: "●", OBSERVED: "◐", ASSUMED: "○"}
LEGEND = {
    DOCUMENTED: "stands in the CRM's reference page",
    OBSERVED: "read in another public copy of that page, or in one of its sibling pages",
    ASSUMED: "nobody documented it; chosen in the vocabulary of the documented names",
}


class _WireSchema(GenerateJsonSchema):
    """JSON schema as OpenAPI 3.1 likes it: `null` is a type among others, no titles, no defaults of null."""

    def nullable_schema(self, schema: Any) -> Json:
        inner = self.generate_inner(schema["schema"])
        nullable = inner | {"type": [inner["type"], "null"]}
        return nullable | {"enum": [*inner["enum"], None]} if "enum" in inner else nullable

    def default_schema(self, schema: Any) -> Json:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # overrides
        return False


def families() -> dict[str, list[Operation[Any]]]:
    """The operations by family, in the order in which each module declares them."""
    found = {
        module.name: [
            value
            for value in vars(importlib.import_module(f"{crm.__name__}.{module.name}")).values()
            if isinstance(value, Operation)
        ]
        for module in pkgutil.iter_modules(crm.__path__)
        if module.name != "openapi"
    }
    return {family: declared for family, declared in sorted(found.items()) if declared}


def operations() -> list[Operation[Any]]:
    """All operations of the contract, family by family."""
    return [operation for declared in families().values() for operation in declared]


def properties(model: type[WireModel]) -> dict[str, Json]:
    """The schema of each field by its wire name, with its evidence as `x-evidence`."""
    return dict(_schemas(model)[model.__name__]["properties"])


def required_names(model: type[WireModel]) -> set[str]:
    """The wire names of the fields that must be set."""
    return set(_schemas(model)[model.__name__].get("required", []))


def document() -> Json:
    """What we believe of the CRM, as OpenAPI 3.1."""
    legend = "; ".join(f"{evidence.value} ({meaning})" for evidence, meaning in LEGEND.items())
    paths: dict[str, Json] = {}
    for family, declared in families().items():
        for operation in declared:
            paths.setdefault(operation.wire_path, {})[operation.method.lower()] = _operation(
                operation, family
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The CRM's HTTP API, as crm-mcp believes it to be",
            "version": "1",
            "description": "Not the vendor's document: generated from this client's declarations. "
            f"`x-evidence` says how well each fact is known: {legend}.",
        },
        "servers": [{"url": "https://crm.example.com", "description": "A placeholder"}],
        "security": [{"apiKey": []}],
        "tags": [{"name": family} for family in families()],
        "paths": paths,
        "components": _components(),
    }


def _components() -> Json:
    return {
        "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "x-evidence": DOCUMENTED.value}},
        "parameters": {
            "entityId": {
                "name": "entityId",
                "in": "query",
                "required": True,
                "description": "The entity; it must match the key's.",
                "schema": UUID_SCHEMA,
                "x-evidence": DOCUMENTED.value,
            }
        },
        "schemas": {
            "Error": {
                "type": "object",
                "properties": {"error": {"type": "string", "x-evidence": DOCUMENTED.value}},
                "required": ["error"],
            },
            **_schemas(*_models()),
        },
        "responses": {
            f"Error{status}": {
                "description": meaning,
                "content": _json(SCHEMA_REF.format(model="Error")),
                "x-evidence": evidence.value,
            }
            for status, (meaning, evidence) in ERRORS.items()
        },
    }


def _models() -> list[type[WireModel]]:
    used = [
        model
        for operation in operations()
        for model in (operation.body, getattr(operation.answer, "record", None))
        if model
    ]
    return sorted(set(used), key=lambda model: model.__name__)


def _schemas(*models: type[WireModel]) -> dict[str, Json]:
    _, generated = models_json_schema(
        [(model, "validation") for model in models], ref_template=SCHEMA_REF, schema_generator=_WireSchema
    )
    shapes: dict[str, Json] = generated["$defs"]
    for model in models:
        shape = shapes[model.__name__]
        # What we refuse to send says nothing about what the CRM would take.
        shape.pop("additionalProperties", None)
        del shape["title"]
        for name, info in model.model_fields.items():
            shape["properties"][model.wire_name(name)]["x-evidence"] = Evidence.of(info).value
    return shapes


def _operation(operation: Operation[Any], family: str) -> Json:
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [family],
        "x-required-scope": operation.scope,
        "x-documented-error-responses": operation.error_responses,
        "parameters": [ENTITY_ID, *_path_parameters(operation), *_query_parameters(operation)],
    }
    if operation.body:
        described["requestBody"] = {"required": True, "content": _json(_reference(operation.body))}
    described["responses"] = {
        "2XX": _success(operation),
        **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in ERRORS},
    }
    return described


def _path_parameters(operation: Operation[Any]) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": UUID_SCHEMA, "x-evidence": DOCUMENTED.value}
        for name in re.findall(r"{(\w+)}", operation.wire_path)
    ]


def _query_parameters(operation: Operation[Any]) -> list[Json]:
    shapes = properties(operation.filter) if operation.filter else {}
    return [
        {
            "name": name,
            "in": "query",
            "schema": _not_null({key: value for key, value in shape.items() if key != "x-evidence"}),
            "x-evidence": shape["x-evidence"],
        }
        for name, shape in shapes.items()
    ]


def _not_null(shape: Json) -> Json:
    """A query parameter's schema: where Python says None, it is not sent."""
    allowed = {"enum": [value for value in shape["enum"] if value is not None]} if "enum" in shape else {}
    return shape | {"type": next(kind for kind in shape["type"] if kind != "null")} | allowed


def _success(operation: Operation[Any]) -> Json:
    match operation.answer:
        case One(record=record):
            return _answer("The record.", _reference(record), operation.evidence)
        case Written(record=record):
            return _answer(
                "Done; the answer may show the record, or be empty.", _reference(record), operation.evidence
            )
        case Many(record=record, key=key):
            return _answer("The list.", _envelope(record, key, operation), operation.evidence)
        case _:
            return {
                "description": "Done; the answer's body is of no interest.",
                "x-evidence": operation.evidence.value,
            }


def _answer(description: str, schema: Json | str, evidence: Evidence) -> Json:
    return {"description": description, "content": _json(schema), "x-evidence": evidence.value}


def _envelope(record: type[Record], key: str, operation: Operation[Any]) -> Json:
    rows = {
        "type": "array",
        "items": {"$ref": _reference(record)},
        "x-evidence": operation.evidence.value,
    }
    paged = operation.filter is not None and issubclass(operation.filter, PagedFilter)
    number = {"type": "integer", "x-evidence": ASSUMED.value}
    place = {name: dict(number) for name in ("total", "page", "pageSize")} if paged else {}
    return {"type": "object", "properties": {key: rows, **place}, "required": [key]}


def _reference(model: type[BaseModel]) -> str:
    return SCHEMA_REF.format(model=model.__name__)


def _json(schema: Json | str) -> Json:
    return {"application/json": {"schema": {"$ref": schema} if isinstance(schema, str) else schema}}


def contract_page() -> str:
    """The contract as Markdown: one table per family."""
    lines = [
        "# What we believe of the CRM's wire",
        "",
        "Generated from the declarations in `src/crm_mcp/crm/` by `python -m crm_mcp.crm.openapi docs`; "
        "`openapi.json` beside it says the same with types. Neither is the vendor's document.",
        "",
        "Every name carries the mark of its evidence; required names are bold.",
        "",
        *(f"- {MARKS[evidence]} {evidence.value}: {meaning}" for evidence, meaning in LEGEND.items()),
        "",
        "## Common to all operations",
        "",
        "| fact | evidence |",
        "| --- | :-: |",
        *(f"| {fact} | {MARKS[evidence]} |" for fact, evidence in FACTS),
        *(
            f"| {status}: {meaning.removesuffix('.')} | {MARKS[evidence]} |"
            for status, (meaning, evidence) in ERRORS.items()
        ),
    ]
    for family, declared in families().items():
        lines += [
            "",
            f"## {family.capitalize()}",
            "",
            "| operation | method and path | query | body | answer | documented errors |",
            "| --- | --- | --- | --- | --- | :-: |",
            *(_operation_row(operation) for operation in declared),
        ]
    lines += ["", "## Records", "", "| record | fields |", "| --- | --- |"]
    lines += [
        f"| {model.__name__} | {_names(model) or 'none known'} |"
        for model in _models()
        if issubclass(model, Record)
    ]
    return "\n".join(lines) + "\n"


def _operation_row(operation: Operation[Any]) -> str:
    cells = (
        operation.summary,
        f"`{operation.method} {operation.wire_path}`",
        _names(operation.filter),
        _names(operation.body),
        f"{_answer_name(operation)} {MARKS[operation.evidence]}",
        str(operation.error_responses),
    )
    return f"| {' | '.join(cells)} |"


def _answer_name(operation: Operation[Any]) -> str:
    match operation.answer:
        case Many(record=record, key=key):
            return f"`{key}[]` of {record.__name__}"
        case One(record=record):
            return record.__name__
        case Written(record=record):
            return f"{record.__name__} or nothing"
        case _:
            return "nothing of interest"


def _names(model: type[WireModel] | None) -> str:
    return ", ".join(_name(info) for info in model.model_fields.values()) if model else ""


def _name(info: FieldInfo) -> str:
    bold = "**" if info.is_required() else ""
    return f"{bold}`{info.alias}`{bold} {MARKS[Evidence.of(info)]}"


def outputs() -> Mapping[str, str]:
    """The generated files, by name."""
    return {
        "openapi.json": json.dumps(document(), indent=2, ensure_ascii=False) + "\n",
        "contract.md": contract_page(),
    }


def write(directory: Path) -> None:
    for name, text in outputs().items():
        (directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
