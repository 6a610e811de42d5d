import pytest

from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.references import find_connection, find_stage, is_active

A = "aaaaaaaa-0000-4000-8000-00000000000a"
B = "bbbbbbbb-0000-4000-8000-00000000000b"
C = "cccccccc-0000-4000-8000-00000000000c"
D = "dddddddd-0000-4000-8000-00000000000d"

STAGES = [
    PipelineStage(id=A, name="Erstgespräch", system_key="new"),
    PipelineStage(id=B, name="Closed  Won", system_key="won"),
    PipelineStage(id=C, name="Won"),
    PipelineStage(id=D, name="Lost"),
]


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("Erstgespräch", A),
        ("ERSTGESPRACH", A),
        (" erstgespräch\n", A),
        ("new", A),
        ("NEW", A),
        (A, A),
        (f" {A.upper()} ", A),
        ("closed won", B),
        ("lost", D),
    ],
)
def test_a_stage_is_found_by_name_system_key_or_id(said: str, found: str) -> None:
    assert find_stage(STAGES, said).id == found


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("won", f'"won" means more than one stage: Closed  Won ({B}), Won ({C}). Say the id.'),
        ("Lots", 'No stage "Lots". Did you mean "Lost"? Stages: Erstgespräch, Closed  Won, Won, Lost.'),
        ("\u0301", 'No stage "\u0301". Stages: Erstgespräch, Closed  Won, Won, Lost.'),
        ("xyz", 'No stage "xyz". Stages: Erstgespräch, Closed  Won, Won, Lost.'),
        ("", 'No stage "". Stages: Erstgespräch, Closed  Won, Won, Lost.'),
        ("x" * 61, f'No stage "{"x" * 60}". Stages: Erstgespräch, Closed  Won, Won, Lost.'),
    ],
)
def test_a_stage_that_is_not_clear_is_answered_with_all_there_are(said: str, problem: str) -> None:
    with pytest.raises(UnresolvedReferenceError) as caught:
        find_stage(STAGES, said)
    assert str(caught.value) == problem


def test_a_pipeline_without_stages_says_so() -> None:
    with pytest.raises(UnresolvedReferenceError) as caught:
        find_stage([], "Won")
    assert str(caught.value) == 'No stage "Won". Stages: none.'


WORKING = EmailConnection(id=A, channel="gmail", email="Sales@crm.example", status="active")
BROKEN = EmailConnection(id=B, channel="outlook", email="office@crm.example", status="disconnected")
SECOND = EmailConnection(id=C, channel="gmail", email="me@crm.example", status="CONNECTED")
LISTED = {
    A: f"Sales@crm.example (gmail, active, {A})",
    B: f"office@crm.example (outlook, disconnected, {B})",
    C: f"me@crm.example (gmail, CONNECTED, {C})",
}


@pytest.mark.parametrize(
    ("connections", "said", "found"),
    [
        ([WORKING, BROKEN], "", A),
        ([WORKING, BROKEN], "  ", A),
        ([WORKING, BROKEN], "sales@CRM.example", A),
        ([WORKING, SECOND], "me@crm.example", C),
        ([WORKING, SECOND], f" {C.upper()}", C),
        ([EmailConnection(id=D)], "", D),
    ],
)
def test_a_mailbox_is_found_by_address_or_id_or_by_being_the_active_one(
    connections: list[EmailConnection], said: str, found: str
) -> None:
    assert find_connection(connections, said).id == found


@pytest.mark.parametrize(
    ("connections", "said", "problem", "listed"),
    [
        (
            [WORKING, SECOND],
            "",
            "Several e-mail connections are active: say which as `connection`.",
            f"{LISTED[A]}; {LISTED[C]}",
        ),
        (
            [BROKEN],
            "",
            "No e-mail connection is active; one is connected in the CRM's own settings.",
            LISTED[B],
        ),
        ([], "", "No e-mail connection is active; one is connected in the CRM's own settings.", "none"),
        (
            [WORKING, BROKEN],
            B,
            "The e-mail connection office@crm.example is disconnected, so it cannot send.",
            f"{LISTED[A]}; {LISTED[B]}",
        ),
        ([WORKING], "x@crm.example", 'No e-mail connection "x@crm.example".', LISTED[A]),
    ],
)
def test_a_mailbox_that_is_not_clear_is_answered_with_all_there_are(
    connections: list[EmailConnection], said: str, problem: str, listed: str
) -> None:
    with pytest.raises(UnresolvedReferenceError) as caught:
        find_connection(connections, said)
    assert str(caught.value) == f"{problem} Connections: {listed}. Nothing was sent."


@pytest.mark.parametrize(
    ("status", "active"),
    [("active", True), ("Connected", True), ("OK", True), ("enabled", True), (None, True)]
    + [(status, False) for status in ("disconnected", "error", "expired", "unknown")],
)
def test_a_mailbox_of_an_unknown_status_does_not_count_as_active(status: str | None, active: bool) -> None:
    assert is_active(EmailConnection(id=A, status=status)) is active
