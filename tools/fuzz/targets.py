"""The fuzzing targets: what each does with an input, what must be true, and its seeds.

A target fails by any exception. `arrcert.testing` makes the seeds at the start. The keys differ
from run to run, but the inputs of a finding do not depend on them.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import logging
import posixpath
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert import (
    Authorizer,
    CertificateDenied,
    ClientCertificate,
    ConfigurationError,
    DenialReason,
    Policy,
)
from arrcert import names as name_entries
from arrcert.exceptions import Finding
from arrcert.forwarding.encodings import (
    base64_der,
    byte_sequence,
    byte_sequence_list,
    percent_encoded_pem,
    xfcc,
)
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.forwarding.front_ends import FRONT_ENDS, FrontEnd
from arrcert.forwarding.ingress import Ingress
from arrcert.forwarding.proxies import SecretHeader, networks_from
from arrcert.pins import fingerprint_pin, public_key_pin
from arrcert.policy import PARAMETERS
from arrcert.settings import load
from arrcert.testing import CertificateAuthority, self_signed
from arrcert.trust.crls import read_revocation_lists
from arrcert.trust.pem import parse_certificates, pasted


class Target(NamedTuple):
    """One place where hostile bytes enter.

    Attributes:
        run: takes one input and raises where something does not hold.
        seeds: inputs to begin with.
    """

    run: Callable[[bytes], None]
    seeds: list[bytes]


class _OneLine(logging.Handler):
    """A handler that formats every record, and checks that it is one printable line."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        assert message.isprintable(), f"a record that is not one printable line: {message!r}"
        assert len(message) < 4000, f"a record of {len(message)} characters"


logger = logging.getLogger("arrcert")
logger.handlers = [_OneLine()]
logger.propagate = False

AUTHORITY = CertificateAuthority("Fuzz CA", organization="Contoso")
PINNED = AUTHORITY.issue("alice", dns_names=["alice.partner.example"], ip_addresses=["192.0.2.1"])
OTHERS = [
    AUTHORITY.issue("bob", organization="Contoso"),
    AUTHORITY.issue("carol", extended_key_usages=None, not_after=datetime(2020, 1, 1, tzinfo=UTC)),
    self_signed("alice", issuer=AUTHORITY),
]
STRANGER = OTHERS[-1].certificate
DER = PINNED.certificate.der
BASE64 = base64.b64encode(DER)
CHAIN = [AUTHORITY.x509.public_bytes(Encoding.DER)]
CERTIFICATES = [DER, *(other.certificate.der for other in OTHERS), *CHAIN]
SIGNED = {x509.load_der_x509_certificate(der).tbs_certificate_bytes for der in CERTIFICATES}

PIN = Policy(fingerprints=[PINNED.certificate.sha256_fingerprint])
POLICIES = [
    PIN,
    Policy(trust_anchors=AUTHORITY.certificate_pem.decode(), common_names=["alice"]),
    Policy(
        trust_anchors=AUTHORITY.certificate_pem.decode(),
        dns_names=["*.partner.example"],
        crls=AUTHORITY.revocation_list(OTHERS[0]).decode(),
        revocation="soft",
        clock_skew=300,
    ),
    Policy(
        public_keys=[{"public_key": "AB" * 32, "not_after": "2020-01-31"}],
        fingerprints=["AB" * 32],
        issuers=["CN=Fuzz CA"],
    ),
]


def text_of(data: bytes) -> str:
    """Decode bytes to the text of a header as a WSGI server does (Latin-1)."""
    return data.decode("latin-1")


def armoured(der: bytes) -> str:
    """Return a certificate as PEM (RFC 7468), without the last line break."""
    text = base64.b64encode(der).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----"])


def look(der: bytes) -> ClientCertificate:
    """Parse bytes that a decoder accepted, and check the certificate under every policy."""
    certificate = ClientCertificate.from_der(der)
    assert certificate.der == der
    assert repr(certificate).isprintable()
    for policy in POLICIES:
        try:
            policy.check(certificate)
        except CertificateDenied as denied:
            assert str(denied).isprintable()
            continue
        assert certificate.x509.tbs_certificate_bytes in SIGNED, "a stranger's certificate entered"
        assert policy is not PIN or certificate.der == DER, "another certificate than the pinned"
    return certificate


def decoder(
    decode: Callable[[str], list[bytes] | Finding],
    holds: Callable[[str, list[bytes]], bool],
    seeds: list[str],
) -> Target:
    """Make the target of one encoding.

    Args:
        decode: the decoder.
        holds: whether an accepted text is the very encoding of these certificates, told in another
            way than the decoder does.
        seeds: texts to begin with.
    """

    def run(data: bytes) -> None:
        text = text_of(data)
        try:
            ders = decode(text)
            if isinstance(ders, Finding):
                assert ders.reason is not DenialReason.MISCONFIGURED
                assert ders.detail.isprintable()
                return
            assert holds(text, ders), f"accepted as {[der.hex() for der in ders]}"
            look(ders[0])
        except CertificateDenied as denied:
            assert denied.reason is DenialReason.MALFORMED
            assert str(denied).isprintable()

    return Target(run, [seed.encode("latin-1") for seed in seeds])


def _base64_der() -> Target:
    return decoder(
        base64_der,
        lambda text, ders: text == base64.b64encode(*ders).decode("ascii"),
        [base64.b64encode(der).decode("ascii") for der in CERTIFICATES] + ["QQ==", "QR==", "QUI="],
    )


def _percent_encoded_pem() -> Target:
    def holds(text: str, ders: list[bytes]) -> bool:
        lines = unquote_to_bytes(text).replace(b"\r\n", b"\n").split(b"\n")
        wanted = b"".join(
            b"-----BEGIN CERTIFICATE-----" + base64.b64encode(der) + b"-----END CERTIFICATE-----"
            for der in ders
        )
        return b"".join(lines) == wanted

    return decoder(
        percent_encoded_pem,
        holds,
        [
            *(quote(armoured(der) + end, safe="") for der in CERTIFICATES for end in ("", "\n")),
            quote(f"{armoured(DER)}\n{armoured(CHAIN[0])}\n", safe="+/="),
            quote(armoured(DER).replace("\n", "\r\n"), safe=""),
            quote(armoured(b"A"), safe=""),
            armoured(DER),
        ],
    )


def _byte_sequence() -> Target:
    return decoder(
        byte_sequence,
        lambda text, ders: text == f":{base64.b64encode(*ders).decode('ascii')}:",
        [f":{base64.b64encode(der).decode('ascii')}:" for der in (*CERTIFICATES, b"A")],
    )


def _byte_sequence_list() -> Target:
    def holds(text: str, ders: list[bytes]) -> bool:
        wanted = [f":{base64.b64encode(der).decode('ascii')}:" for der in ders]
        return [item.strip(" \t") for item in text.split(",")] == wanted

    one = f":{base64.b64encode(CHAIN[0]).decode('ascii')}:"
    return decoder(
        byte_sequence_list,
        holds,
        [one, f"{one},{one}", f"{one}, \t{one}", ",".join([":QQ==:"] * 11)],
    )


def _xfcc_pairs(text: str) -> list[list[tuple[str, str]]]:
    """Read x-forwarded-client-cert character by character, as Envoy describes it."""
    elements: list[list[tuple[str, str]]] = [[]]
    current, quoted, escaped = "", False, False
    for character in f"{text},":
        if escaped:
            current, escaped = current + character, False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character in ",;" and not quoted:
            key, _, value = current.partition("=")
            elements[-1].append((key.lower(), value))
            current = ""
            if character == ",":
                elements.append([])
        else:
            current += character
    return elements[:-1]


def _xfcc() -> Target:
    """The first byte of an input is the number of trusted hops."""

    def run(data: bytes) -> None:
        hops = 1 + data[0] % 3 if data else 1

        def holds(text: str, ders: list[bytes]) -> bool:
            element = dict(_xfcc_pairs(text)[-hops])
            certificates = [element["cert"], *([element["chain"]] if "chain" in element else [])]
            found = re.sub(r"\r?\n", "", unquote("".join(certificates)))
            blocks = re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", found)
            # Envoy repeats the leaf at the head of the chain.
            if "chain" in element and blocks[1:2] == blocks[:1]:
                del blocks[1]
            return blocks == [base64.b64encode(der).decode("ascii") for der in ders]

        decoder(lambda text: xfcc(text, hops), holds, []).run(data[1:])

    leaf, issuer = quote(armoured(DER), safe=""), quote(armoured(CHAIN[0]), safe="")
    other = quote(armoured(OTHERS[0].certificate.der), safe="")
    values = [
        f'Hash=ab12;Cert="{leaf}";Subject="CN=alice,O=\\"Contoso\\"";URI=spiffe://example/a',
        f'Hash=ab12;Cert="{leaf}";Chain="{leaf}{issuer}"',
        f'Cert={leaf},Hash=cd34;Cert="{other}";DNS=a.example;DNS=b.example',
        f'By=spiffe://a;Cert="{other}",Cert="{leaf}";Chain="{issuer}"',
        f'Hash=ab12;Cert="{leaf}";Chain="{leaf}{issuer}";',
        'Cert="a";Cert="b"',
        'Subject="a\\\\\\";Cert=x";Hash=1',
    ]
    return Target(run, [bytes([hops]) + value.encode() for value in values for hops in range(3)])


def _certificate_der() -> Target:
    def run(data: bytes) -> None:
        try:
            look(data)
        except CertificateDenied as denied:
            assert denied.reason is DenialReason.MALFORMED
            assert str(denied).isprintable()

    return Target(run, list(CERTIFICATES))


def _certificate_pem() -> Target:
    def run(data: bytes) -> None:
        for pem in (data, text_of(data)):
            try:
                certificate = ClientCertificate.from_pem(pem)
            except CertificateDenied as denied:
                assert denied.reason is DenialReason.MALFORMED
                assert str(denied).isprintable()
            else:
                look(certificate.der)

    seeds = [armoured(der).encode("ascii") for der in CERTIFICATES]
    return Target(run, [*seeds, b"text around\n" + seeds[0] + b"\n", seeds[0] + b"\n" + seeds[1]])


def _settings(framework: dict[str, Any], environ: dict[str, str]) -> None:
    try:
        settings = load(framework, environ)
    except ConfigurationError as error:
        assert error.problems
        assert str(error)
        return
    assert settings.policies
    for alternatives in settings.policies.values():
        for policy in alternatives:
            assert (
                policy.names_proven_by_front_end <= settings.ingress.front_end.checks_certificates
            )
            if policy.names_proven_by_front_end:
                continue
            try:
                policy.check(STRANGER)
            except CertificateDenied:
                continue
            raise AssertionError(f"a stranger may enter under {environ!r} {framework!r}")
    settings.warnings()
    Authorizer.from_settings(settings)


def _variables() -> Iterator[dict[str, str]]:
    pem = AUTHORITY.certificate_pem.decode()
    base = {
        "FINGERPRINTS": f"{'AB' * 20}; {':'.join(['CD'] * 32)}",
        "PUBLIC_KEYS": base64.b64encode(bytes(32)).decode("ascii"),
        "COMMON_NAMES": '["alice", "bob"]',
        "DNS_NAMES": "a.example;*.b.example",
        "URIS": "spiffe://example/*",
        "EMAIL_ADDRESSES": "ops@partner.example",
        "ISSUERS": "CN=Fuzz CA, O=Contoso;Fuzz CA",
        "TRUST_ANCHORS": pem,
        "INTERMEDIATES": pem,
        "CRLS": AUTHORITY.revocation_list().decode(),
        "REVOCATION": "soft",
        "CLOCK_SKEW": "300",
        "NAMES_PROVEN_BY_FRONT_END": "true",
        "FRONT_END": '{"header": "X-Client-Cert", "checks_certificates": true}',
        "EXEMPT_PATHS": "/health;/public/*",
        "PROTECT_ALL": "true",
        "TRUSTED_PROXIES": "10.0.0.0/8;2001:db8::/32",
        "FRONT_END_SECRET_HEADER": '{"header": "X-Secret", "secrets": ["0123456789abcdef"]}',
        "REFUSE_UNSAFE_SERVERS": "false",
    }
    ours = {f"ARRCERT_{name}": value for name, value in base.items()}
    for name, value in ours.items():
        yield {name: value}
        yield {"ARRCERT_FINGERPRINTS": "AB" * 20, name: value}
    yield {name: value for name, value in ours.items() if "PROVEN" not in name}
    for front_end in FRONT_ENDS:
        yield {"ARRCERT_FINGERPRINTS": "AB" * 20, "ARRCERT_FRONT_END": front_end}
    yield {"ARRCERT": json.dumps({"default": {"fingerprints": ["AB" * 20]}})}


def _settings_from_environment() -> Target:
    """Variables stand between NUL bytes, as in /proc/self/environ."""

    def run(data: bytes) -> None:
        pairs = (entry.partition("=") for entry in data.decode("utf-8", "replace").split("\0"))
        _settings({}, {name: value for name, _, value in pairs if name})

    return Target(
        run,
        [
            "\0".join(f"{name}={value}" for name, value in variables.items()).encode()
            for variables in _variables()
        ],
    )


def _settings_from_json() -> Target:
    """An input is used as the environment variable ARRCERT.

    If it is JSON, it is also used as the framework's settings.
    """

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        _settings({}, {"ARRCERT": text})
        _settings({}, {"ARRCERT": '{"default": {"fingerprints": [""]}}', "ARRCERT_FRONT_END": text})
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return
        _settings({"ARRCERT": value}, {})
        if isinstance(value, dict):
            _settings(value, {})
        pin = {"default": {"fingerprints": ["AB" * 20]}}
        for name in ("FRONT_END", "FRONT_END_SECRET_HEADER", "EXEMPT_PATHS", "TRUSTED_PROXIES"):
            _settings({"ARRCERT": pin, f"ARRCERT_{name}": value}, {})

    pem = AUTHORITY.certificate_pem.decode()
    policy: dict[str, Any] = {
        "fingerprints": ["AB" * 20, {"fingerprint": "CD" * 32, "not_after": "2027-01-31"}],
        "public_keys": [
            {"public_key": "AB" * 32, "not_after": "2027-01-31T12:00:00Z", "note": "x"}
        ],
        "common_names": ["alice"],
        "dns_names": ["*.partner.example"],
        "uris": ["spiffe://partner.example/*", "urn:x:y"],
        "email_addresses": ["ops@partner.example"],
        "issuers": ["CN=Fuzz CA,O=Contoso", "/C=US/O=Contoso"],
        "trust_anchors": [pem],
        "intermediates": pem,
        "crls": [AUTHORITY.revocation_list(OTHERS[0]).decode()],
        "revocation": "soft",
        "clock_skew": 60,
        "names_proven_by_front_end": False,
    }
    front_end = {
        "header": "X-Client-Cert",
        "encoding": "xfcc",
        "chain_header": "X-Chain",
        "verify_header": "X-Verify",
        "verify_value": "SUCCESS",
        "trusted_hops": 2,
        "checks_certificates": True,
    }
    values: list[Any] = [
        {"default": policy},
        *({"default": {key: policy[key]}, "b": [policy]} for key in PARAMETERS if key in policy),
        *({"fingerprints": ["AB" * 20], key: policy[key]} for key in PARAMETERS if key in policy),
        {"ARRCERT": {"default": policy}, "ARRCERT_FRONT_END": front_end},
        front_end,
        {"header": "X-Secret", "secrets": ["0123456789abcdef", "fedcba9876543210"]},
        ["/health", "/public/*"],
        ["10.0.0.0/8"],
        True,
    ]
    return Target(run, [json.dumps(value).encode() for value in values])


def _names() -> Target:
    """An input is an entry of the settings, a NUL byte, and a name from a certificate."""

    def lower(text: str) -> str:
        return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)

    def run(data: bytes) -> None:
        entry, _, found = data.decode("utf-8", "surrogateescape").partition("\0")
        for read in (name_entries.common_name, name_entries.issuer):
            try:
                value = read(entry)
            except ValueError as error:
                assert str(error)
            else:
                assert isinstance(value, x509.Name) or value == entry
        for kind, presented, equal in (
            (
                name_entries.DNSNames,
                name_entries.PresentedNames(dns_names=[found]),
                lambda a, b: lower(a) == lower(b),
            ),
            (
                name_entries.EmailAddresses,
                name_entries.PresentedNames(email_addresses=[found]),
                lambda a, b: a.rpartition("@")[0] == b.rpartition("@")[0] and lower(a) == lower(b),
            ),
            (
                name_entries.URIs,
                name_entries.PresentedNames(uris=[found]),
                lambda a, b: a == b,
            ),
        ):
            allowed = kind()
            try:
                allowed.add(entry)
            except ValueError as error:
                assert str(error)
                continue
            if not allowed.match(presented):
                continue
            assert "*" not in found or kind is not name_entries.DNSNames
            if equal(entry, found):
                continue
            if kind is name_entries.DNSNames:
                assert entry.startswith("*.")
                assert lower(found.partition(".")[2]) == lower(entry[2:])
                assert found.partition(".")[0]
            else:
                assert kind is name_entries.URIs
                assert entry.endswith("/*")
                assert found.startswith(entry[:-1])
                path = unquote(unquote(found.partition("://")[2]))
                assert posixpath.normpath(path) == path.removesuffix("/")

    pairs = [
        ("alice", "alice"),
        ("CN=Fuzz CA,O=Contoso", "x"),
        ("/C=US/O=Contoso/CN=Fuzz CA", "x"),
        ("C = US, O = Contoso", "x"),
        ("a.partner.example", "A.Partner.example"),
        ("*.partner.example", "host.partner.example"),
        ("ops@partner.example", "ops@PARTNER.example"),
        ("spiffe://partner.example/a", "spiffe://partner.example/a"),
        ("spiffe://partner.example/*", "spiffe://partner.example/a/b"),
        ("spiffe://partner.example/a/*", "spiffe://partner.example/a/../b"),
    ]
    return Target(run, ["\0".join(pair).encode() for pair in pairs])


def _pins() -> Target:
    """An input is used as an entry in text form.

    If it is JSON, the JSON value is used as an entry, too.
    """

    def run(data: bytes) -> None:
        entries: list[object] = [data, data.decode("utf-8", "surrogateescape")]
        # Most inputs are no JSON. The others are tried as JSON values too.
        with contextlib.suppress(ValueError, RecursionError):
            entries.append(json.loads(data))
        for entry in entries:
            for parse, key in ((fingerprint_pin, "fingerprint"), (public_key_pin, "public_key")):
                try:
                    pin = parse(entry)
                except ValueError as error:
                    assert str(error)
                    continue
                assert str(pin)
                written = entry[key] if isinstance(entry, dict) else entry
                assert isinstance(written, str)
                digits = re.sub(r"[\s:]", "", written).removeprefix("sha256/")
                if digits.upper() != pin.value:
                    assert key == "public_key"
                    assert base64.b64encode(bytes.fromhex(pin.value)).decode("ascii") == digits
                assert len(pin.value) == 64 or (len(pin.value), key) == (40, "fingerprint")

    texts = [
        "AB" * 20,
        "ab" * 32,
        ":".join(["AB"] * 20),
        "sha256/" + base64.b64encode(bytes(32)).decode("ascii"),
        f"SHA256 Fingerprint={':'.join(['AB'] * 32)}",
        "MII" + "A" * 200,
        armoured(DER),
        json.dumps({"fingerprint": "AB" * 20, "not_after": "2027-01-31", "note": "gateway"}),
        json.dumps({"public_key": "AB" * 32, "not_after": "2027-01-31T12:00:00+02:00"}),
    ]
    return Target(run, [text.encode() for text in texts])


def _limits() -> x509.IssuingDistributionPoint:
    """Make an issuing distribution point with a URL, a kind and reasons."""
    return x509.IssuingDistributionPoint(
        full_name=[x509.UniformResourceIdentifier("https://ca.example/1.crl")],
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]),
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )


def _revocation_lists() -> Target:
    now = datetime.now(UTC)
    pems = [
        AUTHORITY.revocation_list(),
        AUTHORITY.revocation_list(PINNED, *OTHERS),
        AUTHORITY.revocation_list(PINNED, number=None, next_update=now - timedelta(days=1)),
        AUTHORITY.revocation_list(extensions=[(x509.DeltaCRLIndicator(1), True)]),
        CertificateAuthority("Fuzz CA").revocation_list(PINNED),
        AUTHORITY.revocation_list(PINNED, extensions=[(_limits(), True)]),
    ]
    lists = [x509.load_pem_x509_crl(pem) for pem in pems]
    signed = {crl.tbs_certlist_bytes: len(crl) for crl in lists}
    issuers = [AUTHORITY.x509]

    def run(data: bytes) -> None:
        try:
            found = read_revocation_lists(data, source="the file", issuers=issuers)
        except ValueError as error:
            assert str(error).isprintable()
            return
        for held in found:
            assert held.issuer == AUTHORITY.name
            assert len(held) in signed.values()
            assert held.is_signed_by(AUTHORITY.x509)
            held.why_not_current(now)
            assert str(held.scope).isprintable()
            held.revokes(PINNED.certificate.serial_number)

    ders = [crl.public_bytes(Encoding.DER) for crl in lists]
    return Target(run, [*pems, *ders, pems[0] + pems[1]])


def _pem_files() -> Target:
    def run(data: bytes) -> None:
        try:
            assert parse_certificates(data, "the file")
        except ValueError as error:
            assert str(error).isprintable()
        pasted(data.decode("utf-8", "surrogateescape"))

    seeds = [
        *CERTIFICATES,
        AUTHORITY.certificate_pem,
        AUTHORITY.certificate_pem + PINNED.certificate_pem,
        AUTHORITY.certificate_pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        AUTHORITY.revocation_list(),
        PINNED.private_key_pem,
        BASE64,
        b"-----BEGIN PKCS7-----\n",
        b"\xff\xfe-\0-\0",
    ]
    return Target(run, seeds)


def _exempt_paths() -> Target:
    """Entries; the framework's path; the path as it was sent, each on a line of its own."""
    fixed = ExemptPaths(["/health", "/public/*"])

    def run(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        entries, _, paths = text.partition("\n")
        path, _, sent = paths.partition("\n")
        try:
            written = ExemptPaths(entries.split(";"))
        except ConfigurationError as error:
            assert str(error)
        else:
            written.covers_wsgi({"PATH_INFO": path, "REQUEST_URI": sent}, path)
        raw = sent.encode("utf-8", "surrogateescape")
        environ = {"PATH_INFO": path, "RAW_URI": text_of(raw)}
        scope = {"path": path, "raw_path": raw}
        for covered in (fixed.covers_wsgi(environ, path), fixed.covers_asgi(scope, path)):
            if not covered:
                continue
            plain = path.partition(";")[0]
            assert posixpath.normpath(plain) == plain.removesuffix("/") or ";" in path
            assert path == "/health" or path.startswith("/public/")
            assert not re.search(r"(?i)%2f|%5c|//|\\", text_of(raw).partition("?")[0])

    lines = [
        ("/health;/public/*", "/health", "/health"),
        ("/a/*", "/public/x/y.css", "/public/x/y.css?a=//b"),
        ("/public/*", "/public/../admin", "/public/..%2fadmin"),
        ("/public/*", "/public/a;b/..", "/public/%2e%2e/admin"),
        ("/*", "//public/", "/public//x"),
        ("health", "/public", "\\public"),
    ]
    return Target(run, ["\n".join(line).encode() for line in lines])


SECRET = SecretHeader("X-Front-End-Secret", ("a secret of the front end".replace(" ", "-"),))
PROXIES = networks_from(["10.0.0.0/8", "2001:db8::/32"], setting="trusted_proxies")


def _headers_of(front_end: FrontEnd) -> list[tuple[str, str]]:
    """Return what a front end adds to the pinned client's request."""
    value = {
        "base64-der": BASE64.decode("ascii"),
        "percent-encoded-pem": quote(armoured(DER), safe=""),
        "rfc9440": f":{BASE64.decode('ascii')}:",
        "xfcc": f'Hash=ab12;Cert="{quote(armoured(DER), safe="")}"',
    }[front_end.encoding]
    headers = [(front_end.header, value)]
    if front_end.chain_header:
        headers.append((front_end.chain_header, f":{base64.b64encode(CHAIN[0]).decode('ascii')}:"))
    if front_end.verify_header:
        headers.append((front_end.verify_header, str(front_end.verify_value)))
    return headers


def _entered_by_right(
    front_end: FrontEnd,
    pairs: list[tuple[str, str]],
    client: str,
    *,
    is_guarded: bool,
    is_joined: bool,
) -> bool:
    """Tell, with a second implementation, whether a request should be accepted."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower().replace("_", "-"), []).append(value)
    sent = values[front_end.header.lower()]
    texts = [re.sub(r"[\r\n]", "", unquote(text.replace("\\", ""))) for text in sent]
    is_alone = is_joined or len(texts) == 1
    has_certificate = is_alone and any(BASE64.decode("ascii") in text for text in texts)
    is_validated = front_end.verify_header is None or values.get(
        front_end.verify_header.lower()
    ) == [front_end.verify_value]
    came_through = not is_guarded or (
        values.get(SECRET.header.lower()) == list(SECRET.secrets)
        and any(ipaddress.ip_address(client) in network for network in PROXIES)
    )
    return has_certificate and is_validated and came_through


def _authorizer() -> Target:
    """The first line chooses front end, policy and door, and holds the direct peer's address.

    A header stands on each line after it, `name: value`.
    """
    front_ends = list(FRONT_ENDS.values())
    guarded = Ingress(FRONT_ENDS["app-service"], trusted_proxies=PROXIES, secret_header=SECRET)
    policies: dict[str, Policy | list[Policy]] = {"default": PIN, "twice": [POLICIES[3], PIN]}
    authorizers = [Authorizer(policies, front_end=front_end) for front_end in front_ends]
    authorizers.append(Authorizer(policies, front_end=guarded))
    front_ends.append(guarded.front_end)

    def run(data: bytes) -> None:
        first, *lines = text_of(data).split("\n")
        number, client = (ord(first[0]) if first else 0), first[1:]
        chosen = number // 8 % len(authorizers)
        authorizer, is_guarded = authorizers[chosen], chosen == len(authorizers) - 1
        policy = ("default", "twice", "default", "unknown")[number // 2 % 4]
        split = (line.partition(":") for line in lines)
        pairs = [(name, value.removeprefix(" ")) for name, _, value in split]
        try:
            if number % 2:
                raw = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in pairs]
                scope = {"type": "http", "path": client, "headers": raw, "client": (client, 4711)}
                certificate = authorizer.authorize_asgi(scope, policy=policy)
                if not is_guarded:
                    assert authorizer.authorize_headers(pairs, policy=policy) == certificate
            else:
                environ = {
                    "SERVER_SOFTWARE": "waitress",
                    "PATH_INFO": client,
                    "REMOTE_ADDR": client,
                }
                for name, value in pairs:
                    key = "HTTP_" + name.upper().replace("-", "_")
                    environ[key] = f"{environ[key]},{value}" if key in environ else value
                certificate = authorizer.authorize_wsgi(environ, policy=policy)
        except CertificateDenied as denied:
            assert str(denied).isprintable()
            assert denied.reason is not DenialReason.MISCONFIGURED or policy == "unknown", denied
            return
        assert certificate.der == DER
        assert policy != "unknown"
        assert _entered_by_right(
            front_ends[chosen], pairs, client, is_guarded=is_guarded, is_joined=number % 2 == 0
        )

    seeds = []
    for index, front_end in enumerate(front_ends):
        good = _headers_of(front_end)
        if index == len(front_ends) - 1:
            good.append((SECRET.header, SECRET.secrets[0]))
        header, value = good[0]
        for headers in (
            good,
            [*good, ("X-Forwarded-Proto", "https")],
            [*good, ("X-Forwarded-Proto", "http")],
            [*good, (header.replace("-", "_"), value)],
            [*good, good[0]],
            [(header, f"{value},{value}"), *good[1:]],
        ):
            lines = "\n".join(f"{name}: {value}" for name, value in headers)
            doors = [chr(index * 8 + door) for door in range(4)]
            seeds += [f"{door}10.1.2.3\n{lines}".encode("latin-1") for door in doors]
    return Target(run, seeds)


DECODERS = (
    "base64-der",
    "percent-encoded-pem",
    "byte-sequence",
    "byte-sequence-list",
    "xfcc",
    "certificate-der",
    "certificate-pem",
)
"""The targets that convert the text of a header into a certificate."""

TARGETS: dict[str, Callable[[], Target]] = {
    "base64-der": _base64_der,
    "percent-encoded-pem": _percent_encoded_pem,
    "byte-sequence": _byte_sequence,
    "byte-sequence-list": _byte_sequence_list,
    "xfcc": _xfcc,
    "certificate-der": _certificate_der,
    "certificate-pem": _certificate_pem,
    "authorizer": _authorizer,
    "settings-environment": _settings_from_environment,
    "settings-json": _settings_from_json,
    "names": _names,
    "pins": _pins,
    "revocation-lists": _revocation_lists,
    "pem-files": _pem_files,
    "exempt-paths": _exempt_paths,
}
"""Every target: its name and the function that creates it with its seeds."""
