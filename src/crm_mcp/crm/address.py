"""Where the CRM may be: an address to which the key can be sent safely."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_base_url(base_url: str) -> None:
    """Raises ValueError, with a sentence for the operator, when the key could not be sent there safely."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("the base URL is not a URL") from error
    if parts.scheme not in ("http", "https") or not host or re.search(r"\s", base_url):
        raise ValueError("the base URL must be an http(s) URL, such as https://crm.example.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("the base URL must be only scheme, host and path, such as https://crm.example.com")
    if parts.path.rstrip("/").endswith("/api/crm"):
        raise ValueError("the base URL is the part before /api/crm")
    if parts.scheme == "http" and not is_loopback(host):
        raise ValueError("the base URL must be https: over http the key would be sent in clear text")
