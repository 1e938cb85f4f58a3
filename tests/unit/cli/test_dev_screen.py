"""What `spawn dev` proposes to try."""

from __future__ import annotations

import pytest

from spawn.config import load_settings
from spawn.dev.command import curl

_TLS = {"http.tls_cert": "my cert.pem", "http.tls_key": "key.pem"}


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        ({}, {}, "curl"),
        (_TLS, {}, "curl --cacert 'my cert.pem'"),
        (
            {},
            {"SPAWN_HTTP_TOKEN": "secret-token"},
            'curl -H "Authorization: Bearer $SPAWN_HTTP_TOKEN"',
        ),
    ],
)
def test_the_call_has_what_token_and_certificate_need(
    flags: dict[str, str], environ: dict[str, str], words: str
) -> None:
    """And never the token itself."""
    assert curl(load_settings(flags=flags, environ=environ)) == words
