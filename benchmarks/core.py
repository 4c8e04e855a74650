"""The core against the platform's documented sample, cryptography's bare verifier and the floor."""

from __future__ import annotations

import base64
import functools
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from paired import Row, medians, print_table, rounds_from_command_line
from sample import documented_sample

from arrcert import Authorizer, CertificateDenied, ClientCertificate, Policy
from arrcert.forwarding.gunicorn import gunicorn_hook_ran

HEADERS = {
    "host": "contoso.azurewebsites.net",
    "user-agent": "curl/8.5.0",
    "accept": "application/json",
    "accept-encoding": "gzip",
    "max-forwards": "10",
    "client-ip": "203.0.113.7:50123",
    "x-arr-log-id": "1f0f7a4e-6f1f-4a8e-9d3c-0d6f2f0c5a11",
    "x-site-deployment-id": "contoso",
    "was-default-hostname": "contoso.azurewebsites.net",
    "x-forwarded-for": "203.0.113.7:50123",
    "x-forwarded-proto": "https",
    "x-forwarded-tlsversion": "1.3",
    "x-original-url": "/hellocert",
    "x-appservice-proto": "https",
}
"""What App Service's front end sends beside the certificate, which makes fifteen."""


P256 = functools.partial(ec.generate_private_key, ec.SECP256R1())
RSA_2048 = functools.partial(rsa.generate_private_key, 65537, 2048)


class Pki:
    """A CA and what it issued, all keys of one kind."""

    def __init__(self, make_key: Any) -> None:
        self._key = make_key()
        self._make_key = make_key
        self.ca = self._sign("Contoso Issuing CA", self._key.public_key(), is_ca=True)
        self.alice = self.issue("alice")

    def issue(self, common_name: str) -> bytes:
        """Return a client certificate as App Service writes it."""
        certificate = self._sign(common_name, self._make_key().public_key(), is_ca=False)
        return base64.b64encode(certificate.public_bytes(Encoding.DER))

    def _sign(self, common_name: str, key: Any, *, is_ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
            for text in (common_name, "Contoso Issuing CA")
        )
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(own, critical=False)
            .add_extension(_usage(is_ca=is_ca), critical=True)
        )
        if not is_ca:
            names = x509.SubjectAlternativeName([x509.DNSName(f"{common_name}.example")])
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            builder = builder.add_extension(names, False).add_extension(usage, False)
        return builder.sign(self._key, hashes.SHA256())


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def main() -> int:
    """Measure, and print the tables."""
    rounds = rounds_from_command_line(__doc__, 301)
    # On both sides; the sample logs nothing.
    logging.disable(logging.CRITICAL)
    gunicorn_hook_ran()  # As if `arrcert.gunicorn` stood in gunicorn.conf.py.
    for kind, make_key in (("P-256", P256), ("RSA-2048", RSA_2048)):
        pki = Pki(make_key)
        names = names_for(pki)
        found = medians(STATEMENTS, names, rounds=rounds)
        print_table(f"{kind}: one decision", rows_of(found))
    return 0


def names_for(pki: Pki) -> dict[str, Any]:
    """Return what the statements use: the same client for all."""
    text = pki.alice.decode()
    certificate = ClientCertificate.from_der(base64.b64decode(text))
    pinned = Policy(fingerprints=[certificate.sha256_fingerprint])
    anchored = Policy(trust_anchors=pki.ca.public_bytes(Encoding.PEM).decode())
    remembering = Authorizer({"default": pinned})
    named = Policy(
        fingerprints=[certificate.sha256_fingerprint],
        identity="contoso:{common_name}",
        roles=["orders", "invoices"],
    )
    naming = Authorizer({"default": named})
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    headers.append((b"x-arr-clientcert", pki.alice))
    environ: dict[str, Any] = {
        "HTTP_" + name.decode().upper().replace("-", "_"): value.decode() for name, value in headers
    }
    environ |= {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/hellocert",
        "QUERY_STRING": "",
        "SERVER_SOFTWARE": "gunicorn/23.0.0",
        "REMOTE_ADDR": "169.254.130.1",
        "wsgi.errors": type("WSGIErrorsWrapper", (), {"__module__": "gunicorn.http.wsgi"})(),
        "wsgi.input": type("Body", (), {"__module__": "gunicorn.http.body"})(),
    }
    return {
        "Denied": CertificateDenied,
        "alice": pki.alice,
        "stranger": pki.issue("mallory"),
        "no_base64": b"!" * 600,
        "no_certificate": base64.b64encode(b"no certificate" * 40),
        "remembered": {text: certificate},
        "sample": documented_sample(certificate.sha1_fingerprint, "alice", "Contoso Issuing CA"),
        "warm": remembering.authorize,
        "warm_named": naming.authorize,
        "warm_wsgi": remembering.authorize_wsgi,
        "warm_asgi": remembering.authorize_asgi,
        "environ": environ,
        "scope": {"type": "http", "method": "GET", "path": "/hellocert", "headers": headers},
        "cold": Authorizer({"default": pinned}, most_remembered=0).authorize,
        "cold_path": Authorizer({"default": anchored}, most_remembered=0).authorize,
        "verify": bare_verifier(pki),
    }


def bare_verifier(pki: Pki) -> Any:
    """Return cryptography's ClientVerifier as its documentation shows it, with the parsing."""
    store = Store([pki.ca])

    def verify(value: str) -> None:
        certificate = x509.load_der_x509_certificate(base64.b64decode(value))
        moment = datetime.now(UTC)
        PolicyBuilder().store(store).time(moment).build_client_verifier().verify(certificate, [])

    return verify


_DENY = "try: {0}({1}.decode('latin-1'))\nexcept Denied: pass"

STATEMENTS = {
    "floor": "remembered[alice.decode('latin-1')]",
    "sample": "sample(alice.decode('latin-1'))",
    "sample again": "sample(alice.decode('latin-1'))",
    "warm": "warm(alice.decode('latin-1'))",
    "warm_wsgi": "warm_wsgi(environ)",
    "warm_asgi": "warm_asgi(scope)",
    "warm_named": "warm_named(alice.decode('latin-1'))",
    "warm_role": "warm_named(alice.decode('latin-1'), role='orders')",
    "cold": "cold(alice.decode('latin-1'))",
    "cold_path": "cold_path(alice.decode('latin-1'))",
    "verify": "verify(alice.decode('latin-1'))",
    "garbage": _DENY.format("cold", "no_base64"),
    "sample's garbage": "sample(no_base64.decode('latin-1'))",
    "other garbage": _DENY.format("cold", "no_certificate"),
    "sample's other garbage": "sample(no_certificate.decode('latin-1'))",
    "stranger": _DENY.format("cold", "stranger"),
    "sample's stranger": "sample(stranger.decode('latin-1'))",
}


def rows_of(seconds: dict[str, float]) -> list[Row]:
    """Return the ratios, with both times beside them."""

    def row(measure: str, one: str, other: str, goal: float | None, **more: Any) -> Row:
        times = f"{seconds[one] * 1e6:.2f} us / {seconds[other] * 1e6:.2f} us"
        return Row(measure, seconds[one] / seconds[other], goal, beside=times, **more)

    return [
        row("control: sample / sample", "sample", "sample again", None),
        row("warm: sample / authorize", "sample", "warm", 25, at_least=True),
        row("warm: authorize / floor", "warm", "floor", 4),
        row("warm: authorize_wsgi, 15 headers / sample", "warm_wsgi", "sample", 0.15),
        row("warm: authorize_asgi, 15 headers / sample", "warm_asgi", "sample", 0.15),
        row("warm: with an identity / without", "warm_named", "warm", 1.2),
        row("warm: with an identity and a role / without", "warm_role", "warm", 1.2),
        row("cold, pinned / sample", "cold", "sample", 0.6),
        row("cold, path / bare ClientVerifier and parse", "cold_path", "verify", 1.8),
        row("denied: no base64 / sample", "garbage", "sample's garbage", 0.5),
        row("denied: no certificate / sample", "other garbage", "sample's other garbage", 0.5),
        row("denied: stranger / sample", "stranger", "sample's stranger", 0.5),
    ]


if __name__ == "__main__":
    sys.exit(main())
