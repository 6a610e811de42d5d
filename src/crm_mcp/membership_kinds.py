"""The kinds of writes that change who is a member of which company."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from crm_mcp.crm import contacts
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import Entity
from crm_mcp.crm.errors import NotFoundError, PermissionDeniedError
from crm_mcp.preview import Named, Wire
from crm_mcp.wording import clean, sentence
from crm_mcp.writes import (
    KEPT_BY_CRM,
    MAX_TITLE_CHARS,
    THERE_BEFORE,
    Create,
    Delete,
    Done,
    NotDone,
    NotUndoableError,
    Seen,
    Since,
    Trail,
    Update,
    Verdict,
    WasDone,
    facts,
    sent_by,
)

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

# Where the memberships of a contact are kept, and the ids of its primary one.
MEMBERSHIPS = "memberships"
PRIMARY_BEFORE = "primary_before"
PRIMARY_AFTER = "primary_after"
PRIMARY_IS_LEFT = "The contact's primary company may be another one than before."


class UpdateContact(Update):
    """A change of a contact, whose company is its primary membership, too: another company may end that."""

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        seen = await super().seen(crm, write)
        if seen.record is None or "companyId" not in sent_by(write):
            return seen
        try:
            every = await crm.contacts.memberships(write.ids["contact_id"])
        except (PermissionDeniedError, NotFoundError):
            return Seen(seen.record | {MEMBERSHIPS: None})
        return Seen(seen.record | {MEMBERSHIPS: [_place_of(one) for one in every]})

    def also_ends(self, write: Write, seen: Seen) -> bool:
        return _is_hidden(write, seen.record) or bool(_ending(write, seen.record))

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from super().details(write, seen, named)
        if _is_hidden(write, seen.record):
            yield "Nobody can see which membership may end with it."
        if ending := _ending(write, seen.record):
            yield f"May end with it: {_place(ending, named)}"

    def notes(self, before: Wire | None, after: Wire | None) -> Iterator[str]:
        for place in (before or {}).get(MEMBERSHIPS) or ():
            if place.get("isPrimary") and (after or {}).get("companyId") != place.get("companyId"):
                yield sentence(f"It may have ended the contact's {_place(place, str)}")

    def left_behind(self, done: Done) -> Iterator[str]:
        if "companyId" in done.body:
            yield "The contact's memberships may be others than before: only the company is taken back."
        for place in (done.before or {}).get(MEMBERSHIPS) or ():
            if place.get("title") and place.get("companyId") == (done.before or {}).get("companyId"):
                yield f"Its {_place(place, str)} may not come back as it was."


def _ending(write: Write, record: Wire | None) -> Wire | None:
    """The membership that another company takes the place of, where that could not be taken back: it has a
    title, or others would be in its place."""
    company, places = sent_by(write).get("companyId"), (record or {}).get(MEMBERSHIPS) or ()
    for place in places:
        if place.get("isPrimary") and place.get("companyId") != company:
            return place if place.get("title") or len(places) > 1 else None
    return None


def _is_hidden(write: Write, record: Wire | None) -> bool:
    """Whether it is another company, and nobody can see which membership that ends."""
    found = record or {}
    if MEMBERSHIPS not in found or found.get("companyId", "") in (None, sent_by(write).get("companyId")):
        return False
    places = found[MEMBERSHIPS]
    return places is None or (bool(places) and not any("isPrimary" in place for place in places))


def _place_of(membership: contacts.Membership) -> Wire:
    """What tells it, without what the CRM keeps by itself."""
    told = {name: value for name, value in membership.wire.items() if name not in KEPT_BY_CRM}
    nested = told.get("company")
    company = membership.company_id or (nested.get("id") if isinstance(nested, dict) else None)
    return told | {"companyId": company}


def _place(place: Wire, named: Named) -> str:
    company = named(str(place.get("companyId")))
    called = place.get("companyName") or company
    title = f" as {place['title']}" if place.get("title") else ""
    return clean(f"membership of {called}{title}", MAX_TITLE_CHARS)


class Link(Create):
    """A contact's new membership in a company."""

    def left_behind(self, done: Done) -> Iterator[str]:
        if done.body.get("isPrimary"):
            yield PRIMARY_IS_LEFT

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    async def _matching(self, crm: CrmClient, write: Write) -> tuple[list[Entity], bool]:
        every = await crm.contacts.memberships(write.ids["contact_id"])
        return [one for one in every if one.company_id == sent_by(write).get("companyId")], True

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        matching, _ = await self._matching(crm, write)
        return Seen({THERE_BEFORE: [one.id for one in matching]})

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        matching, _ = await self._matching(crm, write)
        made = (after or {}).get("id")
        return any(made in (None, one.id) for one in matching)

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return f"of {named(write.ids['contact_id'])} in {named(str(sent_by(write).get('companyId')))}"


def _primary(memberships: Iterable[contacts.Membership]) -> str | None:
    return next((one.id for one in memberships if one.is_primary), None)


def _contact_of(write: Write) -> str:
    # Which membership is the primary one is told of all of them, and of the contact, whose company it is.
    return f"contact {write.ids['contact_id']}"


def _membership_called(write: Write, seen: Seen, named: Named) -> str:
    company = named(str((seen.record or {}).get("companyId", "")))
    return f"of {named(write.ids['contact_id'])} in {company}"


class Relink(Update):
    """A change of a contact's membership, whose title is the contact's there."""

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        every = await crm.contacts.memberships(write.ids["contact_id"])
        record = next((one.wire for one in every if one.id == write.ids["membership_id"]), None)
        return Seen(record and record | {PRIMARY_BEFORE: _primary(every)})

    def undoing(self, done: Done) -> Write:
        """The CRM does not let a contact have no primary company: the former one is made it again."""
        before, former = done.before or {}, (done.before or {}).get(PRIMARY_BEFORE)
        if not _became_primary(done):
            return super().undoing(done)
        if any(before.get(name) != value for name, value in done.body.items() if name != "isPrimary"):
            raise NotUndoableError("It changed two things, which the CRM cannot change back at once.")
        if not former:
            raise NotUndoableError("Nobody knows which company was the contact's primary one before.")
        body = contacts.MembershipChanges(is_primary=True)
        return Write(self.operation, {**done.ids, "membership_id": former}, body)

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        if not _became_primary(done):
            return await super().since(crm, done, record_id)
        every = await crm.contacts.memberships(done.ids["contact_id"])
        chosen = [one for one in every if one.is_primary and one.id != record_id]
        if chosen:
            return [_primary_is(chosen[0])]
        former = (done.before or {}).get(PRIMARY_BEFORE)
        if former not in [one.id for one in every]:
            return [Since("", "the membership that was the primary one is gone")]
        return []

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)


def _primary_is(membership: contacts.Membership) -> Since:
    company = membership.company_name or membership.company_id
    return Since("isPrimary", f"the contact's primary company is {company} now")


def _became_primary(done: Done) -> bool:
    """Whether it made this company the contact's primary one."""
    return done.body.get("isPrimary") is True and (done.before or {}).get("isPrimary") is False


class Unlink(Delete):
    """The end of a contact's membership, which a new one takes back."""

    def left_behind(self, done: Done) -> Iterator[str]:
        if (done.before or {}).get("isPrimary") and PRIMARY_AFTER not in (done.after or {}):
            yield PRIMARY_IS_LEFT

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        try:
            every = await crm.contacts.memberships(write.ids["contact_id"])
        except NotFoundError:
            return WasDone({})
        if any(one.id == write.ids["membership_id"] for one in every):
            return NotDone()
        return WasDone({} if trail.is_late else {PRIMARY_AFTER: _primary(every)})

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from facts(seen.record, named)

    def undoing(self, done: Done) -> Write:
        before = done.before or {}
        if not before.get("companyId"):
            raise NotUndoableError("The CRM did not show which company it was.")
        kept = {name: before[name] for name in ("companyId", "title") if before.get(name)}
        if before.get("isPrimary") and PRIMARY_AFTER in (done.after or {}):
            kept["isPrimary"] = True
        body = contacts.NewMembership.model_validate(kept, by_alias=True, by_name=False)
        return Write(contacts.CREATE_MEMBERSHIP, {"contact_id": done.ids["contact_id"]}, body)

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        every = await crm.contacts.memberships(done.ids["contact_id"])
        before, after = done.before or {}, done.after or {}
        if any(one.company_id == before.get("companyId") for one in every):
            return [Since("", "it is there again")]
        chosen = [one for one in every if one.is_primary and one.id != after.get(PRIMARY_AFTER, one.id)]
        return [_primary_is(chosen[0])] if chosen and before.get("isPrimary") else []

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)
