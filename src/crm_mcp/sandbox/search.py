"""What lists are searched and sorted by: texts in one case, kept in columns beside what they are made of."""

from crm_mcp.sandbox.store import Record

# Ends each searched text, so that even its last character begins one of the index's groups of three.
_END = "\n\n"


def company_texts(company: Record) -> Record:
    return {"search": company["name"].casefold() + _END}


def contact_texts(contact: Record) -> Record:
    first, last = contact["first_name"] or "", contact["last_name"] or ""
    name, email = f"{first} {last}".strip(), contact["email"] or ""
    return {
        "sort_key": f"{last} {first}".casefold(),
        "search": f"{name}\n{email}".casefold() + _END,
    }


def lead_texts(lead: Record) -> Record:
    return {"search": lead["title"].casefold() + _END}
