"""The known failures of similar software, tested through the public methods.

`docs/threat-model.md` lists every root cause. Most are tested with the module that handles them.
"""

from __future__ import annotations

import base64
import socket
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from arrcert import Authorizer, CertificateDenied, ClientCertificate, DenialReason, Policy
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.ingress import Ingress
from arrcert.forwarding.proxies import secret_header_from
from arrcert.testing import CertificateAuthority, IssuedCertificate


def policy_for(certificate: IssuedCertificate) -> Policy:
    """Return a policy that pins one certificate."""
    return Policy(fingerprints=[certificate.certificate.sha256_fingerprint])


def reason(authorizer: Authorizer, pairs: list[tuple[str, str]]) -> DenialReason | None:
    """Return why a request with these headers is denied in every form, None if it is accepted."""
    environ = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in pairs}
    scope = {"headers": [(name.lower().encode(), value.encode()) for name, value in pairs]}
    reasons: list[DenialReason | None] = []
    for authorize, request in (
        (authorizer.authorize_headers, pairs),
        (authorizer.authorize_wsgi, environ),
        (authorizer.authorize_asgi, scope),
    ):
        try:
            authorize(request)
        except CertificateDenied as denied:
            reasons.append(denied.reason)
        else:
            reasons.append(None)
    assert len(set(reasons)) == 1, reasons
    return reasons[0]


def percent_encoded(certificate: IssuedCertificate) -> str:
    """Write a certificate as nginx does."""
    return quote(certificate.certificate_pem.decode(), safe="")


# --- the header ---------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", FRONT_ENDS)
def test_other_front_ends_headers_are_not_read(declared: str, alice: IssuedCertificate) -> None:
    """Only the declared header is read, and no list of headers is tried in turn (authentik)."""
    front_end = FRONT_ENDS[declared]
    authorizer = Authorizer({"default": policy_for(alice)}, front_end=declared)
    values = {
        alice.header_value,
        f":{alice.header_value}:",
        percent_encoded(alice),
        f'Cert="{percent_encoded(alice)}"',
    }
    for name in {other.header for other in FRONT_ENDS.values()} | {
        *("X-Client-Certificate", "X-SSL-CERT", "SSL-Client-Cert", "X-Forwarded-Tls-Client-Cert"),
        *("X-Amzn-Mtls-Clientcert", "X-Azure-ClientCertificate", "X-SSL-Client-Cert"),
    }:
        if name == front_end.header:
            continue
        for value in values:
            assert reason(authorizer, [(name, value)]) is DenialReason.MISSING, (name, value)


def test_header_that_goes_missing_on_the_way_denies(alice: IssuedCertificate) -> None:
    """A request is denied if `Connection: <name>` makes a proxy remove the certificate header.

    (Traefik CVE-2024-45410, Fabio CVE-2025-48865: trusted headers dropped as hop-by-hop ones.)
    """
    policies = {"default": policy_for(alice)}
    secret = secret_header_from({"header": "X-Secret", "secrets": ["s" * 16]}, setting="S")
    nginx = FRONT_ENDS["nginx"]
    authorizer = Authorizer(policies, front_end=Ingress(nginx, secret_header=secret))
    whole = [
        (nginx.header, percent_encoded(alice)),
        (str(nginx.verify_header), str(nginx.verify_value)),
        ("X-Secret", "s" * 16),
    ]
    assert reason(authorizer, whole) is None
    for gone in range(len(whole)):
        rest = [pair for index, pair in enumerate(whole) if index != gone]
        for connection in ("close", f"close, {whole[gone][0]}"):
            assert reason(authorizer, [*rest, ("Connection", connection)]) is not None


# --- identity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x30\x03\x02\x01\x00", id="not a certificate"),
        pytest.param(None, id="cut short"),
    ],
)
def test_next_certificate_is_never_the_identity(
    leaf: bytes | None, alice: IssuedCertificate
) -> None:
    """A leaf that cannot be parsed is denied, even if another certificate follows it.

    (npm client-certificate-auth #187, #193: the next certificate became the identity.)
    """
    leaf = alice.certificate.der[:-1] if leaf is None else leaf
    bad = base64.b64encode(leaf).decode()
    lines = f"-----BEGIN CERTIFICATE-----\n{bad}\n-----END CERTIFICATE-----\n"
    pem, chain = quote(lines, safe=""), percent_encoded(alice)
    for front_end, pairs in (
        (
            "rfc9440",
            [("Client-Cert", f":{bad}:"), ("Client-Cert-Chain", f":{alice.header_value}:")],
        ),
        ("nginx", [("X-Client-Cert", pem + chain), ("X-Client-Verify", "SUCCESS")]),
        ("envoy", [("X-Forwarded-Client-Cert", f'Cert="{pem}";Chain="{chain}"')]),
    ):
        authorizer = Authorizer({"default": policy_for(alice)}, front_end=front_end)
        assert reason(authorizer, pairs) is DenialReason.MALFORMED, front_end


def test_forwarded_chain_proves_nothing(
    authority: CertificateAuthority, alice: IssuedCertificate, impostor: IssuedCertificate
) -> None:
    """Forwarded intermediates may complete a path, but they are no anchors and prove no names."""
    stranger = CertificateAuthority("Contoso Issuing CA", organization="Contoso")
    forged = stranger.issue("alice")
    policy = Policy(trust_anchors=authority.certificate_pem.decode(), common_names=["alice"])
    authorizer = Authorizer({"default": policy}, front_end="rfc9440")
    chain = ", ".join(
        f":{base64.b64encode(der).decode()}:"
        for der in (
            stranger.x509.public_bytes(Encoding.DER),
            authority.x509.public_bytes(Encoding.DER),
            alice.certificate.der,
        )
    )
    for leaf in (forged, impostor):
        pairs = [("Client-Cert", f":{leaf.header_value}:"), ("Client-Cert-Chain", chain)]
        assert reason(authorizer, pairs) is DenialReason.UNTRUSTED
    pairs = [("Client-Cert", f":{alice.header_value}:"), ("Client-Cert-Chain", chain)]
    assert reason(authorizer, pairs) is None


# --- side effects -------------------------------------------------------------------------------


def test_nothing_is_fetched_from_urls_of_a_certificate(
    authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No URL in a certificate is fetched: no issuer, no list and no OCSP answer.

    (Java CVE-2026-21945 and Keycloak #46742: AIA and CRL distribution points were fetched.)
    """
    asked: list[object] = []

    def refuse(*args: Any, **_: Any) -> None:
        asked.append(args)
        raise OSError("no network in this test")

    certificate = with_urls(authority, "http://127.0.0.1:9/x")
    orphan = with_urls(CertificateAuthority("Nobody's"), "ldap://127.0.0.1:9/x")
    pem = authority.certificate_pem.decode()
    other = CertificateAuthority("Other")
    strict = Policy(
        trust_anchors=[pem, other.certificate_pem.decode()],
        crls=other.revocation_list().decode(),
    )
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    Policy(trust_anchors=pem).check(certificate)
    for policy, client, why in (
        (Policy(trust_anchors=pem), orphan, DenialReason.UNTRUSTED),
        (strict, certificate, DenialReason.REVOCATION_UNKNOWN),
    ):
        with pytest.raises(CertificateDenied) as caught:
            policy.check(client)
        assert caught.value.reason is why
    assert asked == []


def with_urls(authority: CertificateAuthority, url: str) -> ClientCertificate:
    """Return a certificate with URLs of its issuer, its revocation list and its status."""
    now = datetime.now(UTC)
    place = x509.UniformResourceIdentifier(url)
    access = [
        x509.AccessDescription(method, place)
        for method in (AuthorityInformationAccessOID.CA_ISSUERS, AuthorityInformationAccessOID.OCSP)
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")]))
        .issuer_name(authority.name)
        .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.AuthorityInformationAccess(access), critical=False)
        .add_extension(
            x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)]),
            critical=False,
        )
        .sign(authority._key, hashes.SHA256())
    )
    return ClientCertificate.from_der(certificate.public_bytes(Encoding.DER))
