"""The command line: which transport, which CRM, which command; settings errors become exit code 2."""

from __future__ import annotations

import argparse
import errno
import gc
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from crm_mcp import __version__

if TYPE_CHECKING:
    from crm_mcp.ledger import Ledger
    from crm_mcp.settings import Settings

OK, PROBLEM, USAGE = 0, 1, 2

# The flags that stand for settings, by the settings' names.
FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "env_file": ("--env-file", {"metavar": "FILE", "help": "read settings from NAME=value lines"}),
    "CRM_MCP_TOOLSETS": (
        "--toolsets",
        {"metavar": "NAMES", "help": "read,sales,email,lists,delete,pipeline or all (CRM_MCP_TOOLSETS)"},
    ),
    "CRM_MCP_READ_ONLY": (
        "--read-only",
        {"action": "store_const", "const": "true", "help": "no tool that writes (CRM_MCP_READ_ONLY)"},
    ),
    "CRM_MCP_SANDBOX": (
        "--sandbox",
        {"metavar": "FILE", "help": "the embedded CRM's database, or :memory: (CRM_MCP_SANDBOX)"},
    ),
    "CRM_MCP_APPROVAL": (
        "--approval",
        {"metavar": "POLICY", "help": "ask, client or never, for guarded tools (CRM_MCP_APPROVAL)"},
    ),
    "CRM_MCP_LEDGER": (
        "--ledger",
        {"metavar": "FILE", "help": "the record of all writes (CRM_MCP_LEDGER)"},
    ),
    "CRM_MCP_LOG_LEVEL": (
        "--log-level",
        {"metavar": "LEVEL", "help": "DEBUG, INFO, WARNING or ERROR, on stderr (CRM_MCP_LOG_LEVEL)"},
    ),
    "CRM_MCP_HTTP": (
        "--http",
        {"metavar": "[HOST:]PORT", "help": "serve streamable HTTP at /mcp (CRM_MCP_HTTP)"},
    ),
}
WITHOUT_HTTP = [name for name in FLAGS if name != "CRM_MCP_HTTP"]
LEDGER = ["env_file", "CRM_MCP_LEDGER"]
LATEST = 20

DESCRIPTION = """\
An MCP server for CRM work. Without a command it serves MCP over stdio, or over streamable HTTP with --http.
With CRM_BASE_URL, CRM_API_KEY and CRM_ENTITY_ID set it works on that CRM, without them on an embedded one
with demo data."""


def run() -> NoReturn:
    """The program. Nothing is collected while it starts: importing makes much that lives on."""
    gc.disable()
    if isinstance(sys.stdout, TextIOWrapper):
        # What records are called need not be in a pipe's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main()
        if sys.stdout is not None:  # nobody wants to read it
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough, as in `crm-mcp tools | head`; Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        print(f"crm-mcp: cannot write the output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = PROBLEM
    sys.exit(code)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 a problem was found, 2 something is set wrong."""
    from crm_mcp.settings import SettingsError  # noqa: PLC0415  # `--help` needs none of it

    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        _refuse_ignored(arguments)
        return command(arguments)
    except SettingsError as error:
        print(f"crm-mcp: {_without_key(str(error))}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        # That is how a server ends; but what a person did not decide is not done.
        return PROBLEM if command in (_approve, _undo) else OK


def _refuse_ignored(arguments: argparse.Namespace) -> None:
    """argparse accepts a flag before any command, whether that has a use for it or not."""
    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    for name, (flag, _) in FLAGS.items():
        if name in arguments and name not in arguments.takes:
            raise SettingsError(f"{arguments.command} takes no {flag}")


def _without_key(text: str) -> str:
    """What somebody typed is quoted back to them, but it may be the key, put in a wrong place."""
    return re.sub(r"\bak_\S+", "ak_...", text)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        super().error(_without_key(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="crm-mcp", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"crm-mcp {__version__}")
    parser.set_defaults(run=_serve)
    _add_settings(parser, FLAGS)
    commands = parser.add_subparsers(title="commands", metavar="", dest="command")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], text: str, takes: Collection[str]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        _add_settings(command, takes)
        return command

    add("demo", _demo, "Watch an assistant's sales day on a fresh embedded CRM.", ())
    doctor = add("doctor", _doctor, "Check the settings, the key and the CRM; changes nothing.", WITHOUT_HTTP)
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.add_argument("--openapi", metavar="FILE", help="compare the CRM's own OpenAPI document (JSON)")
    sandbox = add(
        "sandbox",
        _sandbox,
        "Serve the embedded CRM's HTTP API on this machine; prints the settings of a client of it.",
        ["env_file", "CRM_MCP_SANDBOX", "CRM_MCP_LOG_LEVEL"],
    )
    sandbox.add_argument("--port", type=_port, default=8765, help="0 takes a free one (default: %(default)s)")
    sandbox.add_argument(
        "--memory",
        dest="CRM_MCP_SANDBOX",
        action="store_const",
        const=":memory:",
        default=argparse.SUPPRESS,
        help="keep nothing: --sandbox :memory:",
    )
    sandbox.add_argument(
        "--companies", type=_count, default=40, help="size of a new one (default: %(default)s)"
    )
    config = add("config", _config, "Print what a client needs to start this server.", WITHOUT_HTTP)
    config.add_argument("client", choices=["claude-desktop", "claude-code", "cursor", "vscode"])
    add(
        "tools",
        _tools,
        "List the tools and what they cost a model's context.",
        ["env_file", "CRM_MCP_TOOLSETS", "CRM_MCP_READ_ONLY"],
    )
    changes = add("changes", _changes, "List what was written, newest first, and what became of it.", LEDGER)
    changes.add_argument("--limit", type=_count, metavar="N", help=f"how many at most (default: {LATEST})")
    changes.add_argument("--tool", metavar="NAME", help="only those of this tool")
    changes.add_argument("--principal", metavar="NAME", help="only those of this user, or token over HTTP")
    changes.add_argument("--outcome", type=_outcome, metavar="OUTCOME", help="only those, such as applied")
    changes.add_argument("--since", type=_day, metavar="YYYY-MM-DD", help="only those from this day on")
    changes.add_argument("--json", action="store_true", help="print JSON, with all that is on record")
    changes.add_argument("--verify", action="store_true", help="check that nothing on record was altered")
    approvals = add("approvals", _approvals, "List what waits for a person's approval.", LEDGER)
    approvals.add_argument("--json", action="store_true", help="print JSON")
    approve = add("approve", _approve, "Look at what waits, and approve or decline it here.", LEDGER)
    approve.add_argument("approval", metavar="ID", help="its id, or the first 8 letters or more")
    undo = add(
        "undo",
        _undo,
        "Take back a change, once you have seen what that does.",
        [*LEDGER, "CRM_MCP_SANDBOX", "CRM_MCP_LOG_LEVEL"],
    )
    undo.add_argument("change", metavar="ID", help="the change's id, as `crm-mcp changes` shows it")
    return parser


def _add_settings(parser: argparse.ArgumentParser, takes: Collection[str]) -> None:
    parser.set_defaults(takes=takes)
    group = parser.add_argument_group("settings")
    for name in takes:
        flag, options = FLAGS[name]
        # SUPPRESS: a command's parser must not undo what was said before the command.
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, **options)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a number from 1 on")
    return int(text)


def _outcome(text: str) -> str:
    from typing import get_args  # noqa: PLC0415

    from crm_mcp.ledger import Outcome  # noqa: PLC0415

    if text not in get_args(Outcome):
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(get_args(Outcome))}")
    return text


def _day(text: str) -> datetime:
    """Its first moment here."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be a day, YYYY-MM-DD") from None


def _settings(arguments: argparse.Namespace) -> Settings:
    from crm_mcp.settings import load_settings  # noqa: PLC0415

    flags = vars(arguments)
    settings = load_settings(flags, env_file=flags.get("env_file"))
    _log_to_stderr(settings.log_level)
    return settings


def _log_to_stderr(level: str) -> None:
    import logging  # noqa: PLC0415

    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    # What these log holds personal data: URLs with what was searched for, errors that quote the CRM, answers.
    for name in ("httpx2", "httpcore2", "stamina", "sse_starlette", "mcp"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _serve(arguments: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415

    from crm_mcp import backend, stdio  # noqa: PLC0415
    from crm_mcp.access import CrmAccess  # noqa: PLC0415
    from crm_mcp.server import build_server  # noqa: PLC0415

    settings = _settings(arguments)
    backend.check_ledger(settings)
    access = CrmAccess(
        backend.opener(settings),
        settings.marketing_lists,
        open_ledger=backend.ledger_opener(settings),
        policy=settings.policy,
        principal=_principal_of(settings),
        approve_command=backend.approve_command(settings),
    )
    server = build_server(
        access, settings.toolsets, read_only=settings.read_only, sandbox=settings.uses_sandbox
    )
    if settings.http:
        from crm_mcp import http  # noqa: PLC0415

        app = http.build_app(server, settings)
        return _serve_http(app, *settings.http, "/mcp", on_stopping=http.stream_closer(server))
    gc.enable()
    gc.freeze()
    anyio.run(stdio.serve, server, access)
    return OK


def _principal_of(settings: Settings) -> Callable[[], str]:
    """What tells who the writes are on record for: this user, or over HTTP the token's name."""
    if not settings.http:
        return _local_user
    from crm_mcp import http  # noqa: PLC0415

    return http.principal if settings.tokens else lambda: "http"


def _local_user() -> str:
    """Whom this process belongs to: what the environment says may be anybody."""
    try:
        if sys.platform == "win32":
            import getpass  # noqa: PLC0415

            return getpass.getuser()
        import pwd  # noqa: PLC0415  # Windows has none

        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):
        return "local"


def _serve_http(
    app: Any,
    host: str,
    port: int,
    path: str,
    *,
    on_started: Callable[[str], object] = lambda _origin: None,
    on_stopping: Callable[[], object] = lambda: None,
) -> int:
    """Serve until it is stopped; `on_started` is given where: `http://host:port`."""
    import anyio  # noqa: PLC0415

    from crm_mcp import http  # noqa: PLC0415
    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    try:
        listener = http.listen(host, port)
    except OSError as error:
        # `socket` says the address once more, in brackets.
        reason = str(error.strerror).partition(" (")[0]
        raise SettingsError(f"cannot serve on {host}:{port}: {reason}") from error
    shown = f"[{host}]" if ":" in host else host
    origin = f"http://{shown}:{listener.getsockname()[1]}"
    gc.enable()
    gc.freeze()

    def tell() -> None:
        on_started(origin)
        print(f"Serving on {origin}{path}", file=sys.stderr, flush=True)

    anyio.run(http.serve, app, listener, tell, on_stopping)
    return OK


def _sandbox(arguments: argparse.Namespace) -> int:
    from crm_mcp import backend  # noqa: PLC0415
    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    settings = _settings(arguments)
    if not settings.uses_sandbox:
        raise SettingsError("sandbox serves the embedded CRM, but CRM_BASE_URL names another one")
    with backend.sandbox_store(settings.sandbox, companies=arguments.companies) as store:
        from crm_mcp.sandbox.app import create_app  # noqa: PLC0415

        key = store.credentials

        def print_settings(origin: str) -> None:
            lines = f"CRM_API_KEY={key.api_key}\nCRM_ENTITY_ID={key.entity_id}\nCRM_BASE_URL={origin}"
            print(lines, flush=True)

        app = create_app(store)
        return _serve_http(app, "127.0.0.1", arguments.port, "/api/crm", on_started=print_settings)


def _demo(_arguments: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415

    from crm_mcp import demo  # noqa: PLC0415

    return OK if anyio.run(demo.play) else PROBLEM


def _doctor(arguments: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415

    from crm_mcp import backend, doctor  # noqa: PLC0415
    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    settings = _settings(arguments)
    if arguments.openapi:
        try:
            differences = doctor.compare_openapi(doctor.read_openapi(Path(arguments.openapi)))
        except ValueError as error:
            raise SettingsError(str(error)) from error
        _report(differences, arguments.json, "No difference.")
        return PROBLEM if differences else OK

    backend.check_ledger(settings)
    reading = settings.model_copy(update={"read_only": True})

    async def examine() -> list[doctor.Finding]:
        async with backend.opener(reading)() as crm:
            return await doctor.examine(crm)

    which = "embedded: no CRM is configured" if settings.uses_sandbox else settings.base_url
    findings = [doctor.Finding("CRM", "ok", f"{which}."), *anyio.run(examine)]
    _report(findings, arguments.json, "Nothing was checked.")
    return PROBLEM if any(finding.status == "problem" for finding in findings) else OK


def _report(rows: Sequence[Any], as_json: bool, empty: str) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    if as_json:
        _print_json([asdict(row) for row in rows])
    else:
        _print_table(rows, empty)


def _print_json(value: Any) -> None:
    import json  # noqa: PLC0415

    print(json.dumps(value, indent=2))


def _print_table(rows: Sequence[Any], empty: str) -> None:
    from crm_mcp import doctor  # noqa: PLC0415

    print(doctor.table(rows) if rows else empty)


def _config(arguments: argparse.Namespace) -> int:
    from crm_mcp import clients  # noqa: PLC0415

    snippet, where = clients.snippet(arguments.client, _settings(arguments))
    print(snippet)
    print(where, file=sys.stderr)
    return OK


def _tools(arguments: argparse.Namespace) -> int:
    from crm_mcp.tools.published import table  # noqa: PLC0415

    settings = _settings(arguments)
    print(table(settings.toolsets, read_only=settings.read_only))
    return OK


def _changes(arguments: argparse.Namespace) -> int:
    from crm_mcp import review  # noqa: PLC0415

    with review.opened(_settings(arguments), listing=not arguments.verify) as ledger:
        if arguments.verify:
            return _verify(arguments, ledger)
        found = ledger.changes(
            limit=arguments.limit or LATEST,
            since=arguments.since,
            outcomes=[arguments.outcome] if arguments.outcome else None,
            tool=arguments.tool,
            principal=arguments.principal,
        )
        told = [(change, ledger.approved_by(change)) for change in found]
    if arguments.json:
        _print_json([review.change_fields(*one) for one in told])
    else:
        _print_table([review.ChangeLine(*one) for one in told], "There is no such change on record.")
    return OK


def _verify(arguments: argparse.Namespace, ledger: Ledger) -> int:
    from dataclasses import asdict  # noqa: PLC0415

    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    for name in ("limit", "tool", "principal", "outcome", "since"):
        if getattr(arguments, name) is not None:
            raise SettingsError(f"changes --verify takes no --{name}: it checks everything")
    checked = ledger.verify()
    if arguments.json:
        _print_json(asdict(checked))
    elif checked.broken is None:
        print(f"Nothing was altered; events: {checked.events}.")
    else:
        print(f"The record is broken at event {checked.broken}: {checked.problem}")
    return OK if checked.broken is None else PROBLEM


def _approvals(arguments: argparse.Namespace) -> int:
    from crm_mcp import review  # noqa: PLC0415

    with review.opened(_settings(arguments), listing=True) as ledger:
        waiting = ledger.waiting()
    if arguments.json:
        _print_json([review.approval_fields(approval) for approval in waiting])
    else:
        print("\n\n".join(map(review.approval_text, waiting)) or "Nothing waits for approval.")
    return OK


def _approve(arguments: argparse.Namespace) -> int:
    from crm_mcp import review  # noqa: PLC0415
    from crm_mcp.ledger import ApprovalError  # noqa: PLC0415

    with review.opened(_settings(arguments)) as ledger:
        try:
            told, approved = review.decide(ledger, arguments.approval)
        except ApprovalError as error:
            return _problem(error)
    print(told)
    return OK if approved else PROBLEM


def _undo(arguments: argparse.Namespace) -> int:
    from crm_mcp import review  # noqa: PLC0415
    from crm_mcp.crm.errors import CrmError  # noqa: PLC0415
    from crm_mcp.ledger import ApprovalError  # noqa: PLC0415
    from crm_mcp.settings import SettingsError  # noqa: PLC0415

    settings = _settings(arguments)
    with review.opened(settings) as ledger:
        try:
            print(review.take_back(settings, ledger, _local_user(), arguments.change))
        except SettingsError:  # some are CrmErrors too
            raise
        except (CrmError, ApprovalError) as error:
            return _problem(error)
    return OK


def _problem(error: Exception) -> int:
    from crm_mcp.terminal import plain  # noqa: PLC0415

    print(f"crm-mcp: {plain(str(error))}", file=sys.stderr)
    return PROBLEM
