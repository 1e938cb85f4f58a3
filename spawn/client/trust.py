"""Whom a caller trusts over HTTPS, and what it means that it does not."""

from __future__ import annotations

import ssl
from pathlib import Path

from spawn.errors import NodeUntrusted

__all__ = ["trust", "untrusted"]


def trust(ca: str | Path | None) -> ssl.SSLContext | bool:
    """Return what aiohttp takes as `ssl`: the authorities in a PEM file, else the system's.

    Raises: OSError - the file can't be read, or holds no certificate.
    """
    return True if ca is None else ssl.create_default_context(cafile=str(ca))


def untrusted(error: BaseException, url: str, at: str, hint: str) -> NodeUntrusted | None:
    """Return what a failed connection is, if it failed for its certificate or at TLS itself."""
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = cause.verify_message or cause.reason or "not valid"
        if "mismatch" in reason:
            hint = "call the node by a name that is in its certificate"
        text = f"the certificate of {url} is not trusted ({reason.lower()})"
        return NodeUntrusted(text, at=at, hint=hint)
    if isinstance(cause, ssl.SSLError):
        reason = (cause.reason or str(cause)).replace("_", " ").lower()
        return NodeUntrusted(
            f"no TLS connection to {url} ({reason})",
            at=at,
            hint="does the node serve HTTPS? http.tls_cert and http.tls_key say so; else http://",
        )
    return None
