"""An embedded CRM: the HTTP API of `crm-api.md` over SQLite, knowing nothing of the client it serves."""
