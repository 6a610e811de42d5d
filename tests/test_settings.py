"""Every way to set something wrong and the sentence that it earns; what wins; what stays secret."""

from pathlib import Path
from typing import Any

import pytest

from crm_mcp.calls import GUARDED
from crm_mcp.settings import Settings, SettingsError, load_settings
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Toolset

URL, KEY = "https://crm.example.com", "ak_canary-7f3a"
ENTITY = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"
WHOLE = {"CRM_BASE_URL": URL, "CRM_API_KEY": KEY, "CRM_ENTITY_ID": ENTITY}
TOKEN = "t0ken-" + "x" * 32

NO_KEY = "the API key in CRM_API_KEY must start with ak_ and hold no spaces; create one in the CRM's settings"
NO_ENTITY = "CRM_ENTITY_ID: is no UUID; the CRM shows the entity's id beside its API keys"
NO_URL = "CRM_BASE_URL: the base URL must be an http(s) URL, such as https://crm.example.com"
ONLY_URL = "CRM_BASE_URL: the base URL must be only scheme, host and path, such as https://crm.example.com"
BEFORE_PATH = "CRM_BASE_URL: the base URL is the part before /api/crm"
NO_ADDRESS = "CRM_MCP_HTTP: must be [HOST:]PORT, such as 8000 or 127.0.0.1:8000"
SHORT_TOKEN = "CRM_MCP_HTTP_TOKEN must have at least 32 characters, without spaces"
EMBEDDED = "with none of them set, the embedded CRM is used"
TOOLSETS = "Toolsets: read, sales, email, lists, delete, pipeline, all"
ONLY_WRITING = "must be +TOOL or -TOOL of a writing tool, once each;"


def complaint(**variables: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ=variables)
    assert KEY not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["BASE_URL"], f"CRM_API_KEY and CRM_ENTITY_ID must be set too, as CRM_BASE_URL is; {EMBEDDED}"),
        (["API_KEY"], f"CRM_BASE_URL and CRM_ENTITY_ID must be set too, as CRM_API_KEY is; {EMBEDDED}"),
        (["ENTITY_ID"], f"CRM_BASE_URL and CRM_API_KEY must be set too, as CRM_ENTITY_ID is; {EMBEDDED}"),
        (
            ["BASE_URL", "API_KEY"],
            f"CRM_ENTITY_ID must be set too, as CRM_BASE_URL and CRM_API_KEY are; {EMBEDDED}",
        ),
        (
            ["BASE_URL", "ENTITY_ID"],
            f"CRM_API_KEY must be set too, as CRM_BASE_URL and CRM_ENTITY_ID are; {EMBEDDED}",
        ),
        (
            ["API_KEY", "ENTITY_ID"],
            f"CRM_BASE_URL must be set too, as CRM_API_KEY and CRM_ENTITY_ID are; {EMBEDDED}",
        ),
    ],
)
def test_half_a_crm_is_refused(given: list[str], sentence: str) -> None:
    assert complaint(**{f"CRM_{name}": WHOLE[f"CRM_{name}"] for name in given}) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CRM_API_KEY", "canary", NO_KEY),
        ("CRM_API_KEY", "ak_", NO_KEY),
        ("CRM_API_KEY", "ak_a b", NO_KEY),
        ("CRM_API_KEY", "ak_a\nb", NO_KEY),
        ("CRM_API_KEY", "ak_ü", NO_KEY),
        ("CRM_API_KEY", "Bearer ak_a", NO_KEY),
        ("CRM_ENTITY_ID", "42", NO_ENTITY),
        ("CRM_ENTITY_ID", f"{ENTITY}0", NO_ENTITY),
        ("CRM_BASE_URL", "crm.example.com", NO_URL),
        ("CRM_BASE_URL", "ftp://crm.example.com", NO_URL),
        ("CRM_BASE_URL", "https://", NO_URL),
        ("CRM_BASE_URL", "https://[::1", "CRM_BASE_URL: the base URL is not a URL"),
        ("CRM_BASE_URL", "https://crm.example.com:99999", "CRM_BASE_URL: the base URL is not a URL"),
        ("CRM_BASE_URL", "https://me:secret@crm.example.com", ONLY_URL),
        ("CRM_BASE_URL", "https://crm.example.com?entityId=1", ONLY_URL),
        ("CRM_BASE_URL", "https://crm.example.com/api/crm", BEFORE_PATH),
        ("CRM_BASE_URL", "https://crm.example.com/api/crm/", BEFORE_PATH),
        (
            "CRM_BASE_URL",
            "http://crm.example.com",
            "CRM_BASE_URL: the base URL must be https: over http the key would be sent in clear text",
        ),
        (
            "CRM_MCP_SANDBOX",
            "sandbox.db",
            "CRM_MCP_SANDBOX is for the embedded CRM, but CRM_BASE_URL names another one",
        ),
        (
            "CRM_API_KEY_FILE",
            "key",
            "CRM_API_KEY and CRM_API_KEY_FILE are both set; set one",
        ),
    ],
)
def test_wrong_crm_is_refused(name: str, value: str, sentence: str) -> None:
    assert complaint(**{**WHOLE, name: value}) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("TOOLSETS", "sales,raed", f"there is no toolset 'raed'; did you mean read? {TOOLSETS}"),
        ("TOOLSETS", "Read", f"there is no toolset 'Read'; did you mean read? {TOOLSETS}"),
        ("TOOLSETS", "xyz", f"there is no toolset 'xyz'. {TOOLSETS}"),
        ("TOOLSETS", ",", f"names no toolset. {TOOLSETS}"),
        (
            "CONNECT_TIMEOUT",
            "5s",
            "Input should be a valid number, unable to parse string as a number",
        ),
        ("READ_TIMEOUT", "-1", "Input should be greater than 0"),
        ("WRITE_TIMEOUT", "0", "Input should be greater than 0"),
        ("TOTAL_TIMEOUT", "601", "Input should be less than or equal to 600"),
        ("TOTAL_TIMEOUT", "nan", "Input should be less than or equal to 600"),
        ("MAX_IN_FLIGHT", "0", "Input should be greater than or equal to 1"),
        (
            "MAX_IN_FLIGHT",
            "many",
            "Input should be a valid integer, unable to parse string as an integer",
        ),
        ("READ_ONLY", "perhaps", "Input should be a valid boolean, unable to interpret input"),
        ("LEDGER", ":memory:", "must be a file: what is kept in memory nobody could approve or find again"),
        ("APPROVAL", "always", "Input should be 'ask', 'client' or 'never'"),
        (
            "GUARD",
            "update_company",
            f"{ONLY_WRITING} 'update_company' is not; say +update_company or -update_company",
        ),
        ("GUARD", "+update_compny", f"{ONLY_WRITING} '+update_compny' is not; did you mean update_company?"),
        ("GUARD", "+search_crm", f"{ONLY_WRITING} '+search_crm' is not"),
        ("GUARD", "+", f"{ONLY_WRITING} '+' is not"),
        ("GUARD", "+ move_lead", f"{ONLY_WRITING} '+ move_lead' is not; did you mean move_lead_stage?"),
        ("GUARD", "+update_lead,-update_lead", f"{ONLY_WRITING} '+update_lead' is not"),
        ("GUARD", "-delete_lead,-delete_lead", f"{ONLY_WRITING} '-delete_lead' is not"),
        ("LOG_LEVEL", "loud", "Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_wrong_option_is_refused_by_name(name: str, value: str, sentence: str) -> None:
    assert complaint(**{f"CRM_MCP_{name}": value}) == f"CRM_MCP_{name}: {sentence}"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("newsletter", "must be alias=UUID, comma-separated; 'newsletter' is not"),
        ("newsletter=42", "must be alias=UUID, comma-separated; 'newsletter=42' is not"),
        (f"={ENTITY}", f"must be alias=UUID, comma-separated; '={ENTITY}' is not"),
        (f"fair={ENTITY},{ENTITY}", f"must be alias=UUID, comma-separated; '{ENTITY}' is not"),
        (f"fair={ENTITY},Fair={ENTITY}", "names 'Fair' twice"),
    ],
)
def test_wrong_alias_of_a_marketing_list_is_refused(value: str, sentence: str) -> None:
    assert complaint(CRM_MARKETING_LISTS=value) == f"CRM_MARKETING_LISTS: {sentence}"


def test_marketing_lists_go_by_alias() -> None:
    other = "11111111-1111-4111-8111-111111111111"
    said = f" newsletter = {ENTITY.upper()} , Trade fair={other},"
    settings = load_settings({}, environ={"CRM_MARKETING_LISTS": said})
    assert settings.marketing_lists == {"newsletter": ENTITY, "Trade fair": other}
    assert Settings().marketing_lists == {}


@pytest.mark.parametrize(
    "address", ["x", ":8000", "99999", "-1", "8000/", "::1:8000", "[]:80", "http://127.0.0.1:80", "a b:80"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert complaint(CRM_MCP_HTTP=address) == NO_ADDRESS


@pytest.mark.parametrize(
    ("address", "host_and_port"),
    [
        ("8000", ("127.0.0.1", 8000)),
        ("0", ("127.0.0.1", 0)),
        ("localhost:8000", ("localhost", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("127.0.0.2:8000", ("127.0.0.2", 8000)),
    ],
)
def test_loopback_address_needs_no_token(address: str, host_and_port: tuple[str, int]) -> None:
    assert load_settings({}, environ={"CRM_MCP_HTTP": address}).http == host_and_port


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.0.7", "crm-mcp", "localhost.example.com"])  # noqa: S104
def test_address_that_others_reach_needs_a_token_and_names(host: str) -> None:
    address, said = f"{host}:8000", host.strip("[]")
    names = (
        f"serving on {said} needs CRM_MCP_HTTP_ALLOWED_HOSTS: the host names that clients use, "
        "such as mcp.example.com"
    )
    assert complaint(CRM_MCP_HTTP=address) == (
        f"serving on {said}, which others can reach, needs CRM_MCP_HTTP_TOKEN (32 characters or more)"
    )
    assert complaint(CRM_MCP_HTTP=address, CRM_MCP_HTTP_TOKEN=TOKEN) == names
    assert complaint(CRM_MCP_HTTP=address, CRM_MCP_HTTP_TOKEN=TOKEN, CRM_MCP_HTTP_ALLOWED_HOSTS=",") == names
    settings = load_settings(
        {"CRM_MCP_HTTP": address},
        environ={"CRM_MCP_HTTP_TOKEN": TOKEN, "CRM_MCP_HTTP_ALLOWED_HOSTS": "a.example, b.example,"},
    )
    assert (settings.http, settings.http_allowed_hosts) == ((said, 8000), ("a.example", "b.example"))


@pytest.mark.parametrize("token", ["short", "x" * 31, "x" * 31 + " y", "ü" * 32])
def test_weak_token_is_refused(token: str) -> None:
    assert complaint(CRM_MCP_HTTP_TOKEN=token) == SHORT_TOKEN


ENTRY = (
    "CRM_MCP_HTTP_TOKENS: must be name=token, comma-separated, names of at most 64 letters, digits and "
    ". _ @ + -; entry {} is not"
)
WEAK = "CRM_MCP_HTTP_TOKENS: entry {}: a token must have at least 32 characters, without spaces"


def test_tokens_go_by_name() -> None:
    said = f"anna = {TOKEN}==,\n ben.b@example.com={TOKEN}2,"
    settings = load_settings({"CRM_MCP_HTTP": "8000"}, environ={"CRM_MCP_HTTP_TOKENS": said})
    tokens = {name: token.get_secret_value() for name, token in settings.tokens.items()}
    assert tokens == {"anna": f"{TOKEN}==", "ben.b@example.com": f"{TOKEN}2"}


def test_tokens_stand_on_lines_of_their_own_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "crm.env"
    file.write_text(f'CRM_MCP_HTTP_TOKENS="\nanna={TOKEN},\nben={TOKEN}2\n"\n')
    assert list(load_settings({}, environ={}, env_file=str(file)).tokens) == ["anna", "ben"]


def test_one_token_stands_for_everybody() -> None:
    [(name, token)] = load_settings({}, environ={"CRM_MCP_HTTP_TOKEN": TOKEN}).tokens.items()
    assert (name, token.get_secret_value()) == ("http token", TOKEN)
    assert load_settings({}, environ={}).tokens == {}


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (TOKEN, ENTRY.format(1)),
        (f"anna={TOKEN},{TOKEN}", ENTRY.format(2)),
        (f"={TOKEN}", ENTRY.format(1)),
        (f"anna={TOKEN},,ben b={TOKEN}2", ENTRY.format(2)),
        (f"jürgen={TOKEN}", ENTRY.format(1)),
        (f"<b>={TOKEN}", ENTRY.format(1)),
        (f"{'a' * 65}={TOKEN}", ENTRY.format(1)),
        ("anna=", WEAK.format(1)),
        (f"{TOKEN}=", WEAK.format(1)),
        (f"anna={TOKEN},ben={'x' * 31}", WEAK.format(2)),
        (f"anna={TOKEN} ben={TOKEN}2", WEAK.format(1)),
        (f"anna={'ü' * 32}", WEAK.format(1)),
        (
            f"anna={TOKEN},ben={TOKEN}2,Anna={TOKEN}3",
            "CRM_MCP_HTTP_TOKENS: entries 1 and 3 have the same name",
        ),
        (f"anna={TOKEN},ben={TOKEN}", "CRM_MCP_HTTP_TOKENS: entries 1 and 2 have the same token"),
        (",", "CRM_MCP_HTTP_TOKENS: names no token"),
    ],
)
def test_wrong_tokens_are_told_by_their_places(said: str, sentence: str) -> None:
    assert complaint(CRM_MCP_HTTP_TOKENS=said) == sentence


def test_tokens_are_named_or_there_is_one() -> None:
    said = complaint(CRM_MCP_HTTP_TOKEN=TOKEN, CRM_MCP_HTTP_TOKENS=f"anna={TOKEN}")
    assert said == "CRM_MCP_HTTP_TOKEN and CRM_MCP_HTTP_TOKENS are both set; set one"


def test_named_tokens_let_others_reach_the_server() -> None:
    environ = {"CRM_MCP_HTTP_TOKENS": f"anna={TOKEN}", "CRM_MCP_HTTP_ALLOWED_HOSTS": "mcp.example.com"}
    assert load_settings({"CRM_MCP_HTTP": "[::]:8000"}, environ=environ).http == ("::", 8000)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CRM_MCP_TOOLSET", "CRM_MCP_TOOLSETS"),
        ("CRM_MCP_READONLY", "CRM_MCP_READ_ONLY"),
        ("CRM_MCP_MAX_INFLIGHT", "CRM_MCP_MAX_IN_FLIGHT"),
        ("crm_mcp_read_only", "CRM_MCP_READ_ONLY"),
        ("CRM_APIKEY", "CRM_API_KEY"),
        ("CRM_API_KEYS", "CRM_API_KEY"),
        ("CRM_MARKETING_LIST", "CRM_MARKETING_LISTS"),
        ("CRM_ENTITYID", "CRM_ENTITY_ID"),
        ("crm_base_url", "CRM_BASE_URL"),
    ],
)
def test_slip_in_a_name_is_told(tmp_path: Path, name: str, meant: str) -> None:
    sentence = f"there is no setting {name}; did you mean {meant}?"
    assert complaint(**{name: KEY}) == sentence

    file = tmp_path / "crm.env"
    file.write_text(f"{name}={KEY}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ={}, env_file=str(file))
    assert str(caught.value) == sentence


def test_names_of_other_programs_are_left_alone() -> None:
    others = dict.fromkeys(("CRM_PORTAL_ID", "CRM_DATABASE_URL", "CRMX", "CRM_", "MCP_API_KEY"), "1")
    assert load_settings({}, environ=others) == Settings()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: {}: No such file or directory"),
        (b"\xff\xfe\x00", "cannot be read: {}: it is not text"),
        (b"", "is empty: {}"),
        (b" \n", "is empty: {}"),
    ],
)
def test_unusable_key_file_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    told = complaint(CRM_BASE_URL=URL, CRM_ENTITY_ID=ENTITY, CRM_API_KEY_FILE=str(file))
    assert told == f"CRM_API_KEY_FILE {reason.format(file)}"


def test_key_in_the_place_of_its_file_is_told_and_not_shown() -> None:
    assert complaint(CRM_BASE_URL=URL, CRM_ENTITY_ID=ENTITY, CRM_API_KEY_FILE=KEY) == (
        "CRM_API_KEY_FILE is for a file's path; the key itself goes into CRM_API_KEY"
    )


def test_key_file_alone_is_told_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    assert complaint(CRM_API_KEY_FILE=str(tmp_path / "key")) == (
        f"CRM_BASE_URL and CRM_ENTITY_ID must be set too, as CRM_API_KEY_FILE is; {EMBEDDED}"
    )


def test_home_directory_of_nobody_is_told() -> None:
    path = "~nosuch-user/x"
    reason = "there is no such home directory"
    assert complaint(CRM_API_KEY_FILE=path) == f"CRM_API_KEY_FILE cannot be read: {path}: {reason}"
    assert complaint(CRM_MCP_SANDBOX=path) == f"CRM_MCP_SANDBOX: {reason}: {path}"
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ={}, env_file=path)
    assert str(caught.value) == f"the settings file cannot be read: {path}: {reason}"


def test_sandbox_may_be_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert load_settings({}, environ={"CRM_MCP_SANDBOX": "~/x.db"}).sandbox == str(tmp_path / "x.db")


@pytest.mark.parametrize("content", [b"ak_a\nak_b\n", b"ak_a\0", b"key=ak_a"])
def test_key_file_that_holds_something_else_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    assert complaint(CRM_BASE_URL=URL, CRM_ENTITY_ID=ENTITY, CRM_API_KEY_FILE=str(file)) == NO_KEY.replace(
        "CRM_API_KEY", "CRM_API_KEY_FILE"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_files_may_come_from_any_editor(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "key").write_text(f"{KEY}\r\n", encoding)
    file = tmp_path / "crm.env"
    file.write_text(
        f"CRM_BASE_URL={URL}\r\nCRM_ENTITY_ID = '{ENTITY.upper()}'\r\n"
        f"CRM_API_KEY_FILE={tmp_path / 'key'}\r\n",
        encoding,
    )
    settings = load_settings({}, environ={}, env_file=str(file))
    assert (settings.base_url, settings.entity_id, settings.api_key.get_secret_value()) == (URL, ENTITY, KEY)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file or directory"), (b"\xff\xfe\x00", "it is not text")]
)
def test_unusable_settings_file_is_told(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "crm.env"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ={}, env_file=str(file))
    assert str(caught.value) == f"the settings file cannot be read: {file}: {reason}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("CRM_MCP_READ_ONLY\n", 1),
        ("CRM_MCP_READ_ONLY: true\n", 1),
        ("CRM_MCP_READ_ONLY true", 1),
        (f"# Ours\n\nCRM_ENTITY_ID={ENTITY}\n\n  \n export CRM_MCP_READ_ONLY\n", 6),
        (f"CRM_ENTITY_ID='{ENTITY}\nCRM_MCP_READ_ONLY=true\n", 1),
        (f"CRM_ENTITY_ID={ENTITY}\r\n\r\n{KEY}\r\n", 3),
    ],
)
def test_line_that_sets_nothing_is_told(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "crm.env"
    file.write_text(text, newline="")
    with pytest.raises(SettingsError) as caught:
        load_settings({}, environ={}, env_file=str(file))
    assert str(caught.value) == f"{file}, line {line}: must be NAME=value"


def test_values_in_a_file_are_taken_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "elsewhere")
    token = "${HOST}" + "x" * 32
    file = tmp_path / "crm.env"
    file.write_text(f"\n# Ours\nexport CRM_MCP_HTTP_TOKEN = {token} # of the proxy\nCRM_MCP_READ_ONLY=\n\n")
    settings = load_settings({}, environ={}, env_file=str(file))
    assert (settings.http_token.get_secret_value(), settings.read_only) == (token, False)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "crm.env"
    file.write_text(
        "CRM_MCP_LOG_LEVEL=ERROR\nCRM_MCP_SANDBOX=file.db\nCRM_MCP_TOOLSETS=all\nCRM_MCP_MAX_IN_FLIGHT=3\n"
    )
    environ = {"CRM_MCP_LOG_LEVEL": "INFO", "CRM_MCP_SANDBOX": "environment.db", "CRM_MCP_TOOLSETS": "  "}
    settings = load_settings({"CRM_MCP_LOG_LEVEL": "debug"}, environ=environ, env_file=str(file))
    assert settings == Settings.model_validate(
        {
            "CRM_MCP_LOG_LEVEL": "DEBUG",
            "CRM_MCP_SANDBOX": "environment.db",
            "CRM_MCP_TOOLSETS": "all",
            "CRM_MCP_MAX_IN_FLIGHT": 3,
        }
    )


@pytest.mark.parametrize("blank", ["", "  ", "\n"])
def test_blank_counts_as_unset(blank: str) -> None:
    names = ("CRM_BASE_URL", "CRM_API_KEY", "CRM_API_KEY_FILE", "CRM_MCP_SANDBOX", "CRM_MCP_HTTP")
    settings = load_settings({}, environ=dict.fromkeys(names, blank))
    assert settings == Settings()
    assert settings.uses_sandbox


def test_space_around_what_was_pasted_does_not_matter() -> None:
    settings = load_settings({}, environ={name: f" {value}\n" for name, value in WHOLE.items()})
    assert settings == Settings.model_validate(WHOLE)


@pytest.mark.parametrize(
    ("said", "guarded"),
    [
        ("", GUARDED),
        ("+update_company", GUARDED | {"update_company"}),
        ("-delete_lead", GUARDED - {"delete_lead"}),
        (" +update_company , -delete_lead ,", (GUARDED | {"update_company"}) - {"delete_lead"}),
        ("+delete_lead,-update_company", GUARDED),
    ],
)
def test_what_is_guarded_is_added_to_and_taken_from(said: str, guarded: frozenset[str]) -> None:
    assert load_settings({}, environ={"CRM_MCP_GUARD": said}).policy.guard == guarded


@pytest.mark.parametrize(
    ("said", "toolsets"),
    [
        ("read , delete,", {Toolset.READ, Toolset.DELETE}),
        ("all", set(Toolset)),
        ("read,all", set(Toolset)),
        ("", set(DEFAULT_TOOLSETS)),
    ],
)
def test_toolsets_go_by_name(said: str, toolsets: set[Toolset]) -> None:
    assert load_settings({}, environ={"CRM_MCP_TOOLSETS": said}).toolsets == toolsets


def test_backslashes_in_paths_stay_as_they_are(tmp_path: Path) -> None:
    key = tmp_path / r"new\table.key"
    key.parent.mkdir(exist_ok=True)
    key.write_text(KEY)
    file = tmp_path / "crm.env"
    file.write_text(f"CRM_BASE_URL={URL}\nCRM_ENTITY_ID={ENTITY}\nCRM_API_KEY_FILE={key}\n")
    settings = load_settings({}, environ={}, env_file=str(file))
    assert (settings.api_key_file, settings.api_key.get_secret_value()) == (str(key), KEY)

    database = r"C:\Users\new\table.db"
    file.write_text(f"CRM_MCP_SANDBOX={database}\n")
    assert load_settings({}, environ={}, env_file=str(file)).sandbox == database
    assert load_settings({"CRM_MCP_SANDBOX": database}, environ={}).sandbox == database


@pytest.mark.parametrize(
    "token", [{"CRM_MCP_HTTP_TOKEN": TOKEN}, {"CRM_MCP_HTTP_TOKENS": f"anna={TOKEN}"}], ids=["one", "named"]
)
def test_secrets_do_not_show(token: dict[str, str]) -> None:
    settings = load_settings({}, environ={**WHOLE, **token})
    shown: list[Any] = [repr(settings), str(settings), settings.model_dump_json(), f"{settings.model_dump()}"]
    assert [text for text in shown if KEY in text or TOKEN in text] == []


def test_settings_cannot_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().read_only = True  # type: ignore[misc]
