"""TLS of a client from files: whom it trusts, and its own certificate."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

__all__ = ["TlsFiles"]


def _no_password() -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files, read again when they have changed: certificates are renewed while we run."""

    ca: str = ""
    """Certificates of the authorities to trust; empty: those of the system."""
    cert: str = ""
    """Our own certificate, with those between it and its authority."""
    key: str = ""
    """Its private key; empty: it is in the same file."""
    key_password: Callable[[], str] = field(default=_no_password, repr=False)
    check_hostname: bool = True
    """Whether the server's certificate must name the host that we asked for."""

    def context(self) -> ssl.SSLContext:
        """Return a context for connections that begin now. Raises: OSError, ssl.SSLError."""
        stamps = tuple(_stamp(path) for path in (self.ca, self.cert, self.key) if path)
        password = self.key_password() if self.cert else ""
        return _context(self.ca, self.cert, self.key, password, self.check_hostname, stamps)

    def problems(self) -> Iterator[tuple[Literal["ca", "cert", "key"], str]]:
        """Yield what can't be used: which file, and why."""
        named: tuple[tuple[Literal["ca", "cert", "key"], str], ...] = (
            ("ca", self.ca), ("cert", self.cert), ("key", self.key)
        )  # fmt: skip
        unreadable = [(part, text) for part, path in named if path and (text := _unreadable(path))]
        yield from unreadable
        if unreadable:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca:
            try:
                context.load_verify_locations(cafile=self.ca)
            except ssl.SSLError:
                yield "ca", f"{self.ca} holds no certificates in PEM"
        if self.cert:
            yield from self._problems_of_pair(context)

    def _problems_of_pair(
        self, context: ssl.SSLContext
    ) -> Iterator[tuple[Literal["ca", "cert", "key"], str]]:
        key = self.key or self.cert
        try:
            context.load_cert_chain(self.cert, self.key or None, self.key_password)
        except ssl.SSLError as error:
            text = Path(key).read_text(encoding="ascii", errors="replace")
            if error.reason == "KEY_VALUES_MISMATCH":
                yield "key", f"{key} is not the key of {self.cert}"
            elif "BEGIN CERTIFICATE" not in Path(self.cert).read_text("ascii", errors="replace"):
                yield "cert", f"{self.cert} holds no certificate in PEM"
            elif "PRIVATE KEY" not in text:
                yield "key", f"{key} holds no private key in PEM"
            elif "ENCRYPTED" in text:
                yield "key", f"{key} is encrypted, and not with the password that is set"
            else:
                yield "key", f"{key} can't be used ({error.reason or error})"
        except ValueError:  # a password longer than OpenSSL takes
            yield "key", f"{key} is encrypted, and not with the password that is set"


def _unreadable(path: str) -> str:
    try:
        with Path(path).open("rb"):
            return ""
    except OSError as error:
        return f"{path} can't be read: {error.strerror or error}"


def _stamp(path: str) -> tuple[int, int, int]:
    told = Path(path).stat()
    return told.st_mtime_ns, told.st_size, told.st_ino


@lru_cache(maxsize=16)
def _context(
    ca: str,
    cert: str,
    key: str,
    password: str,
    check_hostname: bool,
    stamps: tuple[tuple[int, int, int], ...],
) -> ssl.SSLContext:
    """Read the files; `stamps` only tell one state of them from another."""
    context = ssl.create_default_context(cafile=ca or None)
    context.check_hostname = check_hostname
    if cert:
        # Always a function: without one OpenSSL would ask the terminal for an encrypted key's.
        context.load_cert_chain(cert, key or None, lambda: password)
    return context
