"""What a failed TLS handshake says, in words that name the mend."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final, TypeVar

from eventstore.errors import LogNotAdmitted, SnapshotsNotAdmitted

__all__ = ["certificate_refusal"]

_E = TypeVar("_E", LogNotAdmitted, SnapshotsNotAdmitted)

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_WRONG_HOST: Final = (62, 64)
"""OpenSSL's X509_V_ERR_*."""


def certificate_refusal(chain: Sequence[BaseException], where: str, kind: type[_E]) -> _E | None:
    """Return what is wrong with a certificate, ours or theirs, as an error and its causes tell."""
    for error in chain:
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in _WRONG_HOST:
                return kind(
                    f"the certificate of {where} is for another host ({error.verify_message})",
                    "host",
                )
            if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
                state = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
                return kind(f"the certificate of {where} {state}", "trust")
            return kind(
                f"the certificate of {where} is not trusted ({error.verify_message})", "trust"
            )
        if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
            reason = (error.reason or "").lower()
            if "certificate" in reason or "unknown_ca" in reason or "access_denied" in reason:
                alert = reason.partition("alert_")[2].replace("_", " ")
                return kind(
                    f"{where} does not accept our certificate, or wants one (it says: {alert})",
                    "client-certificate",
                )
    return None
