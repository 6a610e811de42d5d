from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .expected import short

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]

STANDARD = ["New", "Qualified", "Proposal", "Negotiation", "Won", "Lost"]


@pytest.fixture
def names(call: Call) -> Callable[[], Awaitable[list[str]]]:
    """`await names()`: the stages' names, in order."""

    async def names() -> list[str]:
        _, facts = await call("list_pipeline_stages")
        return [stage["name"] for stage in facts["stages"]]

    return names


async def test_list_pipeline_stages_shows_them_in_order(call: Call, sandbox: Any) -> None:
    rows = sandbox.all(
        "SELECT *, (SELECT count(*) FROM leads WHERE stage_id = stages.id) AS lead_count"
        " FROM stages ORDER BY sort_order"
    )
    text, facts = await call("list_pipeline_stages")
    assert text.splitlines() == [
        "Stages, in order: 6",
        *(
            f"- {row['name']} · {row['kind']} · {row['default_probability_pct']:.0f} %"
            f" · {row['lead_count']} leads · {short(row['id'])}"
            for row in rows
        ),
    ]
    fields = (
        "id",
        "name",
        "kind",
        "sort_order",
        "default_probability_pct",
        "color_key",
        "system_key",
        "lead_count",
    )
    assert facts == {"stages": [{name: row[name] for name in fields} for row in rows]}


async def test_get_dashboard_shows_the_crms_own_names(call: Call, wire: Any, crm: Any) -> None:
    text, facts = await call("get_dashboard")
    dashboard = (await crm.pipeline.dashboard()).wire
    assert facts == {"dashboard": dashboard}
    won = dashboard["wonThisMonth"]
    assert dashboard["companies"] == 40
    # What programs need an id for, the model has the name of.
    assert text.splitlines() == [
        "- companies: 40",
        *(f"- {name}: {dashboard[name]}" for name in ("contacts", "openLeads")),
        "- pipelineValue:",
        *(
            f"  - currency {one['currency']}, value {one['value']}, weightedValue {one['weightedValue']}"
            for one in dashboard["pipelineValue"]
        ),
        "- leadsByStage:",
        *(
            f"  - name {name}, count {one['count']}, value {one['value']}"
            for name, one in zip(STANDARD, dashboard["leadsByStage"], strict=True)
        ),
        f"- wonThisMonth: count {won['count']}, value {won['value']}",
        *(f"- {name}: {dashboard[name]}" for name in ("overdueTasks", "activitiesLast30Days")),
    ]


async def test_create_pipeline_stage_adds_it_at_the_end(
    call: Call, names: Callable[[], Awaitable[list[str]]]
) -> None:
    text, facts = await call(
        "create_pipeline_stage", name="Trial", kind="open", default_probability=33.5, color_key="teal"
    )
    stage = facts["stage"]
    assert facts == {
        "stage": {
            "id": stage["id"],
            "name": "Trial",
            "kind": "open",
            "sort_order": 6,
            "default_probability_pct": 33.5,
            "color_key": "teal",
            "lead_count": 0,
        }
    }
    assert text == f"Stage created.\n- Trial · open · 33.5 % · 0 leads · {short(stage['id'])}"
    assert await names() == [*STANDARD, "Trial"]


async def test_a_second_stage_of_a_name_is_refused(
    refusal: Call, names: Callable[[], Awaitable[list[str]]]
) -> None:
    assert (await refusal("create_pipeline_stage", name="WON")).startswith(
        "This stage seems to be there already. Nothing was sent to the CRM."
    )
    assert await names() == STANDARD


async def test_update_pipeline_stage_keeps_omitted_fields(call: Call, find: Find) -> None:
    _, before = await call("list_pipeline_stages")

    text, facts = await call("update_pipeline_stage", stage="proposal", name="Offer", default_probability=0)

    stage = {**before["stages"][2], "name": "Offer", "default_probability_pct": 0.0}
    assert facts == {"stage": stage}
    assert (
        text == f"Stage updated.\n- Offer · open · 0 % · {stage['lead_count']} leads · {short(stage['id'])}"
    )
    _, after = await call("list_pipeline_stages")
    assert after["stages"] == [*before["stages"][:2], stage, *before["stages"][3:]]


async def test_update_pipeline_stage_with_nothing_to_change_is_refused(refusal: Call, wire: Any) -> None:
    assert await refusal("update_pipeline_stage", stage="Won", name=" ") == (
        "Nothing to change was given. Fields: name, kind, default_probability, color_key. "
        "Nothing was sent to the CRM."
    )
    assert wire.writes == []


async def test_reorder_pipeline_stages_takes_names_in_the_new_order(
    call: Call, names: Callable[[], Awaitable[list[str]]]
) -> None:
    order = ["Qualified", "New", *STANDARD[2:]]
    text, facts = await call("reorder_pipeline_stages", stages=[name.upper() for name in order])
    assert text.splitlines()[:2] == ["Stages reordered.", "Stages, in order: 6"]
    assert [(stage["name"], stage["sort_order"]) for stage in facts["stages"]] == [
        (name, place) for place, name in enumerate(order)
    ]
    assert await names() == order


@pytest.mark.parametrize(
    ("stages", "problem"),
    [
        (STANDARD[2:], "Name every stage; missing: New, Qualified. Nothing was reordered."),
        ([*STANDARD, "new"], "A stage is named twice. Nothing was reordered."),
        (
            [*STANDARD, "Old"],
            'No stage "Old". Stages: New, Qualified, Proposal, Negotiation, Won, Lost. '
            "Nothing was sent to the CRM.",
        ),
        ([], f"Name every stage; missing: {', '.join(STANDARD)}. Nothing was reordered."),
    ],
)
async def test_reorder_pipeline_stages_needs_each_stage_once(
    refusal: Call, wire: Any, stages: list[str], problem: str
) -> None:
    assert await refusal("reorder_pipeline_stages", stages=stages) == problem
    assert wire.writes == []


async def test_a_stage_with_leads_goes_only_with_a_place_for_them(
    call: Call, refusal: Call, sandbox: Any, find: Find, names: Callable[[], Awaitable[list[str]]]
) -> None:
    proposal, won = (find("stages", name=name)["id"] for name in ("Proposal", "Won"))
    leads = [row["id"] for row in sandbox.all("SELECT id FROM leads WHERE stage_id = ?", proposal)]

    assert await refusal("delete_pipeline_stage", stage="Proposal") == (
        f"There are {len(leads)} leads in it: say where to in `move_leads_to`. Nothing was deleted."
    )
    assert await names() == STANDARD

    text, facts = await call("delete_pipeline_stage", stage="Proposal", move_leads_to="won")
    assert text == 'Stage "Proposal" deleted, its leads moved to "Won".'
    assert facts == {"removed": "pipeline stage", "id": proposal}
    assert await names() == [name for name in STANDARD if name != "Proposal"]
    assert {find("leads", id=lead)["stage_id"] for lead in leads} == {won}


async def test_a_stage_without_leads_goes_at_once(
    call: Call, names: Callable[[], Awaitable[list[str]]]
) -> None:
    await call("create_pipeline_stage", name="Trial")
    text, _ = await call("delete_pipeline_stage", stage="trial", move_leads_to="")
    assert text == 'Stage "Trial" deleted.'
    assert await names() == STANDARD


async def test_leads_do_not_move_to_the_stage_that_is_deleted(refusal: Call, wire: Any) -> None:
    assert await refusal("delete_pipeline_stage", stage="Won", move_leads_to="won") == (
        "The leads cannot move to the stage that is deleted. Nothing was deleted."
    )
    assert wire.writes == []
