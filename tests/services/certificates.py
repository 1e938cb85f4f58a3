"""Certificates for tests, made by openssl in a folder: one authority, and what it signs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Authority", "Pair"]

_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_TIMEOUT_S: Final = 30


class Pair(NamedTuple):
    """A certificate and its key, PEM (the key PKCS #8), and both in one file."""

    cert: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates for names and addresses."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        """Make its own certificate."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.cert, self._key = folder / f"{name}.crt", folder / f"{name}.key"
        self._openssl(
            *("req", "-x509", *_KEY, "-days", "30", "-subj", f"/CN={name}"),
            *("-keyout", str(self._key), "-out", str(self.cert)),
        )

    @staticmethod
    def can_be_made() -> bool:
        """Whether openssl is here."""
        return shutil.which("openssl") is not None

    def sign(self, name: str, *, hosts: str = "", days: int = 30, file: str = "") -> Pair:
        """Return a certificate whose common name is `name`; `hosts` as `DNS:a,IP:127.0.0.1`.

        With negative `days` it has expired.
        """
        base = self._folder / (file or name)
        pair = Pair(base.with_suffix(".crt"), base.with_suffix(".key"), base.with_suffix(".pem"))
        request, extensions = base.with_suffix(".csr"), base.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={hosts}\n" if hosts else "")
        self._openssl(
            *("req", *_KEY, "-subj", f"/CN={name}"),
            *("-keyout", str(pair.key), "-out", str(request)),
        )
        self._openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.cert), "-CAkey", str(self._key)),
            *("-CAcreateserial", "-days", str(days), "-extfile", str(extensions)),
            *("-out", str(pair.cert)),
        )
        pair.both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
        return pair

    def encrypt(self, key: Path, password: str) -> Path:
        """Return a copy of a key that is encrypted."""
        encrypted = key.with_suffix(".encrypted.key")
        self._openssl(
            *("pkcs8", "-topk8", "-in", str(key), "-passout", "stdin", "-out", str(encrypted)),
            told=password,
        )
        return encrypted

    @staticmethod
    def _openssl(*arguments: str, told: str = "") -> None:
        done = subprocess.run(
            ["openssl", *arguments],
            capture_output=True,
            input=told,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
