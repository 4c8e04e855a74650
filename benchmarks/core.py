"""Cold decisions and denials, against the platform's sample and cryptography's bare verifier.

A decision is cold if nothing about the client is remembered. So each call presents another
certificate. A denial is measured twice: for a client that comes again, as most clients do, and for
a series of different clients.
"""

from __future__ import annotations

import base64
import functools
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from instructions import Calls
from paired import Costs, Row, costs, options_from_command_line, print_table
from sample import documented_sample

from arrcert import Authorizer, CertificateDenied, ClientCertificate, Policy, denials

P256 = functools.partial(ec.generate_private_key, ec.SECP256R1())
RSA_2048 = functools.partial(rsa.generate_private_key, 65537, 2048)
KINDS = {"P-256": P256, "RSA-2048": RSA_2048}

IN_TURN = 100
"""The number of certificates that one turn presents."""

ISSUER = "Contoso Issuing CA"


class Pki:
    """A CA and its certificates. All keys are of one kind.

    Args:
        make_key: makes a private key.
        issuer: the CA's common name.
        above: the CA that issued this CA's certificate; None for a root CA.
    """

    def __init__(self, make_key: Any, issuer: str = ISSUER, above: Pki | None = None) -> None:
        self.issuer = issuer
        self._key, self._client_key = make_key(), make_key()
        by = above or self
        self.ca = by.sign(issuer, self._key.public_key(), is_ca=True)
        self.alice = self.issue("alice")

    def issue(self, common_name: str, named: Pki | None = None) -> bytes:
        """Return a client certificate as App Service writes it.

        Args:
            common_name: the common name of the subject.
            named: the CA whose key is in the authority key identifier; this CA by default.
        """
        certificate = self.sign(common_name, self._client_key.public_key(), named=named)
        return base64.b64encode(certificate.public_bytes(Encoding.DER))

    def sign(
        self, common_name: str, key: Any, *, is_ca: bool = False, named: Pki | None = None
    ) -> x509.Certificate:
        """Return a certificate with all extensions that CAs usually write."""
        now = datetime.now(UTC)
        subject, issuer = (
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
            for text in (common_name, self.issuer)
        )
        issuer_key = (named or self)._key.public_key()
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
            )
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


def pem_of(*certificates: x509.Certificate) -> str:
    """Return certificates as PEM text."""
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in certificates)


def main() -> int:
    """Measure, and print the tables."""
    options = options_from_command_line(__doc__, 101)
    # The log is off, because the sample logs nothing either.
    logging.disable(logging.CRITICAL)
    for kind in KINDS:
        found = costs(cold_calls, kind, options=options)
        print_table(f"One cold decision, {kind}", cold_rows(found, kind))
        found = costs(denial_calls, kind, options=options)
        print_table(f"One denial, log off, {kind}", denial_rows(found))
    found = costs(flood_calls, options=options)
    logging.disable(logging.CRITICAL)
    print_table("One denial, log on, counted in a flood", flood_rows(found))
    found = costs(large_calls, options=options)
    print_table("One cold decision, P-256, large settings", large_rows(found))
    return 0


# Each turn makes its own iterator, which has enough certificates for all of its calls.
_NEXT = "next(values).decode('latin-1')"


def cold_calls(kind: str) -> Calls:
    """Return statements about clients that are accepted.

    Args:
        kind: the kind of all keys, one of `KINDS`.
    """
    logging.disable(logging.CRITICAL)
    pki = Pki(KINDS[kind])
    clients = [pki.issue("alice") for _ in range(IN_TURN)]
    certificates = [ClientCertificate.from_der(base64.b64decode(client)) for client in clients]
    pinned = Policy(fingerprints=[one.sha256_fingerprint for one in certificates])
    anchored = Policy(trust_anchors=pem_of(pki.ca))
    return Calls(
        {
            "sample": "sample(alice.decode('latin-1'))",
            "sample again": "sample(alice.decode('latin-1'))",
            "pinned, remembered": f"authorize({_NEXT})",
            "path": f"authorize_path({_NEXT})",
            "verifier": f"verify({_NEXT})",
        },
        {
            "Authorizer": Authorizer,
            "pinned": pinned,
            "clients": clients,
            "alice": clients[0],
            "sample": documented_sample(certificates[0].sha1_fingerprint, "alice", ISSUER),
            "authorize_path": Authorizer({"default": anchored}, most_remembered=0).authorize,
            "verify": bare_verifier([pki.ca]),
        },
        {
            "pinned, remembered": "values = iter(clients);"
            " authorize = Authorizer({'default': pinned}).authorize",
            "path": "values = iter(clients)",
            "verifier": "values = iter(clients)",
        },
    )


def cold_rows(found: Costs, kind: str) -> list[Row]:
    """Return the ratios for clients that are accepted."""
    return [
        found.ratio("control: sample / sample", "sample again", "sample"),
        found.ratio("cold, pinned, remembered / sample", "pinned, remembered", "sample", 1.5),
        found.ratio(
            "cold, path / bare ClientVerifier and parse",
            "path",
            "verifier",
            2.0 if kind == "P-256" else 2.5,
        ),
    ]


_DENY = "try: {0}({1}.decode('latin-1'))\nexcept Denied: pass"
_REFUSE = "try: verify({0}.decode('latin-1'))\nexcept Exception: pass"


def flood_calls() -> Calls:
    """Return statements about clients that no pin accepts, and whose denials the log only counts.

    The flood begins with the first denial, and lasts until the end of the run.
    """
    calls = denial_calls("P-256")
    logger = logging.getLogger("arrcert")
    logger.handlers, logger.propagate = [logging.NullHandler()], False
    logging.disable(logging.NOTSET)
    denials.MOST_IN_FULL, denials.SECONDS_TO_COUNT = 0, 3600.0
    kept = {name: text for name, text in calls.statements.items() if "verif" not in text}
    return calls._replace(statements={n: t for n, t in kept.items() if "path" not in t})


def denial_calls(kind: str) -> Calls:
    """Return statements about clients that are denied.

    Args:
        kind: the kind of all keys, one of `KINDS`.
    """
    logging.disable(logging.CRITICAL)
    pki = Pki(KINDS[kind])
    impostor, foreign = Pki(KINDS[kind]), Pki(KINDS[kind], "Another CA")
    pin = ClientCertificate.from_der(base64.b64decode(pki.alice)).sha256_fingerprint
    sha1 = ClientCertificate.from_der(base64.b64decode(pki.alice)).sha1_fingerprint
    anchored = Policy(trust_anchors=pem_of(pki.ca))
    clients = {
        "stranger": foreign.alice,
        "impostor": impostor.alice,
        "impostor with the name of the key": impostor.issue("alice", named=pki),
        "foreign": foreign.alice,
    }
    statements, setups = {}, {}
    names: dict[str, Any] = {
        "Denied": CertificateDenied,
        "sample": documented_sample(sha1, "alice", ISSUER),
        "authorize_pinned": Authorizer({"default": Policy(fingerprints=[pin])}).authorize,
        "authorize_path": Authorizer({"default": anchored}).authorize,
        "verify": bare_verifier([pki.ca]),
        "no_base64": b"!" * 600,
        "no_certificate": base64.b64encode(b"no certificate" * 40),
    }
    for text in ("no_base64", "no_certificate"):
        statements[text] = _DENY.format("authorize_pinned", text)
        statements[f"sample, {text}"] = f"sample({text}.decode('latin-1'))"
    for name, client in clients.items():
        variable = name.replace(" ", "_")
        authorize = "authorize_pinned" if name == "stranger" else "authorize_path"
        names[variable], names[f"{variable}_in_turn"] = client, varied(client)
        statements[name] = _DENY.format(authorize, variable)
        statements[f"{name}, in turn"] = _DENY.format(authorize, "next(values)")
        setups[f"{name}, in turn"] = f"values = iter({variable}_in_turn)"
        if name == "stranger":
            statements["sample, stranger"] = "sample(stranger.decode('latin-1'))"
        else:
            statements[f"verifier, {name}"] = _REFUSE.format(variable)
    statements["sample, stranger again"] = statements["sample, stranger"]
    return Calls(statements, names, setups)


def varied(client: bytes) -> list[bytes]:
    """Return a certificate with many serial numbers. Its signature is invalid."""
    der = base64.b64decode(client)
    serial = ClientCertificate.from_der(der).serial_number
    at = der.index(serial.to_bytes((serial.bit_length() + 8) // 8, "big"))
    return [
        base64.b64encode(der[:at] + b"\x01" + number.to_bytes(8, "big") + der[at + 9 :])
        for number in range(IN_TURN)
    ]


def flood_rows(found: Costs) -> list[Row]:
    """Return the ratios for clients that no pin accepts."""
    return [
        found.ratio("control: sample / sample", "sample, stranger again", "sample, stranger"),
        found.ratio("no base64 / sample", "no_base64", "sample, no_base64", 1.0),
        found.ratio("no certificate / sample", "no_certificate", "sample, no_certificate", 1.0),
        found.ratio("pins: a stranger again / sample", "stranger", "sample, stranger", 1.0),
        found.ratio("pins: strangers in turn / sample", "stranger, in turn", "sample, stranger"),
    ]


def denial_rows(found: Costs) -> list[Row]:
    """Return the ratios for clients that are denied."""
    rows = flood_rows(found)
    for name, what, goal in (
        ("impostor", "a CA of the same name", 2.0),
        ("impostor with the name of the key", "the same name and key identifier", None),
        ("foreign", "a foreign CA", 3.0),
    ):
        verifier = f"verifier, {name}"
        measure = f"anchors: a client of {what}"
        rows.append(found.ratio(f"{measure}, again / bare verifier", name, verifier, goal))
        measure = f"{measure}, others in turn / bare verifier"
        rows.append(found.ratio(measure, f"{name}, in turn", verifier))
    return rows


def bare_verifier(anchors: Sequence[x509.Certificate], between: Any = ()) -> Any:
    """Return cryptography's ClientVerifier as its documentation shows it, with the parsing.

    Args:
        anchors: the trust anchors.
        between: the intermediates.
    """
    store, intermediates = Store(list(anchors)), list(between)

    def verify(value: str) -> None:
        certificate = x509.load_der_x509_certificate(base64.b64decode(value))
        moment = datetime.now(UTC)
        verifier = PolicyBuilder().store(store).time(moment).build_client_verifier()
        verifier.verify(certificate, intermediates)

    return verify


def large_calls() -> Calls:
    """Return statements about settings with many policies, many anchors and a long path."""
    logging.disable(logging.CRITICAL)
    pki = Pki(P256)
    middle = Pki(P256, "Middle CA", above=pki)
    lower = Pki(P256, "Lower CA", above=middle)
    others = [Pki(P256, f"CA {number}").ca for number in range(99)]
    anchor, cas = pem_of(pki.ca), pem_of(middle.ca, lower.ca)
    policies = {
        "one": [Policy(trust_anchors=anchor)],
        "thousand": [
            Policy(trust_anchors=anchor, common_names=[f"client {number}"]) for number in range(999)
        ]
        + [Policy(trust_anchors=anchor, common_names=["alice"])],
        "hundred": [Policy(trust_anchors=anchor + pem_of(*others))],
        "chain": [Policy(trust_anchors=anchor, intermediates=cas)],
    }
    names: dict[str, Any] = {
        f"authorize_{name}": Authorizer({"default": listed}, most_remembered=0).authorize
        for name, listed in policies.items()
    }
    names |= {
        "clients": [pki.issue("alice") for _ in range(IN_TURN)],
        "low": [lower.issue("alice") for _ in range(IN_TURN)],
        "verify": bare_verifier([pki.ca]),
        "verify_hundred": bare_verifier([pki.ca, *others]),
        "verify_chain": bare_verifier([pki.ca], [middle.ca, lower.ca]),
    }
    calls = {
        "one": "authorize_one",
        "thousand": "authorize_thousand",
        "hundred": "authorize_hundred",
        "chain": "authorize_chain",
        "verifier": "verify",
        "verifier again": "verify",
        "verifier, hundred": "verify_hundred",
        "verifier, chain": "verify_chain",
    }
    setups = {name: f"values = iter({'low' if 'chain' in name else 'clients'})" for name in calls}
    return Calls({name: f"{call}({_NEXT})" for name, call in calls.items()}, names, setups)


def large_rows(found: Costs) -> list[Row]:
    """Return the ratios to a verifier alone, with the same anchors and intermediates."""
    return [
        found.ratio("control: bare verifier / bare verifier", "verifier again", "verifier"),
        found.ratio("one policy, one anchor / bare verifier", "one", "verifier"),
        found.ratio("1,000 alternatives, the last accepts / bare verifier", "thousand", "verifier"),
        found.ratio("100 anchors / bare verifier", "hundred", "verifier, hundred"),
        found.ratio("a chain of 4 / bare verifier", "chain", "verifier, chain"),
    ]


if __name__ == "__main__":
    sys.exit(main())
