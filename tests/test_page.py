"""The approval page over real HTTP: what it shows, the one request that decides, and when it is served."""

import logging
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import httpx2
import pytest

from crm_mcp.ledger import Approval, Ledger, Question
from crm_mcp.page import CHECK_SECONDS, ApprovalPage

PREVIEW = 'To: Anna Ruiz <anna@acme.example>\nSubject: Offer\n\nDear Anna,\n\t"the offer" & more.\n  Bo'
QUESTION = Question(
    digest="d",
    principal="desktop <bo>",
    entity="e1",
    tool="send_outbound_email",
    preview=PREVIEW,
    plan=None,
)
HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-type": "text/html; charset=utf-8",
}
FORM = "application/x-www-form-urlencoded"
REFUSED = [
    ("h1", "Refused"),
    ("p", "This request did not come from the approval page itself. Nothing was decided."),
]
NOTHING_HERE = [
    ("h1", "Nothing to approve here"),
    ("p", "The link is incomplete, or too old. Nothing was decided."),
]
APPROVED = [("h1", "Approved"), ("p", "Tell your assistant to go on. It may do this once.")]

NUMBERS = count()

Ask = Callable[..., Approval]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "ledger.db"


@pytest.fixture(scope="module")
def ledger(file: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(file)
    yield ledger
    ledger.shut()


@pytest.fixture(scope="module")
def page(ledger: Ledger) -> Iterator[ApprovalPage]:
    page = ApprovalPage(ledger)
    yield page
    page.stop()


@pytest.fixture
def own_page(ledger: Ledger, page: ApprovalPage) -> Iterator[ApprovalPage]:
    """A second page of the same ledger, for what is to be stopped."""
    page.stop()
    own_page = ApprovalPage(ledger)
    yield own_page
    own_page.stop()


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=20) as client:
        yield client


@pytest.fixture
def ask(ledger: Ledger) -> Ask:
    """`ask(**changes)`: an approval that waits, each time for another operation."""

    def ask(**changes: str) -> Approval:
        question = replace(QUESTION, digest=f"d{next(NUMBERS)}", **changes)
        return ledger.ask_for_approval(question, seconds=600)

    return ask


@pytest.fixture
def asked(ask: Ask) -> Approval:
    return ask()


@pytest.fixture
def link(page: ApprovalPage, asked: Approval) -> str:
    return page.link(asked.id)


class Seen(HTMLParser):
    """What a person sees of a page: its texts with their elements; and what its form would send along."""

    def __init__(self, response: httpx2.Response) -> None:
        super().__init__()
        self.texts: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.proof = ""
        self._open: list[str] = []
        self.feed(response.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "input":
            self.proof = dict(attrs)["value"] or ""
        elif tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "title"):
            # A browser drops the first line break of a `pre`.
            self.texts.append((self._open[-1], data.removeprefix("\n")))


def facts(asked: Approval, preview: str = PREVIEW) -> list[tuple[str, str]]:
    return [
        ("dt", "Tool"),
        ("dd", asked.tool),
        ("dt", "CRM"),
        ("dd", "the embedded CRM"),
        ("dt", "Asked for by"),
        ("dd", asked.principal),
        ("dt", "Holds until"),
        ("dd", f"{asked.expires_at.astimezone():%Y-%m-%d %H:%M:%S %Z}"),
        ("h2", "What it does"),
        ("pre", preview),
    ]


def form(asked: Approval, preview: str = PREVIEW) -> list[tuple[str, str]]:
    return [
        ("h1", "May your assistant do this?"),
        *facts(asked, preview),
        ("button", "Decline"),
        ("button", "Approve"),
    ]


def origin(link: str) -> str:
    return link[: link.index("/", len("http://"))]


def press(http: httpx2.Client, link: str, decision: str) -> httpx2.Response:
    """What a browser does when the person opens the page and presses a button."""
    fields = {"proof": Seen(http.get(link)).proof, "decision": decision}
    return http.post(link, data=fields, headers={"Origin": origin(link), "Sec-Fetch-Site": "same-origin"})


def status_and_texts(response: httpx2.Response) -> tuple[int, list[tuple[str, str]]]:
    return response.status_code, Seen(response).texts


def let_expire(file: Path, asked: Approval) -> None:
    """Move its end into the past, where the ledger keeps it."""
    past = asked.expires_at - timedelta(hours=1)
    until, then = (f"{moment.isoformat(timespec='microseconds')}" for moment in (asked.expires_at, past))
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        told = "UPDATE events SET data = replace(data, ?, ?) WHERE about = ?"
        connection.execute(told, (until, then, asked.id))


def test_page_shows_what_is_asked(http: httpx2.Client, link: str, asked: Approval) -> None:
    response = http.get(link)
    assert status_and_texts(response) == (200, form(asked))
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


def test_approve_button_approves_once(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger
) -> None:
    before = datetime.now(UTC)
    assert status_and_texts(press(http, link, "approve")) == (200, APPROVED + facts(asked))
    decided = ledger.approval(asked.id)
    assert decided.decided_at
    assert before <= decided.decided_at <= datetime.now(UTC)
    assert decided == replace(asked, state="approved", decided_at=decided.decided_at, decided_by="page")


def test_decline_button_declines(http: httpx2.Client, link: str, asked: Approval, ledger: Ledger) -> None:
    assert status_and_texts(press(http, link, "decline")) == (
        200,
        [
            ("h1", "Declined"),
            ("p", "Nothing will be sent. Tell your assistant to go on without it."),
            *facts(asked),
        ],
    )
    decided = ledger.approval(asked.id)
    assert (decided.state, decided.decided_by) == ("declined", "page")


@pytest.mark.parametrize("second", ["approve", "decline"])
def test_decision_stands(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger, second: str
) -> None:
    fields = {"proof": Seen(http.get(link)).proof, "decision": second}
    press(http, link, "approve")
    decided = ledger.approval(asked.id)
    again = http.post(link, data=fields, headers={"Origin": origin(link)})
    assert status_and_texts(again) == (
        409,
        [("h1", "Already approved"), ("p", "Tell your assistant to go on."), *facts(asked)],
    )
    assert ledger.approval(asked.id) == decided


def test_page_answers_to_localhost_too(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger
) -> None:
    name = origin(link).replace("127.0.0.1", "localhost").removeprefix("http://")
    fields = {"proof": Seen(http.get(link, headers={"Host": name})).proof, "decision": "approve"}
    response = http.post(link, data=fields, headers={"Host": name, "Origin": f"http://{name}"})
    assert (response.status_code, ledger.approval(asked.id).state) == (200, "approved")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_reading_decides_nothing(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger, method: str
) -> None:
    fields = {"proof": Seen(http.get(link)).proof, "decision": "approve"}
    own = {"Origin": origin(link), "Sec-Fetch-Site": "same-origin", "Content-Type": FORM}
    responses = [http.request(method, link) for _ in range(2)]
    responses.append(http.request(method, link, params=fields, headers=own))
    responses.append(http.request(method, link, data=fields, headers=own))
    seen = form(asked) if method == "GET" else []
    assert [status_and_texts(response) for response in responses] == [(200, seen)] * 4
    assert ledger.approval(asked.id) == asked


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": None},
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:{port}"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:{port}.evil.example"},
        {"Origin": "http://127.0.0.1:{port}/"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1", "Origin": "http://127.0.0.1"},
        {"Host": "127.0.0.1:1", "Origin": "http://127.0.0.1:1"},
        {"Host": "127.0.0.1.evil.example:{port}", "Origin": "http://127.0.0.1.evil.example:{port}"},
        {"Host": "[::1]:{port}", "Origin": "http://[::1]:{port}"},
        {"Host": "", "Origin": "http://"},
        {"Content-Type": None},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ],
    ids=lambda headers: " ".join(f"{name}={value}" for name, value in headers.items()),
)
def test_request_from_elsewhere_decides_nothing(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger, headers: dict[str, str | None]
) -> None:
    port = origin(link).rpartition(":")[2]
    content = f"proof={Seen(http.get(link)).proof}&decision=approve"
    own = {"Origin": origin(link), "Sec-Fetch-Site": "same-origin", "Content-Type": FORM}
    foreign = {name: value.format(port=port) for name, value in (own | headers).items() if value is not None}
    assert status_and_texts(http.post(link, content=content, headers=foreign)) == (403, REFUSED)
    assert ledger.approval(asked.id) == asked
    assert http.post(link, content=content, headers=own).status_code == 200


@pytest.mark.parametrize(
    "content",
    [
        "",
        "decision=approve",
        "proof=&decision=approve",
        "proof=0000&decision=approve",
        "proof=%C3%A9%00&decision=approve",
        "proof={other}&decision=approve",
        "proof={proof}0&decision=approve",
        "proof={proof}",
        "proof={proof}&decision=",
        "proof={proof}&decision=yes",
        "proof={proof}&decision=Approve",
        '{{"proof": "{proof}", "decision": "approve"}}',
        "\u00e9\u0000%",
    ],
)
def test_forged_form_decides_nothing(
    http: httpx2.Client, page: ApprovalPage, ask: Ask, ledger: Ledger, content: str
) -> None:
    asked = ask()
    link, other = page.link(asked.id), page.link(ask().id)
    proofs = {"proof": Seen(http.get(link)).proof, "other": Seen(http.get(other)).proof}
    own = {"Origin": origin(link), "Content-Type": FORM}
    forged = http.post(link, content=content.format(**proofs), headers=own)
    assert status_and_texts(forged) == (403, REFUSED)
    assert ledger.approval(asked.id) == asked
    sound = http.post(link, content="proof={proof}&decision=approve".format(**proofs), headers=own)
    assert sound.status_code == 200


def test_large_body_is_refused(http: httpx2.Client, link: str, asked: Approval, ledger: Ledger) -> None:
    fields = {"proof": Seen(http.get(link)).proof, "decision": "approve", "more": "x" * 4096}
    response = http.post(link, data=fields, headers={"Origin": origin(link)})
    assert status_and_texts(response) == (
        413,
        [("h1", "Refused"), ("p", "This is more than the answer to a question. Nothing was decided.")],
    )
    assert ledger.approval(asked.id) == asked


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(
    http: httpx2.Client, link: str, asked: Approval, ledger: Ledger, method: str
) -> None:
    fields = {"proof": Seen(http.get(link)).proof, "decision": "approve"}
    response = http.request(method, link, data=fields, headers={"Origin": origin(link)})
    assert status_and_texts(response) == (
        405,
        [("h1", "Refused"), ("p", "This page is only read and answered. Nothing was decided.")],
    )
    assert response.headers["allow"] == "GET, HEAD, POST"
    assert ledger.approval(asked.id) == asked


@pytest.mark.parametrize("host", ["evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost", ""])
def test_page_is_not_shown_under_another_name(http: httpx2.Client, link: str, host: str) -> None:
    port = origin(link).rpartition(":")[2]
    response = http.get(link, headers={"Host": host.format(port=port)})
    assert status_and_texts(response) == (403, REFUSED)


def test_only_the_whole_address_leads_to_it(http: httpx2.Client, link: str, asked: Approval) -> None:
    home, (secret, approval_id) = origin(link), link.removeprefix(origin(link) + "/").split("/")
    assert (len(secret), approval_id) == (32, asked.id)
    paths = [
        *("", "favicon.ico", secret, f"{secret}/", approval_id),
        *(
            f"{secret}/{approval_id}/",
            f"{secret}/{'a' * 26}",
            f"{'A' * 32}/{approval_id}",
            f"é/{approval_id}",
        ),
    ]
    assert [status_and_texts(http.get(f"{home}/{path}")) for path in paths] == [(404, NOTHING_HERE)] * 9


def test_every_page_has_an_address_of_its_own(page: ApprovalPage, ledger: Ledger, asked: Approval) -> None:
    link = page.link(asked.id)
    other = ApprovalPage(ledger)
    secret, approval_id = link.split("/")[-2:]
    other_secret, same_id = other.link(approval_id).split("/")[-2:]
    other.stop()
    assert (same_id, other_secret != secret) == (approval_id, True)


def test_page_is_served_on_one_loopback_address_only(link: str) -> None:
    port = int(origin(link).rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises((ConnectionRefusedError, TimeoutError)):
        socket.create_connection(("127.0.0.2", port), timeout=1)


@pytest.mark.parametrize(
    ("state", "status", "title", "text"),
    [
        ("declined", 409, "Already declined", "Your assistant may not do this."),
        ("used", 409, "Already approved", "Your assistant has used the approval."),
        ("void", 410, "No longer valid", "What this was about has changed. Your assistant can ask again."),
        ("expired", 410, "Too late", "Nobody decided in time. Your assistant can ask again."),
    ],
)
def test_what_no_longer_waits_cannot_be_approved(
    http: httpx2.Client,
    link: str,
    asked: Approval,
    ledger: Ledger,
    file: Path,
    state: str,
    status: int,
    title: str,
    text: str,
) -> None:
    fields = {"proof": Seen(http.get(link)).proof, "decision": "approve"}
    if state == "expired":
        let_expire(file, asked)
    elif state == "void":
        ledger.void(asked.id)
    else:
        ledger.decide(asked.id, approved=state == "used", by="terminal")
    if state == "used":
        ledger.consume(asked.id, digest=asked.digest, principal=asked.principal, entity=asked.entity)
    before = ledger.approval(asked.id)
    expected = (status, [("h1", title), ("p", text), *facts(before)])
    assert status_and_texts(http.get(link)) == expected
    posted = http.post(link, data=fields, headers={"Origin": origin(link)})
    assert status_and_texts(posted) == expected
    assert (ledger.approval(asked.id), before.state) == (before, state)


HOSTILE = """</pre></main><script>document.forms[0].submit()</script>
<form action="https://evil.example"><button name="decision" value="approve">Decline</button></form>
&lt;b&gt; <img src=x onerror=alert(1)> "'><style>main{display:none}</style><!--"""


def test_hostile_text_is_shown_as_text(http: httpx2.Client, page: ApprovalPage, ask: Ask) -> None:
    hostile, harmless = ask(principal=HOSTILE, tool=HOSTILE, preview=HOSTILE), ask()
    seen, sane = (Seen(http.get(page.link(asked.id))) for asked in (hostile, harmless))
    assert seen.texts == form(hostile, HOSTILE)
    assert seen.tags == sane.tags
    assert not {"script", "img"} & set(seen.tags)


def test_what_cannot_be_seen_is_named(http: httpx2.Client, page: ApprovalPage, ask: Ask) -> None:
    preview = "pay \u202e001 EUR\u2069 to\u200b acme\x00.example\x1b[2K\u2028now\r\n\u00a0שלום ✓\U000e0041"
    asked = ask(preview=preview)
    assert Seen(http.get(page.link(asked.id))).texts == form(
        asked,
        "pay [U+202E]001 EUR[U+2069] to[U+200B] acme[U+0000].example[U+001B][2K now \n שלום ✓[U+E0041]",
    )


def test_ledger_that_fails_is_said_so(http: httpx2.Client, tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    ledger = Ledger.open(file)
    asked = ledger.ask_for_approval(QUESTION, seconds=600)
    page = ApprovalPage(ledger)
    link = page.link(asked.id)
    fields = {"proof": Seen(http.get(link)).proof, "decision": "approve"}
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE approvals")
    answers = [http.get(link), http.post(link, data=fields, headers={"Origin": origin(link)})]
    page.stop()
    ledger.shut()
    text = f"The ledger cannot use {file}: no such table: approvals. Nothing was decided."
    expected = (503, [("h1", "Not now"), ("p", text)])
    assert [status_and_texts(answer) for answer in answers] == [expected, expected]


def test_sender_that_leaves_is_no_error(
    own_page: ApprovalPage, asked: Approval, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    link = own_page.link(asked.id)
    host, _, path = link.removeprefix("http://").partition("/")
    lines = [f"POST /{path} HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", f"Content-Type: {FORM}"]
    with socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, "Content-Length: 99", "", "proof="]).encode())
    own_page.stop()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert ledger.approval(asked.id) == asked


def serving() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "approval page"]


def test_page_is_served_while_something_waits(http: httpx2.Client, own_page: ApprovalPage, ask: Ask) -> None:
    ask()  # nobody has a link to this one
    first, second = own_page.link(ask().id), own_page.link(ask().id)
    [thread] = serving()
    press(http, first, "approve")
    thread.join(3 * CHECK_SECONDS)  # would have ended by now
    assert (thread.is_alive(), press(http, second, "approve").status_code) == (True, 200)
    thread.join(20)
    assert not thread.is_alive()
    with pytest.raises(httpx2.ConnectError):
        http.get(second)

    again = own_page.link(ask().id)
    assert (http.get(again).status_code, again.split("/")[:4] == second.split("/")[:4]) == (200, False)


def test_stopped_page_leaves_what_waits_and_starts_again(
    http: httpx2.Client, own_page: ApprovalPage, asked: Approval, ledger: Ledger
) -> None:
    link = own_page.link(asked.id)
    assert own_page.link(asked.id) == link
    http.get(link)  # and its connection stays open
    own_page.stop()
    own_page.stop()
    assert (serving(), ledger.approval(asked.id)) == ([], asked)
    with pytest.raises(httpx2.ConnectError):
        http.get(link)
    assert http.get(own_page.link(asked.id)).status_code == 200


def test_links_asked_for_at_once_share_a_server(own_page: ApprovalPage, asked: Approval) -> None:
    with ThreadPoolExecutor(8) as pool:
        links = set(pool.map(own_page.link, [asked.id] * 8))
    assert (len(links), len(serving())) == (1, 1)


def test_import_loads_no_web_server() -> None:
    code = "import sys, crm_mcp.page; print(sorted({'uvicorn', 'starlette', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
