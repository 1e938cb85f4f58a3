"""Who reaches a node, over HTTP and as a node: token, TLS and names, made from the settings.

A node that anybody on a network could call, or listen to, does not start unless it is told to.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Final

from spawn.api.access import Access, is_loopback
from spawn.config import Secret, Settings, token_of
from spawn.errors import InvalidSettings
from spawn.mesh.grpc_tls import MeshTls

__all__ = [
    "access_of",
    "advertised_url",
    "base_url",
    "check_exposure",
    "check_mesh_exposure",
    "mesh_tls_of",
    "tls_of",
]

_logger = logging.getLogger("spawn.exposure")

_TOKEN_BYTES_MAX: Final = 4096
_ANY_ADDRESS: Final = ("0.0.0.0", "::", "[::]")


def check_exposure(settings: Settings) -> None:
    """Raise InvalidSettings where the node would be open to a network."""
    http = settings.http
    if is_loopback(http.host.lower()) or http.insecure:
        return
    missing = []
    if not (http.token or http.token_file):
        missing.append("a token (SPAWN_HTTP_TOKEN or --http-token-file)")
    if not http.tls_cert:
        missing.append("TLS files (--http-tls-cert and --http-tls-key)")
    if missing:
        raise InvalidSettings(
            f"{http.host} is reached from other machines, and this node has not "
            f"{' and not '.join(missing)}",
            at=settings.source("http.host").name,
            hint="give them, or say --insecure if something else protects the node",
        )


def check_mesh_exposure(settings: Settings) -> None:
    """Raise InvalidSettings where anybody on a network could pass for a node, or none be found."""
    mesh = settings.mesh
    at = settings.source("mesh.host").name
    if not (is_loopback(mesh.host.lower()) or mesh.insecure or mesh.tls_cert):
        raise InvalidSettings(
            f"{mesh.host} is reached from other machines, and this node has no TLS files for other "
            "nodes (--mesh-tls-ca, --mesh-tls-cert and --mesh-tls-key)",
            at=at,
            hint="give them, or say --mesh-insecure if something else protects the node",
        )
    if mesh.host in _ANY_ADDRESS and not mesh.advertise:
        raise InvalidSettings(
            f"mesh.host is {mesh.host}, where no other node can call this one",
            at=at,
            hint="say with --mesh-advertise HOST:PORT where they reach it",
        )


def mesh_tls_of(settings: Settings) -> MeshTls | None:
    """Return what nodes show each other; None: they talk without TLS.

    Raises: InvalidSettings - the files can't be used.
    """
    mesh = settings.mesh
    if not mesh.tls_cert:
        return None
    tls = MeshTls(ca=mesh.tls_ca, cert=mesh.tls_cert, key=mesh.tls_key)
    try:
        tls.check()
    except (OSError, ssl.SSLError) as error:
        keys = ("mesh.tls_ca", "mesh.tls_cert", "mesh.tls_key")
        raise InvalidSettings(
            f"authority {mesh.tls_ca}, certificate {mesh.tls_cert} and key {mesh.tls_key} can't be "
            f"used: {error}",
            at=", ".join(settings.source(key).name for key in keys),
            hint="all are PEM files, the key that of the certificate and without a password",
        ) from error
    return tls


def access_of(settings: Settings) -> Access:
    """Return who may call the node. Raises: InvalidSettings - the token can't be read."""
    http = settings.http
    return Access(
        host=http.host,
        token=_token(settings).reveal(),
        allowed_hosts=(*http.allowed_hosts, *filter(None, [_advertised(settings, 0)])),
        allowed_origins=http.allowed_origins,
    )


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return what the node serves HTTPS with; None: it serves plain HTTP.

    Raises: InvalidSettings - certificate and key can't be used.
    """
    http = settings.http
    if not http.tls_cert:
        return None
    try:
        return _Certificate(http.tls_cert, http.tls_key).first
    except (OSError, ssl.SSLError) as error:
        names = [settings.source(key).name for key in ("http.tls_cert", "http.tls_key")]
        raise InvalidSettings(
            f"certificate {http.tls_cert} and key {http.tls_key} can't be used: {error}",
            at=", ".join(names),
            hint="both are PEM files, the key without a password",
        ) from error


class _Certificate:
    """Certificate and key in files, read again when they have changed: they are renewed in time.

    Files that can't be used then, such as a new certificate whose key is not there yet, change
    nothing: what was read before goes on being shown.
    """

    def __init__(self, cert: str, key: str) -> None:
        """Raises: OSError, ssl.SSLError."""
        self._files = (cert, key)
        self._seen = self._stamps()
        self.first = self._current = self._read()
        """What a server is given: it asks for the newest at each connection."""
        self.first.sni_callback = self._show

    def _show(self, connection: ssl.SSLObject, _name: str | None, _given: ssl.SSLContext) -> None:
        """Have a connection that begins show the newest certificate; called by OpenSSL."""
        try:
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self._current = self._read()
                _logger.info("certificate %s was renewed: read again", self._files[0])
        except (OSError, ssl.SSLError) as error:
            _logger.warning(
                "certificate %s and key %s changed and can't be used (%s): those before go on",
                *self._files,
                error,
            )
        if self._current is not self.first:
            connection.context = self._current

    def _read(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        # An empty password: one that asks for it fails, instead of asking at the terminal.
        context.load_cert_chain(*self._files, password="")
        return context

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        try:
            told = [Path(name).stat() for name in self._files]
        except OSError:
            return ()  # reading them says why
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in told)


def base_url(settings: Settings, port: int) -> str:
    """Return the node's address, as people write it."""
    http = settings.http
    host = f"[{http.host}]" if ":" in http.host else http.host
    return f"{'https' if http.tls_cert else 'http'}://{host}:{port}"


def advertised_url(settings: Settings, port: int) -> str:
    """Return where programs reach the node from elsewhere; `port` is the one that it listens on."""
    place = _advertised(settings, port)
    scheme = "https" if settings.http.tls_cert else "http"
    return f"{scheme}://{place}" if place else base_url(settings, port)


def _advertised(settings: Settings, port: int) -> str:
    http, mesh = settings.http, settings.mesh
    if http.advertise or http.host not in _ANY_ADDRESS or not mesh.advertise:
        return http.advertise
    return f"{mesh.advertise.rpartition(':')[0]}:{port}"


def _token(settings: Settings) -> Secret:
    name = settings.http.token_file
    if not name:
        return settings.http.token
    try:
        with Path(name).open(encoding="utf-8") as file:
            return token_of(file.read(_TOKEN_BYTES_MAX).strip())
    except (OSError, ValueError) as error:
        raise InvalidSettings(
            f"the token in {name} can't be used: {error}",
            at=settings.source("http.token_file").name,
        ) from error
