"""What a handler gets and gives: the call of one key on one entity, and refusals with a status."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from crm_mcp.sandbox.store import Caller, Record, Store

Json = dict[str, Any]

_camel: Final = cache(to_camel)  # a page spells the same few names a thousand times


class ApiError(Exception):
    """A refusal: becomes `{"error": text}` with the status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Fields(BaseModel):
    """Declared fields of a body or a query string; unknown ones are dropped, as the real server does."""

    # Each is built with the first call that needs it: building all took most of the time of the import.
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", allow_inf_nan=False, defer_build=True)


F = TypeVar("F", bound=Fields)


@dataclass(frozen=True)
class Call:
    """One authorised request."""

    store: Store
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    json: Json

    def body_as(self, model: type[F]) -> F:
        return self._validated(model, self.json, strict=True)

    def query_as(self, model: type[F]) -> F:
        # Query values are text: numbers have to be read out of it.
        return self._validated(model, self.query, strict=False)

    def _validated(self, model: type[F], values: Mapping[str, Any], *, strict: bool) -> F:
        try:
            return model.model_validate(values, strict=strict, context={"me": self.caller.user_id})
        except ValidationError as error:
            raise ApiError(400, _sentence(error)) from error


# The status and the JSON body, which is None for 204.
Answer = tuple[int, Json | None]
Handler = Callable[[Call], Answer]
Operation = tuple[str, str, Handler]


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{name} is required."
    return f"{name}: {first['msg'].removeprefix('Value error, ')}."


def to_wire(record: Record) -> Json:
    """A record of the database with the names of the wire."""
    return {_camel(name): value for name, value in record.items()}
