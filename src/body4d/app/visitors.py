"""Whom limits count as one visitor. Pure."""

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from starlette.datastructures import Headers

TRUSTED_PROXIES = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"
"""Whose word about a visitor's address and https is taken: proxies on this machine and in its private network. Anybody else could write a
header that makes each request look like another visitor's."""

UNKNOWN = "unknown"


def visitor_address(scope: Mapping[str, Any]) -> str:
    """The address that a request came from, as far as proxies can be believed; a network of 64 bits for IPv6, which one household holds."""
    host, port = scope.get("client") or (UNKNOWN, None)
    forwarded = Headers(raw=list(scope["headers"])).get("x-forwarded-for", "")
    if port == 0 and forwarded:
        # The server took it from this header. Every proxy appends what it saw, so what a visitor wrote themselves stands furthest left.
        public = [entry.strip() for entry in forwarded.split(",") if _is_public(entry.strip())]
        host = public[-1] if public else host
    return _network(host)


def _is_public(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


def _network(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return UNKNOWN if len(host) > 64 else host
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address)
