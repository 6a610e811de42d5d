"""The form on which a person decides: what it shows, and which requests count as that person's decision."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from crm_mcp.journal import LedgerError
from crm_mcp.ledger import Approval, ApprovalError, Ledger, State, patiently

MAX_BODY_BYTES: Final = 4096
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_DECISIONS: Final[Mapping[str | None, bool]] = {"approve": True, "decline": False}

_STANDING: Final[Mapping[State, tuple[HTTPStatus, str, str]]] = {
    "approved": (HTTPStatus.CONFLICT, "Already approved", "Tell your assistant to go on."),
    "used": (HTTPStatus.CONFLICT, "Already approved", "Your assistant has used the approval."),
    "declined": (HTTPStatus.CONFLICT, "Already declined", "Your assistant may not do this."),
    "expired": (HTTPStatus.GONE, "Too late", "Nobody decided in time. Your assistant can ask again."),
    "void": (
        HTTPStatus.GONE,
        "No longer valid",
        "What this was about has changed. Your assistant can ask again.",
    ),
}
_REFUSALS: Final[Mapping[int, tuple[str, str]]] = {
    HTTPStatus.FORBIDDEN: ("Refused", "This request did not come from the approval page itself."),
    HTTPStatus.NOT_FOUND: ("Nothing to approve here", "The link is incomplete, or too old."),
    HTTPStatus.METHOD_NOT_ALLOWED: ("Refused", "This page is only read and answered."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("Refused", "This is more than the answer to a question."),
}

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #f2f4f7; --line: #8a929c;
  --quiet: #525a65; --strong: #0b5fc0; --on-strong: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaed; --paper: #17191c; --soft: #23262b;
  --line: #7d858f; --quiet: #aab2bd; --strong: #8ab8ff; --on-strong: #10151c; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 44rem; margin: 0 auto; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--quiet); }
dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: 0; padding: 1rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--soft);
  font: .9375rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere;
  unicode-bidi: plaintext; }
form { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.5rem; }
button { min-width: 8rem; padding: .625rem 1.25rem; border: 1px solid var(--strong); border-radius: .5rem;
  background: transparent; color: var(--strong); font: inherit; font-weight: 600; cursor: pointer; }
button[value="approve"] { background: var(--strong); color: var(--on-strong); }
button:focus-visible { outline: 3px solid var(--ink); outline-offset: 2px; }
"""
_HEADERS: Final = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        )
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would say `Origin: null` when they send the form.
    "Referrer-Policy": "same-origin",
    # Whoever opened the page in a window keeps no hold of it.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ApprovalForm:
    """The ASGI app: reading shows what waits, and nothing but the form that it shows decides."""

    def __init__(self, ledger: Ledger, port: int) -> None:
        self._ledger = ledger
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._directory = f"/{secrets.token_urlsafe(24)}/"
        self._key = secrets.token_bytes(32)

    def address(self, approval_id: str) -> str:
        return f"http://{self._hosts[0]}{self._directory}{approval_id}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except ClientDisconnect:
            return
        except HTTPException as refusal:
            title, why = _REFUSALS[refusal.status_code]
            response = _page(
                title, f"<p>{why} Nothing was decided.</p>", refusal.status_code, refusal.headers
            )
        except LedgerError as error:
            text = f"<p>{_shown(str(error))} Nothing was decided.</p>"
            response = _page("Not now", text, HTTPStatus.SERVICE_UNAVAILABLE)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> HTMLResponse:
        # Another name that leads here is that of somebody's page, rebound to this machine.
        if request.headers.get("host") not in self._hosts:
            raise HTTPException(HTTPStatus.FORBIDDEN)
        approval_id = self._addressed(request.scope["path"])
        if request.method == "POST":
            return await self._decided(approval_id, approved=await self._decision(request, approval_id))
        if request.method not in ("GET", "HEAD"):
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, HEAD, POST"})
        return self._seen(approval_id)

    def _addressed(self, path: str) -> str:
        directory, approval_id = path[: len(self._directory)], path[len(self._directory) :]
        if not hmac.compare_digest(directory.encode(), self._directory.encode()):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return approval_id

    def _seen(self, approval_id: str) -> HTMLResponse:
        try:
            approval = self._ledger.approval(approval_id)
        except ApprovalError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND) from error
        if approval.state == "waiting":
            return _page("May your assistant do this?", _facts(approval) + self._form(approval_id))
        status, title, text = _STANDING[approval.state]
        return _page(title, f"<p>{text}</p>{_facts(approval)}", status)

    async def _decision(self, request: Request, approval_id: str) -> bool:
        """Whether the person approved; raises HTTPException unless the page's own form was sent."""
        headers = request.headers
        if (
            headers.get("origin") != f"http://{headers['host']}"
            or headers.get("sec-fetch-site", "same-origin") != "same-origin"
            or headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE
        ):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        fields = parse_qsl((await _body(request)).decode("ascii", "replace"))
        said = dict(fields)
        proof, decision = said.get("proof", ""), said.get("decision")
        is_ours = hmac.compare_digest(proof.encode(), self._proof(approval_id).encode())
        if not is_ours or decision not in _DECISIONS or len(said) != len(fields):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        return _DECISIONS[decision]

    async def _decided(self, approval_id: str, *, approved: bool) -> HTMLResponse:
        try:
            approval = await patiently(lambda: self._ledger.decide(approval_id, approved=approved, by="page"))
        except ApprovalError:
            return self._seen(approval_id)
        if approved:
            title, text = "Approved", "Tell your assistant to go on. It may do this once."
        else:
            title, text = "Declined", "Nothing will be sent. Tell your assistant to go on without it."
        return _page(title, f"<p>{text}</p>{_facts(approval)}")

    def _proof(self, approval_id: str) -> str:
        """What only the page of this approval knows."""
        return hmac.digest(self._key, approval_id.encode(), "sha256").hex()

    def _form(self, approval_id: str) -> str:
        # The first button is the one that a browser would press by itself.
        return (
            '<form method="post" autocomplete="off">'
            f'<input type="hidden" name="proof" value="{self._proof(approval_id)}">'
            '<button name="decision" value="decline">Decline</button>'
            '<button name="decision" value="approve">Approve</button>'
            "</form>"
        )


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return body


def _facts(approval: Approval) -> str:
    until = approval.expires_at.astimezone()
    return (
        "<dl>"
        f"<dt>Tool</dt><dd>{_shown(approval.tool)}</dd>"
        f"<dt>CRM</dt><dd>{_shown(approval.crm)}</dd>"
        f"<dt>Asked for by</dt><dd>{_shown(approval.principal)}</dd>"
        f"<dt>Holds until</dt><dd>{until:%Y-%m-%d %H:%M:%S %Z}</dd>"
        "</dl>"
        f"<h2>What it does</h2><pre>\n{_shown(approval.preview)}</pre>"
    )


def _shown(text: str) -> str:
    """Text that others wrote, as HTML: nothing in it acts, and what cannot be seen is named."""
    return escape("".join(char if char.isprintable() or char in "\n\t" else _named(char) for char in text))


def _named(char: str) -> str:
    # Some of these turn the text around them, or make a link look like another.
    return " " if char.isspace() else f"[U+{ord(char):04X}]"


def _page(
    title: str,
    content: str,
    status: int = HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{content}</main></body></html>"
    )
    return HTMLResponse(html, status, {**_HEADERS, **(headers or {})})
