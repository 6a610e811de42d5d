"""What an operator can set, by flags, environment and a file; whatever is set wrong is an error."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from crm_mcp.calls import GUARDED, Policy
from crm_mcp.crm.address import check_base_url, is_loopback
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Effect, Toolset

MIN_TOKEN_CHARS = 32
TOKEN = rf"[!-~]{{{MIN_TOKEN_CHARS},}}"
NAME = r"[A-Za-z0-9._@+-]{1,64}"
UNNAMED = "http token"  # no name can be like it
IN_MEMORY = ":memory:"
TEXT = "utf-8-sig"  # editors on Windows put a mark at the start
NO_HOME = "there is no such home directory"


class SettingsError(Exception):
    """Something is set wrong; the text is a sentence for the operator and holds no secret."""


def _comma_separated(value: Any) -> Any:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _toolset_names(value: Any) -> Any:
    names = _comma_separated(value)
    if not isinstance(names, tuple):
        return value
    every = [toolset.value for toolset in Toolset]
    if "all" in names:
        return frozenset(every)
    for name in names:
        if name not in every:
            close = difflib.get_close_matches(name, every, n=1)
            hint = f"; did you mean {close[0]}?" if close else "."
            raise ValueError(f"there is no toolset {name!r}{hint} Toolsets: {', '.join(every)}, all")
    if not names:
        raise ValueError(f"names no toolset. Toolsets: {', '.join(every)}, all")
    return frozenset(names)


def _list_aliases(value: Any) -> Any:
    """`newsletter=<uuid>,...` as a mapping."""
    parts = _comma_separated(value)
    if not isinstance(parts, tuple):
        return value
    lists: dict[str, str] = {}
    for part in parts:
        alias, _, list_id = (piece.strip() for piece in part.partition("="))
        try:
            found = str(UUID(list_id)) if alias else ""
        except ValueError:
            found = ""
        if not found:
            raise ValueError(f"must be alias=UUID, comma-separated; {part!r} is not")
        if alias.casefold() in map(str.casefold, lists):
            raise ValueError(f"names {alias!r} twice")
        lists[alias] = found
    return lists


def _named_tokens(value: Any) -> Any:
    """`anna=<token>,...` as a mapping; an error tells places only, for what it quoted might be a token."""
    parts = _comma_separated(value)
    if not isinstance(parts, tuple):
        return value
    if not parts:
        raise ValueError("names no token")
    entries = [[piece.strip() for piece in part.partition("=")] for part in parts]
    for place, (name, equals, token) in enumerate(entries, 1):
        if not equals or not re.fullmatch(NAME, name):
            raise ValueError(
                "must be name=token, comma-separated, names of at most 64 letters, digits and . _ @ + -; "
                f"entry {place} is not"
            )
        if not re.fullmatch(TOKEN, token):
            raise ValueError(
                f"entry {place}: a token must have at least {MIN_TOKEN_CHARS} characters, without spaces"
            )
    _refuse_twice("name", [name.casefold() for name, _, _ in entries])
    _refuse_twice("token", [token for _, _, token in entries])
    return {name: SecretStr(token) for name, _, token in entries}


def _refuse_twice(what: str, values: list[str]) -> None:
    for place, value in enumerate(values):
        if (first := values.index(value)) != place:
            raise ValueError(f"entries {first + 1} and {place + 1} have the same {what}")


def _guarded_tools(value: Any) -> Any:
    """`+update_company,-add_to_marketing_list`: tools added to the guarded ones, and taken from them."""
    parts = _comma_separated(value)
    if not isinstance(parts, tuple):
        return value
    from crm_mcp.tools.surface import published  # noqa: PLC0415  # only where it is set

    writing = [facts["tool"]["name"] for facts in published() if facts["effect"] != Effect.READ.value]
    guarded = set(GUARDED)
    for part in parts:
        name = part[1:]
        if (
            part[0] not in "+-"
            or name not in writing
            or parts.count(f"+{name}") + parts.count(f"-{name}") > 1
        ):
            close = difflib.get_close_matches(name, writing, n=1)
            hint = f"; did you mean {close[0]}?" if close and name not in writing else ""
            if part in writing:
                hint = f"; say +{part} or -{part}"
            raise ValueError(f"must be +TOOL or -TOOL of a writing tool, once each; {part!r} is not{hint}")
        (guarded.add if part[0] == "+" else guarded.discard)(name)
    return frozenset(guarded)


def _host_and_port(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(?:(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s/\[\]]+):)?(?P<port>\d{1,5})", value.strip())
    if not match or int(match["port"]) > 65535:
        raise ValueError("must be [HOST:]PORT, such as 8000 or 127.0.0.1:8000")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


def _read(what: str, path: str) -> str:
    """Raises SettingsError, which goes through a validator as it is."""
    try:
        return Path(path).expanduser().read_text(TEXT)
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is not text"
    except RuntimeError:
        reason = NO_HOME
    raise SettingsError(f"{what} cannot be read: {path}: {reason}")


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_separated)]
Count = Annotated[int, Field(ge=0, le=100_000)]
Seconds = Annotated[float, Field(gt=0, le=600)]


def _setting(variable: str, default: Any, description: str, **limits: Any) -> Any:
    """A setting by its name in the environment; the description is what the README says of it."""
    return Field(default, alias=variable, description=description, **limits)


class Settings(BaseModel):
    """A complete and consistent configuration; the aliases are the environment's names.

    Without `base_url` the CRM is the embedded one, its data at `sandbox` (empty: in the user's data
    directory; `:memory:`: nowhere).
    """

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="forbid")

    base_url: str = _setting("CRM_BASE_URL", "", "The CRM's address, the part before `/api/crm`; https.")
    api_key: SecretStr = _setting("CRM_API_KEY", SecretStr(""), "The key, `ak_...`.")
    api_key_file: str = _setting("CRM_API_KEY_FILE", "", "A file with the key, instead of the key.")
    entity_id: str = _setting("CRM_ENTITY_ID", "", "The entity (UUID) that the key belongs to.")
    sandbox: str = _setting(
        "CRM_MCP_SANDBOX",
        "",
        "The embedded CRM's database file, or `:memory:`; else in the user's data directory.",
    )
    toolsets: Annotated[frozenset[Toolset], BeforeValidator(_toolset_names)] = _setting(
        "CRM_MCP_TOOLSETS",
        DEFAULT_TOOLSETS,
        "Comma-separated: read, sales, email, lists, delete, pipeline; or all.",
    )
    marketing_lists: Annotated[dict[str, str], BeforeValidator(_list_aliases)] = _setting(
        "CRM_MARKETING_LISTS", {}, "Names for marketing lists: `newsletter=<uuid>,...`; the CRM lists none."
    )
    read_only: bool = _setting("CRM_MCP_READ_ONLY", False, "Only reading tools, and only GETs to the CRM.")
    http: Annotated[tuple[str, int] | None, BeforeValidator(_host_and_port)] = _setting(
        "CRM_MCP_HTTP", None, "Serve streamable HTTP on [HOST:]PORT instead of stdio."
    )
    http_token: SecretStr = _setting(
        "CRM_MCP_HTTP_TOKEN", SecretStr(""), "The Bearer token that clients must send; 32 characters or more."
    )
    http_tokens: Annotated[dict[str, SecretStr], BeforeValidator(_named_tokens)] = _setting(
        "CRM_MCP_HTTP_TOKENS",
        {},
        "A token for each person instead: `anna=<token>,ben=<token>`; writes are on record under the names.",
    )
    http_allowed_hosts: Names = _setting(
        "CRM_MCP_HTTP_ALLOWED_HOSTS", (), "Host names that clients use, besides loopback; comma-separated."
    )
    http_allowed_origins: Names = _setting(
        "CRM_MCP_HTTP_ALLOWED_ORIGINS",
        (),
        "Origins of web pages that may connect, such as `https://app.example.com`.",
    )
    connect_timeout: Seconds = _setting("CRM_MCP_CONNECT_TIMEOUT", 5.0, "Seconds to connect to the CRM.")
    write_timeout: Seconds = _setting("CRM_MCP_WRITE_TIMEOUT", 15.0, "Seconds to send a request.")
    read_timeout: Seconds = _setting(
        "CRM_MCP_READ_TIMEOUT", 30.0, "Seconds to wait for the CRM's next bytes."
    )
    total_timeout: Seconds = _setting(
        "CRM_MCP_TOTAL_TIMEOUT", 60.0, "Seconds that one request to the CRM may take with its retries."
    )
    max_in_flight: int = _setting(
        "CRM_MCP_MAX_IN_FLIGHT", 8, "Requests to the CRM at once, at most 100.", ge=1, le=100
    )
    approval: Literal["ask", "client", "never"] = _setting(
        "CRM_MCP_APPROVAL",
        "ask",
        "Who approves guarded tools: `ask` a person, trust the `client` to have asked, or `never`.",
    )
    approval_minutes: Annotated[float, Field(gt=0, le=1440)] = _setting(
        "CRM_MCP_APPROVAL_MINUTES", 10.0, "How long an approval waits for a person, and then for its call."
    )
    guard: Annotated[frozenset[str], BeforeValidator(_guarded_tools)] = _setting(
        "CRM_MCP_GUARD", GUARDED, "Changes to the guarded tools: `+update_company,-add_to_marketing_list`."
    )
    emails_per_hour: Count = _setting("CRM_MCP_EMAILS_PER_HOUR", 30, "E-mails that are sent at most an hour.")
    emails_per_day: Count = _setting("CRM_MCP_EMAILS_PER_DAY", 100, "And a day.")
    emails_per_recipient: Count = _setting("CRM_MCP_EMAILS_PER_RECIPIENT", 5, "And a day to one address.")
    ledger: str = _setting(
        "CRM_MCP_LEDGER", "", "The file that records all writes; else in the user's data directory."
    )
    ledger_days: Annotated[int, Field(ge=1, le=36_500)] = _setting(
        "CRM_MCP_LEDGER_DAYS", 400, "How long it keeps them."
    )
    ledger_digests: bool = _setting(
        "CRM_MCP_LEDGER_DIGESTS",
        False,
        "Keep digests in place of the texts of e-mails and activities; previews for approval keep them.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = _setting(
        "CRM_MCP_LOG_LEVEL", "WARNING", "DEBUG, INFO, WARNING or ERROR; to stderr."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("entity_id")
    @classmethod
    def _is_uuid(cls, value: str) -> str:
        try:
            return str(UUID(value)) if value else ""
        except ValueError:
            raise ValueError("is no UUID; the CRM shows the entity's id beside its API keys") from None

    @field_validator("ledger")
    @classmethod
    def _is_a_file(cls, value: str) -> str:
        if value == IN_MEMORY:
            raise ValueError("must be a file: what is kept in memory nobody could approve or find again")
        return value

    @field_validator("sandbox", "ledger")
    @classmethod
    def _from_home(cls, value: str) -> str:
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError:
            raise ValueError(f"{NO_HOME}: {value}") from None

    @model_validator(mode="before")
    @classmethod
    def _key_from_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        path = values.get("CRM_API_KEY_FILE")
        if not path:
            return values
        if values.get("CRM_API_KEY"):
            raise ValueError("CRM_API_KEY and CRM_API_KEY_FILE are both set; set one")
        if path.startswith("ak_"):
            raise ValueError("CRM_API_KEY_FILE is for a file's path; the key itself goes into CRM_API_KEY")
        key = _read("CRM_API_KEY_FILE", path).strip()
        if not key:
            raise ValueError(f"CRM_API_KEY_FILE is empty: {path}")
        return values | {"CRM_API_KEY": key}

    @model_validator(mode="after")
    def _crm_is_whole(self) -> Settings:
        crm = {
            "CRM_BASE_URL": self.base_url,
            self._key_variable: self.api_key.get_secret_value(),
            "CRM_ENTITY_ID": self.entity_id,
        }
        missing = [name for name, value in crm.items() if not value]
        if missing and len(missing) < len(crm):
            given = [name for name in crm if name not in missing]
            raise ValueError(
                f"{' and '.join(missing)} must be set too, as {' and '.join(given)} "
                f"{'is' if len(given) == 1 else 'are'}; with none of them set, the embedded CRM is used"
            )
        if not missing and self.sandbox:
            raise ValueError("CRM_MCP_SANDBOX is for the embedded CRM, but CRM_BASE_URL names another one")
        return self

    @model_validator(mode="after")
    def _crm_is_safe(self) -> Settings:
        if not self.base_url:
            return self
        try:
            check_base_url(self.base_url)
        except ValueError as error:
            raise ValueError(f"CRM_BASE_URL: {error}") from None
        if not re.fullmatch(r"ak_[!-~]+", self.api_key.get_secret_value()):
            raise ValueError(
                f"the API key in {self._key_variable} must start with ak_ and hold no spaces; "
                "create one in the CRM's settings"
            )
        return self

    @model_validator(mode="after")
    def _http_is_safe(self) -> Settings:
        token = self.http_token.get_secret_value()
        if token and self.http_tokens:
            raise ValueError("CRM_MCP_HTTP_TOKEN and CRM_MCP_HTTP_TOKENS are both set; set one")
        if token and not re.fullmatch(TOKEN, token):
            raise ValueError(
                f"CRM_MCP_HTTP_TOKEN must have at least {MIN_TOKEN_CHARS} characters, without spaces"
            )
        if self.http and not is_loopback(self.http[0]):
            if not self.tokens:
                raise ValueError(
                    f"serving on {self.http[0]}, which others can reach, needs CRM_MCP_HTTP_TOKEN "
                    f"({MIN_TOKEN_CHARS} characters or more)"
                )
            if not self.http_allowed_hosts:
                raise ValueError(
                    f"serving on {self.http[0]} needs CRM_MCP_HTTP_ALLOWED_HOSTS: the host names that "
                    "clients use, such as mcp.example.com"
                )
        return self

    @property
    def tokens(self) -> dict[str, SecretStr]:
        """What lets in over HTTP, by the names that the writes are on record under."""
        return self.http_tokens or ({UNNAMED: self.http_token} if self.http_token else {})

    @property
    def policy(self) -> Policy:
        """What of this decides about writes."""
        return Policy(
            approval=self.approval,
            guard=self.guard,
            approval_seconds=self.approval_minutes * 60,
            # Who gave up on it after that long gives it as long again.
            late_seconds=self.total_timeout,
            emails_per_hour=self.emails_per_hour,
            emails_per_day=self.emails_per_day,
            emails_per_recipient=self.emails_per_recipient,
            digest_bodies=self.ledger_digests,
        )

    @property
    def uses_sandbox(self) -> bool:
        return not self.base_url

    @property
    def _key_variable(self) -> str:
        return "CRM_API_KEY_FILE" if self.api_key_file else "CRM_API_KEY"


# By the environment's name: what each setting is called there.
VARIABLES = {info.alias: name for name, info in Settings.model_fields.items() if info.alias}


def load_settings(
    flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ, env_file: str | None = None
) -> Settings:
    """Settings from flags (by variable name), then the environment, then the file; a blank says nothing.

    Raises SettingsError.
    """
    from_file = _read_env_file(env_file) if env_file else {}
    for source in (environ, from_file):
        _refuse_slips(source)
    values: dict[str, str] = {}
    for source in (from_file, environ, flags):
        said = {name: source[name].strip() for name in VARIABLES if name in source}
        values |= {name: value for name, value in said.items() if value}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from None


def _read_env_file(path: str) -> dict[str, str]:
    from dotenv.parser import parse_stream  # noqa: PLC0415  # only where a file is named

    values = {}
    for binding in parse_stream(StringIO(_read("the settings file", path))):
        said = binding.original.string
        if binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
        elif binding.error or binding.key is not None:
            # A binding begins with the blank lines before it.
            line = binding.original.line + said[: -len(said.lstrip())].count("\n")
            raise SettingsError(f"{path}, line {line}: must be NAME=value")
    return values


def _refuse_slips(names: Mapping[str, str]) -> None:
    """An unknown name in our own space is an error, and so is a name that is all but one of ours."""
    for name in names:
        if name in VARIABLES or not name.upper().startswith("CRM_"):
            continue
        ours = name.upper().startswith("CRM_MCP_")
        close = difflib.get_close_matches(name.upper(), VARIABLES, n=1, cutoff=0.6 if ours else 0.9)
        if ours or close:
            hint = f" did you mean {close[0]}?" if close else f" settings: {', '.join(VARIABLES)}"
            raise SettingsError(f"there is no setting {name};{hint}")


def _sentence(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    text = problem["msg"].removeprefix("Value error, ")
    where = str(problem["loc"][0]) if problem["loc"] else ""
    return f"{where}: {text}" if where else text
