"""Why PostgreSQL does not take us: what it says, and what TLS says."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import asyncpg

from eventstore.errors import SnapshotsNotAdmitted
from eventstore.tls_refusals import certificate_refusal

__all__ = ["not_admitted"]


def not_admitted(error: BaseException, where: str) -> SnapshotsNotAdmitted | None:
    """Return what an error of a new connection says of login and TLS; None: nothing."""
    chain = list(_chain(error))
    for each in chain:
        text = str(each)
        if isinstance(each, asyncpg.InvalidAuthorizationSpecificationError):
            if "client certificate" in text or "certificate authentication" in text:
                return SnapshotsNotAdmitted(
                    f"{where} does not let us in without a certificate that it accepts: {text}",
                    "client-certificate",
                )
            if "no encryption" in text:
                return SnapshotsNotAdmitted(f"{where} wants TLS: {text}", "protocol")
            return SnapshotsNotAdmitted(f"{where} does not let us in: {text}", "login")
        if isinstance(each, ConnectionError) and "rejected SSL upgrade" in text:
            return SnapshotsNotAdmitted(f"{where} has no TLS, and sslmode wants it", "protocol")
    told = certificate_refusal(chain, where, SnapshotsNotAdmitted)
    if told is None and any(isinstance(each, ssl.SSLError) for each in chain):
        return SnapshotsNotAdmitted(f"{where}: TLS failed ({error})", "protocol")
    return told


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
