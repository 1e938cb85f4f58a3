"""Apache Kafka with TLS and logins: one broker, a listener for each way to reach it."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Final

from tests.services.apache_kafka import ApacheKafka
from tests.services.certificates import Authority, Pair
from tests.services.ports import free_port

__all__ = ["PASSWORD", "SESSION_S", "USER", "SecureKafka", "token"]

USER: Final = "spawn"
PASSWORD: Final = "s3cret-of-kafka, with \"quotes' = and ümlaut"
SESSION_S: Final = 1.5
"""How long the broker lets a login by token be used."""

_SCRAM_PASSWORD: Final = "s3cret-of-scram"
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
_TOKEN: Final = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"


class SecureKafka(ApacheKafka):
    """Its listeners, each on 127.0.0.1.

    TLS: a good certificate; MUTUAL: wants one of the client too; LOGIN: PLAIN, SCRAM-SHA-256 and
    -512 without TLS; TOKEN: OAUTHBEARER without TLS, sessions end; BOTH: SCRAM-SHA-512 and PLAIN
    over TLS; EXPIRED: its certificate has expired; ELSEWHERE: it is for another host.
    """

    scram_password = _SCRAM_PASSWORD

    def __init__(self, folder: Path) -> None:
        """Make certificates and choose ports."""
        self.authority = Authority(folder / "good")
        self.other_authority = Authority(folder / "other", "other authority")
        hosts = "DNS:localhost,IP:127.0.0.1"
        self.client = self.authority.sign("client")
        self.stranger = self.other_authority.sign("stranger")
        good = self.authority.sign("kafka", hosts=hosts)
        expired = self.authority.sign("kafka", hosts=hosts, days=-1, file="expired")
        elsewhere = self.authority.sign("elsewhere", hosts="DNS:kafka.example.com")
        certificates = {
            "TLS": good,
            "MUTUAL": good,
            "LOGIN": None,
            "TOKEN": None,
            "BOTH": good,
            "EXPIRED": expired,
            "ELSEWHERE": elsewhere,
        }
        self.ports = {name: free_port() for name in certificates}
        super().__init__(
            settings=self._settings_of(certificates),
            listeners=self.ports,
            users=[
                f"SCRAM-SHA-{size}=[name={USER},password={_SCRAM_PASSWORD}]" for size in (256, 512)
            ],
        )

    def at(self, listener: str) -> str:
        """Return the address of a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def _settings_of(self, certificates: dict[str, Pair | None]) -> dict[str, str]:
        protocols = {"LOGIN": "SASL_PLAINTEXT", "TOKEN": "SASL_PLAINTEXT", "BOTH": "SASL_SSL"}
        every = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
        every |= {name: protocols.get(name, "SSL") for name in certificates}
        settings = {
            "listener.security.protocol.map": ",".join(f"{k}:{v}" for k, v in every.items()),
            "num.network.threads": "1",
            "connection.failed.authentication.delay.ms": "10",
            "listener.name.mutual.ssl.client.auth": "required",
        }
        for name, pair in certificates.items():
            prefix = f"listener.name.{name.lower()}."
            if pair is not None:
                settings[prefix + "ssl.keystore.type"] = "PEM"
                settings[prefix + "ssl.keystore.location"] = str(pair.both)
                settings[prefix + "ssl.truststore.type"] = "PEM"
                settings[prefix + "ssl.truststore.location"] = str(self.authority.cert)
        escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        # Java reads the file as ISO 8859-1, and backslashes twice.
        escaped = "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in escaped)
        plain = f'{_PLAIN} user_{USER}="{escaped}";'.replace('\\"', '\\\\"')
        for name in ("login", "both"):
            prefix = f"listener.name.{name}."
            mechanisms = "PLAIN,SCRAM-SHA-512" + (",SCRAM-SHA-256" if name == "login" else "")
            settings[prefix + "sasl.enabled.mechanisms"] = mechanisms
            settings[prefix + "plain.sasl.jaas.config"] = plain
            for size in (256, 512):
                settings[prefix + f"scram-sha-{size}.sasl.jaas.config"] = _SCRAM
        prefix = "listener.name.token."
        settings[prefix + "sasl.enabled.mechanisms"] = "OAUTHBEARER"
        settings[prefix + "oauthbearer.sasl.jaas.config"] = (
            f'{_TOKEN} unsecuredLoginStringClaim_sub="broker";'
        )
        settings[prefix + "oauthbearer.connections.max.reauth.ms"] = str(int(SESSION_S * 1000))
        return settings


def token(*, life_s: float = 3600.0, subject: str = USER) -> str:
    """Return a token that the broker's unsecured validator takes, if it has not run out."""
    now = time.time()
    claims = {"sub": subject, "iat": now - 10_000, "exp": now + life_s}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, claims))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."
