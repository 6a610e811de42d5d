"""`python -m crm_mcp` is `crm-mcp`."""

from crm_mcp.cli import run

if __name__ == "__main__":
    run()
