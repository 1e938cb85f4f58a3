"""Mutual TLS between nodes: files become gRPC's credentials, again when the files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import grpc

__all__ = ["MeshTls"]


class _Texts(NamedTuple):
    ca: bytes
    cert: bytes
    key: bytes


class MeshTls:
    """Whom a node trusts, and as whom it shows itself: the same certificate at both ends of a link.

    Who has a certificate of the authority is a node of the system: give it to nobody else.
    """

    def __init__(self, *, ca: str, cert: str, key: str) -> None:
        """Take the paths of three PEM files, the key without a password."""
        self._paths = tuple(Path(name) for name in (ca, cert, key))
        self._read: tuple[object, _Texts] | None = None

    def check(self) -> None:
        """Look at the files, since gRPC does not say what is wrong with them.

        Raises: OSError, ssl.SSLError.
        """
        ca, cert, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca)
        # An empty password: one that asks for it fails, instead of asking at the terminal.
        context.load_cert_chain(cert, key, password="")

    def read(self) -> _Texts:
        """Return what the files hold now. Raises: OSError."""
        stamps = tuple((s.st_mtime_ns, s.st_size) for s in (path.stat() for path in self._paths))
        if self._read is None or self._read[0] != stamps:
            self._read = stamps, _Texts(*(path.read_bytes() for path in self._paths))
        return self._read[1]

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what peers are accepted with. Raises: OSError."""
        first = self._configuration()

        def current() -> grpc.ServerCertificateConfiguration:
            try:
                return self._configuration()
            except OSError:
                # Between two files of a change; what was read last holds until they are whole.
                return first

        return grpc.dynamic_ssl_server_credentials(
            first, current, require_client_authentication=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Return what peers are called with. Raises: OSError."""
        texts = self.read()
        return grpc.ssl_channel_credentials(texts.ca, texts.key, texts.cert)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        texts = self.read()
        return grpc.ssl_server_certificate_configuration([(texts.key, texts.cert)], texts.ca)
