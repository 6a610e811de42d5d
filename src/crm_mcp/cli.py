"""The command line: which transport, which CRM, which command; settings errors become exit code 2."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from crm_mcp import __version__

if TYPE_CHECKING:
    from crm_mcp.settings import Settings

OK, PROBLEM, USAGE = 0, 1, 2

DESCRIPTION = """\
An MCP server for CRM work. Without a command it serves MCP over stdio, or over streamable HTTP with --http.
With CRM_BASE_URL, CRM_API_KEY and CRM_ENTITY_ID set it works on that CRM, without them on an embedded one
with demo data."""


def run() -> NoReturn:
    """The program. Nothing is collected while it starts: importing makes much that lives on."""
    gc.disable()
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 a problem was found, 2 something is set wrong."""
    from crm_mcp.settings import SettingsError  # noqa: PLC0415  # `--help` needs none of it

    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return command(arguments)
    except SettingsError as error:
        print(f"crm-mcp: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crm-mcp", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"crm-mcp {__version__}")
    parser.set_defaults(run=_serve)
    _add_settings(parser, serving=True)
    commands = parser.add_subparsers(title="commands", metavar="")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    add("demo", _demo, "Watch an assistant's sales day on a fresh embedded CRM.")
    doctor = add("doctor", _doctor, "Check the settings, the key and the CRM; changes nothing.")
    _add_settings(doctor, serving=False)
    doctor.add_argument("--json", action="store_true", help="print JSON instead of a table")
    doctor.add_argument("--openapi", metavar="FILE", help="compare the CRM's own OpenAPI document (JSON)")
    sandbox = add("sandbox", _sandbox, "Serve the embedded CRM's HTTP API on this machine.")
    sandbox.add_argument("--port", type=int, default=8765, help="0 takes a free one (default: %(default)s)")
    where = sandbox.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="FILE", help="the database (default: in the user's data directory)")
    where.add_argument("--memory", action="store_true", help="keep nothing")
    sandbox.add_argument("--companies", type=int, default=40, help="size of a new one (default: %(default)s)")
    config = add("config", _config, "Print what a client needs to start this server.")
    config.add_argument("client", choices=["claude-desktop", "claude-code", "cursor", "vscode"])
    _add_settings(config, serving=False)
    tools = add("tools", _tools, "List the tools and what they cost a model's context.")
    _add_settings(tools, serving=False)
    return parser


def _add_settings(parser: argparse.ArgumentParser, *, serving: bool) -> None:
    """Flags that stand for settings; their destinations are the settings' own names."""
    group = parser.add_argument_group("settings")

    def add(flag: str, variable: str, **kwargs: Any) -> None:
        kwargs["help"] += f" ({variable})"
        # SUPPRESS: a command's parser must not undo what was said before the command.
        group.add_argument(flag, dest=variable, default=argparse.SUPPRESS, **kwargs)

    group.add_argument(
        "--env-file", metavar="FILE", default=argparse.SUPPRESS, help="read settings from NAME=value lines"
    )
    add(
        "--toolsets",
        "CRM_MCP_TOOLSETS",
        metavar="NAMES",
        help="read,sales,email,lists,delete,pipeline or all",
    )
    add("--read-only", "CRM_MCP_READ_ONLY", action="store_const", const="true", help="no tool that writes")
    add("--sandbox", "CRM_MCP_SANDBOX", metavar="FILE", help="the embedded CRM's database, or :memory:")
    add("--log-level", "CRM_MCP_LOG_LEVEL", metavar="LEVEL", help="DEBUG, INFO, WARNING or ERROR, on stderr")
    if serving:
        add("--http", "CRM_MCP_HTTP", metavar="[HOST:]PORT", help="serve streamable HTTP at /mcp")


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
    # httpx2 logs URLs, which hold what somebody searched for; stamina logs errors, which quote the CRM.
    for name in ("httpx2", "httpcore2", "stamina"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _serve(arguments: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415

    from crm_mcp import backend, stdio  # noqa: PLC0415
    from crm_mcp.access import CrmAccess  # noqa: PLC0415
    from crm_mcp.server import build_server  # noqa: PLC0415

    settings = _settings(arguments)
    access = CrmAccess(backend.opener(settings))
    server = build_server(
        access, settings.toolsets, read_only=settings.read_only, sandbox=settings.uses_sandbox
    )
    if settings.http:
        from crm_mcp import http  # noqa: PLC0415

        app = http.build_app(server, settings)
        return _serve_http(app, *settings.http, path="/mcp", on_stopping=http.stream_closer(server))
    gc.enable()
    gc.freeze()
    anyio.run(stdio.serve, server, access)
    return OK


def _serve_http(
    app: Any, host: str, port: int, *, path: str, on_stopping: Callable[[], object] = lambda: None
) -> int:
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
    address = f"http://{shown}:{listener.getsockname()[1]}{path}"
    gc.enable()
    gc.freeze()

    def on_started() -> None:
        print(f"Serving on {address}", file=sys.stderr, flush=True)

    anyio.run(http.serve, app, listener, on_started, on_stopping)
    return OK


def _sandbox(arguments: argparse.Namespace) -> int:
    from crm_mcp import backend  # noqa: PLC0415
    from crm_mcp.settings import IN_MEMORY  # noqa: PLC0415

    _log_to_stderr("WARNING")
    place = IN_MEMORY if arguments.memory else arguments.data or ""
    with backend.sandbox_store(place, companies=arguments.companies) as store:
        from crm_mcp.sandbox.app import create_app  # noqa: PLC0415

        key = store.credentials
        print(f"CRM_API_KEY={key.api_key}\nCRM_ENTITY_ID={key.entity_id}", flush=True)
        return _serve_http(create_app(store), "127.0.0.1", arguments.port, path="/api/crm")


def _demo(_arguments: argparse.Namespace) -> int:
    import anyio  # noqa: PLC0415

    from crm_mcp import demo  # noqa: PLC0415

    anyio.run(demo.play)
    return OK


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

    async def examine() -> list[doctor.Finding]:
        async with backend.opener(settings)() as crm:
            return await doctor.examine(crm)

    findings = anyio.run(examine)
    _report(findings, arguments.json, "Nothing was checked.")
    return PROBLEM if any(finding.status == "problem" for finding in findings) else OK


def _report(rows: Sequence[Any], as_json: bool, empty: str) -> None:
    import json  # noqa: PLC0415
    from dataclasses import asdict  # noqa: PLC0415

    from crm_mcp import doctor  # noqa: PLC0415

    if as_json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
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
