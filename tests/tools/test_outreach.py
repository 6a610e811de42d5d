import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client

from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany

from .expected import short

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[str]]
Find = Callable[..., dict[str, Any]]

LIST_ID = "11111111-1111-4111-8111-111111111111"
GMAIL, OUTLOOK = "sales@nordwind.example", "office@nordwind.example"


@pytest.fixture
def licence(find: Find) -> dict[str, Any]:
    return find("leads", title="Acme annual licence")


@pytest.fixture
def mailboxes(sandbox: Any) -> dict[str, str]:
    return {row["email"]: row["id"] for row in sandbox.all("SELECT id, email FROM connections")}


@pytest.fixture
def listed(mailboxes: dict[str, str]) -> str:
    """How a refusal lists the mailboxes."""
    return (
        f"Connections: {OUTLOOK} (outlook, disconnected, {mailboxes[OUTLOOK]}); "
        f"{GMAIL} (gmail, active, {mailboxes[GMAIL]}). Nothing was sent."
    )


@pytest.fixture
def html_of(call: Call, sandbox: Any, licence: dict[str, Any]) -> Callable[..., Awaitable[str]]:
    """`await html_of(body, **arguments)`: what a body is when it has arrived."""

    async def html_of(body: str, **arguments: str) -> str:
        await call("send_outbound_email", lead=licence["id"], subject="Hi", body=body, **arguments)
        [email] = sandbox.all("SELECT html_body FROM outbox")
        return str(email["html_body"])

    return html_of


async def test_list_email_connections(call: Call, mailboxes: dict[str, str]) -> None:
    text, facts = await call("list_email_connections")
    assert (
        text
        == f"""\
E-mail connections: 2
- {OUTLOOK} · outlook · disconnected · {short(mailboxes[OUTLOOK])}
- {GMAIL} · gmail · active · {short(mailboxes[GMAIL])}"""
    )
    assert facts == {
        "connections": [
            {"id": mailboxes[OUTLOOK], "channel": "outlook", "email": OUTLOOK, "status": "disconnected"},
            {"id": mailboxes[GMAIL], "channel": "gmail", "email": GMAIL, "status": "active"},
        ]
    }


async def test_an_email_goes_to_the_leads_contact_from_the_active_mailbox(
    call: Call, find: Find, licence: dict[str, Any], mailboxes: dict[str, str]
) -> None:
    recipient = find("contacts", id=licence["contact_id"])["email"]

    text, facts = await call(
        "send_outbound_email", lead="Acme licence", subject="Our offer", body="Hello *Mira*,\nsee below."
    )

    assert text == f'E-mail "Our offer" sent to {recipient} from {GMAIL}.'
    assert facts == {
        "to": recipient,
        "sent_from": GMAIL,
        "subject": "Our offer",
        "sent_at": facts["sent_at"],
    }
    email = find("outbox", lead_id=licence["id"])
    html = "<p>Hello <em>Mira</em>,<br>\nsee below.</p>"
    assert (email["recipient"], email["subject"], email["html_body"], email["connection_id"]) == (
        recipient,
        "Our offer",
        html,
        mailboxes[GMAIL],
    )
    _, lead = await call("get_lead", lead=licence["id"])
    assert ("email", "Our offer", html) in [
        (entry["type"], entry["subject"], entry.get("body")) for entry in lead["timeline"]
    ]


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("# Offer\n\n- one\n- two", "<h1>Offer</h1>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>"),
        (
            "[our site](https://nordwind.example)",
            '<p><a href="https://nordwind.example" rel="noopener noreferrer">our site</a></p>',
        ),
        ("[click](javascript:alert(1))", "<p>[click](javascript:alert(1))</p>"),
        ("1 < 2 & <b>3</b>", "<p>1 &lt; 2 &amp; &lt;b&gt;3&lt;/b&gt;</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        (
            "| a | b |\n|---|---|\n| 1 | 2 |",
            "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n"
            "<tbody>\n<tr>\n<td>1</td>\n<td>2</td>\n</tr>\n</tbody>\n</table>",
        ),
    ],
)
async def test_markdown_is_rendered_and_html_in_it_is_text(
    html_of: Callable[..., Awaitable[str]], markdown: str, html: str
) -> None:
    assert await html_of(markdown) == html


@pytest.mark.parametrize(
    ("given", "html"),
    [
        ("<p>Hi <b>you</b></p>", "<p>Hi <b>you</b></p>"),
        ("<p>Hi<script>alert(1)</script></p>", "<p>Hi</p>"),
        ('<p onclick="x()">Hi</p>', "<p>Hi</p>"),
        ('<b onerror="x()" style="color:red">Hi</b>', "<b>Hi</b>"),
        ('<a href="javascript:alert(1)">Hi</a>', '<a rel="noopener noreferrer">Hi</a>'),
        ('<a href="data:text/html,x">Hi</a>', '<a rel="noopener noreferrer">Hi</a>'),
        ('<iframe src="https://x.example"></iframe><form><input>Hi</form>', "Hi"),
        (
            '<p>Hi<img src="https://x.example/p.gif" onerror="x()"></p>',
            '<p>Hi<img src="https://x.example/p.gif"></p>',
        ),
    ],
)
async def test_html_loses_whatever_could_act(
    html_of: Callable[..., Awaitable[str]], given: str, html: str
) -> None:
    assert await html_of(given, body_format="html") == html


@pytest.mark.parametrize(
    ("body", "body_format"),
    [
        ("<p> </p>", "html"),
        ("<script>alert(1)</script>", "html"),
        ("<p>&nbsp;</p>", "html"),
        ("---", "markdown"),
    ],
)
async def test_an_email_without_text_is_not_sent(
    refusal: Call, wire: Any, licence: dict[str, Any], body: str, body_format: str
) -> None:
    arguments = {"lead": licence["id"], "subject": "Hi", "body": body, "body_format": body_format}
    assert await refusal("send_outbound_email", **arguments) == "The e-mail has no text. Nothing was sent."
    assert wire.sent == []


@pytest.mark.parametrize("by", ["address", "ADDRESS", "channel", "id", "short id"])
async def test_a_mailbox_can_be_named(
    call: Call, sandbox: Any, find: Find, licence: dict[str, Any], mailboxes: dict[str, str], by: str
) -> None:
    sandbox.execute("UPDATE connections SET status = 'active'")
    said = {
        "address": OUTLOOK,
        "ADDRESS": OUTLOOK.upper(),
        "channel": "Outlook",
        "id": mailboxes[OUTLOOK],
        "short id": short(mailboxes[OUTLOOK]),
    }[by]

    _, facts = await call(
        "send_outbound_email", lead=licence["id"], subject="Hi", body="Hello", connection=said
    )

    assert facts["sent_from"] == OUTLOOK
    assert find("outbox", subject="Hi")["connection_id"] == mailboxes[OUTLOOK]


@pytest.mark.parametrize(
    ("connection", "problem"),
    [
        (OUTLOOK, f"The e-mail connection {OUTLOOK} (outlook, disconnected, {{}}) cannot send."),
        ("outlook", f"The e-mail connection {OUTLOOK} (outlook, disconnected, {{}}) cannot send."),
        ("me@nordwind.example", 'No e-mail connection "me@nordwind.example".'),
    ],
)
async def test_a_mailbox_that_cannot_send_is_refused(
    refusal: Call,
    wire: Any,
    licence: dict[str, Any],
    mailboxes: dict[str, str],
    listed: str,
    connection: str,
    problem: str,
) -> None:
    arguments = {"lead": licence["id"], "subject": "Hi", "body": "Hello", "connection": connection}
    assert (
        await refusal("send_outbound_email", **arguments) == f"{problem.format(mailboxes[OUTLOOK])} {listed}"
    )
    assert wire.writes == []


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (
            "active",
            "Several e-mail connections are active. Say the id of the one that is meant:\n"
            "- {outlook}\n- {gmail}\nNothing was sent to the CRM.",
        ),
        (
            "disconnected",
            "No e-mail connection is active; one is connected in the CRM's own settings. "
            "Connections: {outlook}; {gmail}. Nothing was sent.",
        ),
    ],
)
async def test_without_one_active_mailbox_nothing_is_sent(
    refusal: Call,
    sandbox: Any,
    wire: Any,
    licence: dict[str, Any],
    mailboxes: dict[str, str],
    status: str,
    problem: str,
) -> None:
    sandbox.execute("UPDATE connections SET status = ?", status)
    said = problem.format(
        outlook=f"{OUTLOOK} (outlook, {status}, {mailboxes[OUTLOOK]})",
        gmail=f"{GMAIL} (gmail, {status}, {mailboxes[GMAIL]})",
    )
    assert await refusal("send_outbound_email", lead=licence["id"], subject="Hi", body="Hello") == said
    assert wire.writes == []


async def test_nothing_is_sent_to_a_contact_without_an_address(
    refusal: Call, sandbox: Any, find: Find
) -> None:
    [lead] = sandbox.all(
        "SELECT leads.id, first_name, last_name FROM leads JOIN contacts ON contacts.id = contact_id"
        " WHERE email IS NULL LIMIT 1"
    )
    assert await refusal("send_outbound_email", lead=lead["id"], subject="Hi", body="Hello") == (
        f"{lead['first_name']} {lead['last_name']} has no e-mail address. Nothing was sent."
    )
    assert sandbox.all("SELECT * FROM outbox") == []


async def test_companies_are_put_on_a_marketing_list_once(call: Call, sandbox: Any, find: Find) -> None:
    first, second = (find("companies", name=name)["id"] for name in ("Acme Inc.", "Acme Industries GmbH"))

    # So what the id is called is known.
    await call("get_company", company="Acme Inc.", detail="brief")
    one = await call("add_to_marketing_list", list_id=LIST_ID, companies=["Acme Inc.", first.upper()])
    both = await call(
        "add_to_marketing_list", list_id=LIST_ID, companies=["acme-inc.example", "Acme Industries"]
    )

    assert (
        one.text
        == f"""\
Companies put on list {LIST_ID}: 1 (1 new).
- done · Acme Inc.
- named twice · {first.upper()} · Acme Inc."""
    )
    assert one.facts == {
        "list_id": LIST_ID,
        "company_ids": [first],
        "added": 1,
        "already_on_list": 0,
        "batch": {
            "done": 1,
            "failed": 0,
            "unknown": 0,
            "not_attempted": 0,
            "items": [
                {"item": "Acme Inc.", "outcome": "done", "detail": ""},
                {"item": first.upper(), "outcome": "named twice", "detail": "Acme Inc."},
            ],
        },
    }
    assert (
        both.text
        == f"""\
Companies put on list {LIST_ID}: 2 (1 new).
- done · acme-inc.example · Acme Inc.
- done · Acme Industries · Acme Industries GmbH"""
    )
    on_list = sandbox.all("SELECT company_id FROM marketing_list_companies WHERE list_id = ?", LIST_ID)
    assert {row["company_id"] for row in on_list} == {first, second}


async def test_a_company_that_is_not_clear_is_named_and_the_others_are_put_on_the_list(
    call: Call, wire: Any, find: Find
) -> None:
    said = ["Quint Medica", "Xqwzt", "Textil", "umbra-foods-ltd.example", "Quint Medica Oy"]
    text, facts = await call("add_to_marketing_list", list_id=LIST_ID, companies=said)
    names = ("Quint Medica Oy", "Umbra Foods Ltd", "Tessara Textil Inc.", "Ysel Textil Ltd")
    quint, umbra, *textil = (find("companies", name=name) for name in names)
    candidates = [
        f"Tessara Textil Inc. · prospect · archived · {textil[0]['website']} · {short(textil[0]['id'])}",
        f"Ysel Textil Ltd · customer · {textil[1]['website']} · {short(textil[1]['id'])}",
    ]
    unclear = '"Textil" fits more than one company. Say the id of the one that is meant:'
    assert (
        text
        == f"""\
Companies put on list {LIST_ID}: 2 (2 new), 2 failed.
- done · Quint Medica · Quint Medica Oy
- failed · Xqwzt · No company "Xqwzt". search_companies lists what there is.
- failed · Textil · {unclear}
  - {candidates[0]}
  - {candidates[1]}
- done · umbra-foods-ltd.example · Umbra Foods Ltd
- named twice · Quint Medica Oy"""
    )
    assert facts["company_ids"] == [quint["id"], umbra["id"]]
    assert (facts["added"], facts["batch"]["done"], facts["batch"]["failed"]) == (2, 2, 2)
    [write] = wire.writes
    assert write.body == {"listId": LIST_ID, "companyIds": [quint["id"], umbra["id"]]}


async def test_where_no_company_is_clear_nothing_is_put_on_the_list(refusal: Call, wire: Any) -> None:
    problem = 'No company "{}". search_companies lists what there is.'
    assert await refusal("add_to_marketing_list", list_id=LIST_ID, companies=["Xqwzt", "Zzyx"]) == "\n".join(
        [problem.format("Xqwzt"), problem.format("Zzyx"), "Nothing was put on the list."]
    )
    assert wire.writes == []


async def test_a_hundred_companies_are_put_on_a_list_in_one_request(
    call: Call, refusal: Call, wire: Any, sandbox: Any
) -> None:
    rows = sandbox.all("SELECT id, name FROM companies ORDER BY name")
    said = [spelt for row in rows for spelt in (row["name"], row["id"], row["name"].upper())]
    text, facts = await call("add_to_marketing_list", list_id=LIST_ID, companies=said[:100])
    assert facts["company_ids"] == [row["id"] for row in rows[:34]]
    outcomes = Counter(item["outcome"] for item in facts["batch"]["items"])
    assert outcomes == {"done": 34, "named twice": 66}
    assert len(text.splitlines()) == 101
    [write] = wire.writes
    assert write.body["companyIds"] == facts["company_ids"]
    assert await refusal("add_to_marketing_list", list_id=LIST_ID, companies=said[:101]) == (
        "`companies`: give at most 100 items, not 101. Nothing was done."
    )
    assert len(wire.writes) == 1


async def test_a_marketing_list_goes_by_the_alias_that_the_operator_set(
    open_client: Callable[..., Awaitable[Client]], sandbox: Any, find: Find
) -> None:
    acme = find("companies", name="Acme Inc.")["id"]
    client = await open_client(lists={"newsletter": LIST_ID, "fair": acme})
    result = await client.call_tool(
        "add_to_marketing_list", {"list_id": "Newsletter", "companies": ["Acme Inc"]}
    )
    [block] = result.content
    assert block.type == "text"
    assert block.text.splitlines()[:-1] == [
        "Companies put on list Newsletter: 1 (1 new).",
        "- done · Acme Inc · Acme Inc.",
    ]
    assert result.structured_content is not None
    assert (result.structured_content["list_id"], result.structured_content["company_ids"]) == (
        LIST_ID,
        [acme],
    )
    refused = await client.call_tool("add_to_marketing_list", {"list_id": "news", "companies": ["Acme Inc"]})
    assert refused.is_error
    assert [block.text for block in refused.content] == [
        'No marketing list "news": the CRM lists none, so say an id or an alias. Aliases: newsletter, fair. '
        "Nothing was sent to the CRM."
    ]
    [on_list] = sandbox.all("SELECT list_id, company_id FROM marketing_list_companies")
    assert on_list == {"list_id": LIST_ID, "company_id": acme}


async def test_without_aliases_a_marketing_list_is_an_id(refusal: Call, wire: Any) -> None:
    assert await refusal("add_to_marketing_list", list_id="newsletter", companies=["Acme Inc"]) == (
        'No marketing list "newsletter": the CRM lists none, so say an id or an alias. '
        "Aliases: none set (CRM_MARKETING_LISTS). Nothing was sent to the CRM."
    )
    assert wire.sent == []


async def test_an_id_that_no_company_has_is_the_crms_refusal(refusal: Call, sandbox: Any) -> None:
    """Ids are not looked up, and the CRM takes all of a request or nothing."""
    assert await refusal("add_to_marketing_list", list_id=LIST_ID, companies=["Acme Inc", LIST_ID]) == (
        f'The CRM found the input invalid: "companyIds: there is no company {LIST_ID}". Nothing was done.'
    )
    assert sandbox.all("SELECT * FROM marketing_list_companies") == []


async def test_where_no_name_is_clear_each_is_named_with_as_many_candidates_as_there_is_room_for(
    refusal: Refusal, crm: CrmClient, wire: Any
) -> None:
    said = [f"Vexa{number:03}" for number in range(100)]
    for name in said:
        for place in ("North", "South", "West"):
            await crm.companies.create(NewCompany(name=f"{name} {place}", website=f"{name}-{place}.example"))
    wire.sent.clear()
    lines = (await refusal("add_to_marketing_list", list_id=LIST_ID, companies=said)).splitlines()
    unclear = '"{}" fits more than one company. Say the id of the one that is meant:'
    assert [line for line in lines if line.startswith('"')] == [unclear.format(name) for name in said]
    candidates = [line for line in lines if line.startswith("- ")]
    assert len(candidates) > 100
    assert all(re.search(r" · [0-9a-f]{8}[0-9a-f-]*$", line) for line in candidates)
    assert lines[-1] == "Nothing was put on the list."
    assert wire.writes == []
