"""Where the CRM's own OpenAPI document says something else than the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from crm_mcp.crm import openapi
from crm_mcp.crm.contract import BASE_PATH, ENVELOPES, Many, One, Operation, Record, Written

Json = dict[str, Any]

METHODS = ("get", "post", "put", "patch", "delete")
COMBINATIONS = ("allOf", "anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Difference:
    """A point where the CRM's own document does not say what our contract says."""

    operation: str
    detail: str

    def cells(self) -> tuple[str, ...]:
        return self.operation, self.detail


def read_openapi(path: Path) -> Json:
    """The CRM's own document, from a JSON file.

    Raises ValueError, in one sentence, when the file does not hold a JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON.") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is not an OpenAPI document: it holds no JSON object.")  # noqa: TRY004
    return document


def compare_openapi(theirs: Json) -> list[Difference]:
    """Where the CRM's own document (OpenAPI 3.0 or 3.1) says something else than our contract.

    Raises ValueError, in one sentence, when the document is not one of the CRM's API.
    """
    if not str(theirs.get("openapi")).startswith("3."):
        raise ValueError("The document is not OpenAPI 3.0 or 3.1.")
    try:
        return _differences(_Document(theirs))
    except RecursionError as error:
        raise ValueError("The document's schemas are nested too deeply.") from error


def _differences(document: _Document) -> list[Difference]:
    described = {(their.method, _nameless(their.path)): their for their in document.operations()}
    if not described:
        raise ValueError(f"The document has no operation under {BASE_PATH}.")
    differences = []
    for ours in openapi.operations():
        their = described.pop((ours.method, _nameless(ours.wire_path)), None)
        details = their.differences(ours) if their else ["their document does not have it"]
        differences += [Difference(f"{ours.method} {ours.wire_path}", detail) for detail in details]
    unknown = [
        Difference(f"{their.method} {their.path}", "we do not know it") for their in described.values()
    ]
    return differences + unknown


def _nameless(path: str) -> str:
    """The path, whatever its parameters are called."""
    return re.sub(r"{[^}]*}", "{}", path)


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _quoted(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _alternatives(schema: Json) -> list[Any]:
    return [part for combination in COMBINATIONS for part in _list(schema.get(combination))]


@dataclass(frozen=True, slots=True)
class _Properties:
    """Named schemas, and which of the names are required."""

    schemas: Json
    required: set[str]


@dataclass(frozen=True, slots=True)
class _Document:
    """Somebody else's document, read with tolerance: what is missing or of another type counts as empty."""

    root: Json

    def operations(self) -> Iterator[_Theirs]:
        for path, reference in _object(self.root.get("paths")).items():
            item = self.resolve(reference)
            for method in METHODS:
                operation = _object(item.get(method))
                full = self._server_path(operation, item) + path.rstrip("/")
                start = full.find(f"{BASE_PATH}/")
                if operation and start >= 0:
                    parameters = [*_list(item.get("parameters")), *_list(operation.get("parameters"))]
                    yield _Theirs(self, method.upper(), full[start:], operation, parameters)

    def _server_path(self, *levels: Json) -> str:
        """The path of the server that is named nearest to the operation."""
        named = (_list(level.get("servers")) for level in (*levels, self.root))
        server = _object(next((servers[0] for servers in named if servers), None))
        url = str(server.get("url", ""))
        for name, variable in _object(server.get("variables")).items():
            url = url.replace(f"{{{name}}}", str(_object(variable).get("default")))
        return urlsplit(url).path.rstrip("/")

    def resolve(self, node: Any) -> Json:
        """The object that a chain of `$ref`s within the document ends at."""
        met: set[str] = set()
        while reference := str(_object(node).get("$ref", "")):
            node = None if reference in met else self._at(reference)
            if node is None:
                raise ValueError(f"The document's reference `{reference[:80]}` leads nowhere within it.")
            met.add(reference)
        return _object(node)

    def _at(self, reference: str) -> Any:
        """What a JSON pointer such as `#/components/schemas/Lead` points at; None where that is nothing."""
        root, *parts = reference.split("/")
        node: Any = self.root if root == "#" else None
        for part in parts:
            children = (
                {str(i): item for i, item in enumerate(node)} if isinstance(node, list) else _object(node)
            )
            node = children.get(unquote(part).replace("~1", "/").replace("~0", "~"))
        return node

    def properties(self, schema: Any) -> _Properties:
        """What the schema and its parts name; of alternatives, nothing is required."""
        node = self.resolve(schema)
        found = _Properties(dict(_object(node.get("properties"))), set(map(str, _list(node.get("required")))))
        for combination in COMBINATIONS:
            for part in map(self.properties, _list(node.get(combination))):
                found.schemas.update(part.schemas)
                found.required.update(part.required if combination == "allOf" else ())
        return found

    def enum(self, schema: Any) -> set[str]:
        """The texts that are allowed; empty where nothing limits them."""
        node = self.resolve(schema)
        own = {value for value in [*_list(node.get("enum")), node.get("const")] if isinstance(value, str)}
        return own.union(*map(self.enum, _alternatives(node)))

    def types(self, schema: Any) -> set[str]:
        """The JSON types that are allowed, null apart; empty where nothing limits them."""
        node = self.resolve(schema)
        kind = node.get("type")
        named = kind if isinstance(kind, list) else [kind]
        own = {"number" if name == "integer" else str(name) for name in named if name not in (None, "null")}
        return own.union(*map(self.types, _alternatives(node)))

    def is_list(self, schema: Any) -> bool:
        return "array" in self.types(schema)

    def json_schema(self, holder: Any) -> Json:
        """The schema of the JSON that a request body or a response carries; empty where none is given."""
        content = _object(self.resolve(holder).get("content"))
        return next(
            (self.resolve(_object(media).get("schema")) for kind, media in content.items() if "json" in kind),
            {},
        )


@dataclass(frozen=True, slots=True)
class _Theirs:
    """One operation of their document."""

    document: _Document
    method: str
    path: str
    operation: Json
    parameters: list[Any]

    def differences(self, ours: Operation[Any]) -> Iterator[str]:
        query = {"entityId": {}, **(openapi.properties(ours.filter) if ours.filter else {})}
        yield from self._named("query parameter", _Properties(query, set(query)), self._query())
        yield from self._body(ours)
        yield from self._answer(ours)

    def _named(self, kind: str, ours: _Properties, theirs: _Properties) -> Iterator[str]:
        missing, unknown = ours.schemas.keys() - theirs.schemas, theirs.schemas.keys() - ours.schemas
        if missing:
            they_have = f"; they have: {_quoted(unknown)}" if unknown else ""
            yield f"{kind} {_quoted(missing)}: they have none of that name{they_have}"
        elif unknown:
            yield f"{kind} {_quoted(unknown)}: we do not know it"
        for name, schema in ours.schemas.items():
            for facet, of in (("allow", self.document.enum), ("type it", self.document.types)):
                we, they = of(schema), of(theirs.schemas.get(name))
                if we and they and we != they:
                    yield f"{kind} `{name}`: they {facet} {_quoted(they)}; we {_quoted(we)}"
        for name in sorted(theirs.required - ours.required):
            yield f"{kind} `{name}`: they require it, we do not"

    def _query(self) -> _Properties:
        resolved = [self.document.resolve(parameter) for parameter in self.parameters]
        query = {
            str(parameter["name"]): parameter
            for parameter in resolved
            if parameter.get("in") == "query" and "name" in parameter
        }
        return _Properties(
            {name: parameter.get("schema") for name, parameter in query.items()},
            {name for name, parameter in query.items() if parameter.get("required")},
        )

    def _body(self, ours: Operation[Any]) -> Iterator[str]:
        if ours.body and "requestBody" not in self.operation:
            yield "body: they take none"
            return
        theirs = self.document.properties(self.document.json_schema(self.operation.get("requestBody")))
        # An object of which no field is described contradicts nothing.
        if theirs.schemas:
            # The entity may stand in the body as well; we name it in the query.
            theirs.schemas.pop("entityId", None)
            fields = openapi.properties(ours.body) if ours.body else {}
            required = openapi.required_names(ours.body) if ours.body else set()
            yield from self._named("body field", _Properties(fields, required | {"entityId"}), theirs)

    def _answer(self, ours: Operation[Any]) -> Iterator[str]:
        responses = _object(self.operation.get("responses"))
        successes = [answer for status, answer in responses.items() if str(status).startswith("2")]
        if responses and not successes:
            yield f"answer: they describe no 2xx, only {_quoted(set(responses))}"
        schema = next(filter(None, map(self.document.json_schema, successes)), {})
        match ours.answer:
            case Many(record=record, key=key):
                yield from self._list_key(schema, key)
                yield from self._record(record, self._rows(schema, key))
            case One(record=record, key=key) | Written(record=record, key=key):
                yield from self._record(record, self._enveloped(schema, key, openapi.required_names(record)))

    def _list_key(self, schema: Json, key: str) -> Iterator[str]:
        named = self.document.properties(schema).schemas
        if self.document.is_list(schema):
            yield f"answer: they send a bare list, we expect it under `{key}`"
        elif named and not self.document.is_list(named.get(key)):
            yield f"answer: they have no list `{key}`, but {_quoted(set(named))}"

    def _rows(self, schema: Json, key: str) -> Any:
        """What the list consists of; of any list there is, where none has a name that we know."""
        named = self.document.properties(schema).schemas
        candidates = [schema, *(named.get(name) for name in (key, *ENVELOPES)), *named.values()]
        found = next(filter(self.document.is_list, candidates), None)
        return self.document.resolve(found).get("items")

    def _enveloped(self, schema: Json, key: str, required: set[str]) -> Any:
        named = self.document.properties(schema).schemas
        inner = (named.get(name) for name in (key, *ENVELOPES))
        return next(
            (part for part in inner if required & self.document.properties(part).schemas.keys()), schema
        )

    def _record(self, record: type[Record], schema: Any) -> Iterator[str]:
        theirs = self.document.properties(schema).schemas
        if theirs:
            ours = openapi.properties(record)
            yield from self._named("answer field", _Properties(ours, set()), _Properties(theirs, set()))
