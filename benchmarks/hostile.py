"""The most expensive request of a stranger or an insider, under 1, 40 and 1,000 alternatives.

An insider holds a certificate that a configured CA issued: a client's, or that of a sub-CA.
"""

from __future__ import annotations

import base64
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    NameOID,
    ObjectIdentifier,
)
from paired import Row, print_table

from arrcert import Authorizer, CertificateDenied, Policy
from arrcert.certificate import read_presented_certificate

COUNTS = (1, 40, 1000)
GOALS = {1: None, 40: 0.020, 1000: 0.100}
"""The seconds that the most expensive request may take, by the number of alternatives."""
LONGEST = 16 * 1024
"""The longest header value that is decoded, in characters."""


class Case(NamedTuple):
    """A hostile request.

    Attributes:
        name: what makes it expensive.
        headers: the headers that hold the certificate.
        front_end: the front end that forwards it.
        policies: a policy for each number of alternatives.
    """

    name: str
    headers: list[tuple[str, str]]
    front_end: str
    policies: dict[int, list[Policy]]


class _Public(NamedTuple):
    """A public key, in place of a pair of keys."""

    key: Any

    def public_key(self) -> Any:
        """Return the public key."""
        return self.key


def named(name: str) -> x509.Name:
    """Return a name with one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def slow_key() -> rsa.RSAPrivateKey:
    """Return an RSA key that signs quickly, and whose public exponent is as long as the key."""
    numbers = rsa.generate_private_key(65537, 3072).private_numbers()
    p, q, d = numbers.p, numbers.q, 65537
    e = pow(d, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p,
        q,
        d,
        rsa.rsa_crt_dmp1(d, p),
        rsa.rsa_crt_dmq1(d, q),
        rsa.rsa_crt_iqmp(p, q),
        rsa.RSAPublicNumbers(e, p * q),
    ).private_key()


def issue(
    subject: str,
    issuer: str,
    key: Any,
    signer: Any,
    *,
    is_ca: bool = False,
    names: Any = (),
    key_id: bytes = b"",
    extensions: Any = (),
    issuer_name: x509.Name | None = None,
    is_expired: bool = False,
) -> x509.Certificate:
    """Return a certificate for one key, signed with another key.

    Args:
        subject: the common name of the subject.
        issuer: the common name of the issuer.
        key: the public key in the certificate.
        signer: the private key that signs.
        is_ca: whether it is a CA certificate.
        names: the subject alternative names.
        key_id: the value of both key identifiers, the subject's and the issuer's; none by default.
        extensions: more extensions, none of them critical.
        issuer_name: the issuer's whole name, in place of its common name.
        is_expired: whether its validity is over.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(issuer_name or named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=-1 if is_expired else 1))
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if key_id:
        for extension in (
            x509.SubjectKeyIdentifier(key_id),
            x509.AuthorityKeyIdentifier(key_id, None, None),
        ):
            builder = builder.add_extension(extension, critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, hashes.SHA256())


def bare(certificate: x509.Certificate) -> str:
    """Return the certificate as App Service writes it."""
    return base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()


def sequence(certificate: x509.Certificate) -> str:
    """Return the certificate as RFC 9440 writes it."""
    return f":{bare(certificate)}:"


def as_many_as_fit(make: Any, kind: Any) -> x509.Certificate:
    """Return a stranger's certificate with as many names as the header's limit allows."""
    key = ec.generate_private_key(ec.SECP256R1())
    return largest(
        lambda count: issue(
            "stranger", "stranger", key, key, names=[kind(make(n)) for n in range(count)]
        )
    )


def largest(make: Callable[[int], x509.Certificate], most: int = LONGEST) -> x509.Certificate:
    """Return the certificate of the most parts that the header's limit allows.

    Args:
        make: makes a certificate with a number of parts.
        most: the limit, in characters of base64.
    """
    low, high = 1, 6000
    best = make(1)
    while low < high:
        middle = (low + high + 1) // 2
        certificate = make(middle)
        if len(bare(certificate)) <= most:
            low, best = middle, certificate
        else:
            high = middle - 1
    return best


def cases() -> Iterator[Case]:
    """Yield the hostile requests."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = [ec.generate_private_key(ec.SECP256R1()) for _ in range(10)]
    roots = {
        number: issue(f"Root {number}", f"Root {number}", key, key, is_ca=True)
        for number in range(max(COUNTS))
    }
    pems = {number: root.public_bytes(Encoding.PEM).decode() for number, root in roots.items()}
    same, same_p384 = (
        [
            issue("Root", "Root", ec_key, ec_key, is_ca=True).public_bytes(Encoding.PEM).decode()
            for ec_key in (ec.generate_private_key(curve) for _ in range(max(COUNTS)))
        ]
        for curve in (ec.SECP256R1(), ec.SECP384R1())
    )

    def anchored(**keys: Any) -> dict[int, list[Policy]]:
        return {
            count: [Policy(trust_anchors=pems[n], **keys) for n in range(count)] for count in COUNTS
        }

    def allowing(key_name: str, entry: str) -> dict[int, list[Policy]]:
        return {
            count: [
                Policy(trust_anchors=pems[0], **{key_name: [entry.format(n)]}) for n in range(count)
            ]
            for count in COUNTS
        }

    stranger = issue("stranger", "Unknown", own[0], own[0])
    yield Case(
        "a small stranger",
        [("Client-Cert", sequence(stranger))],
        "rfc9440",
        anchored(),
    )
    impostor = issue("stranger", "Root 0", own[0], own[0])
    yield Case(
        "an impostor with the name of one CA",
        [("X-ARR-ClientCert", bare(impostor))],
        "app-service",
        anchored(),
    )
    everywhere = issue("stranger", "Root", own[0], own[0])
    yield Case(
        "an impostor, all CAs have its issuer's name",
        [("X-ARR-ClientCert", bare(everywhere))],
        "app-service",
        {count: [Policy(trust_anchors=pem) for pem in same[:count]] for count in COUNTS},
    )
    p384 = [ec.generate_private_key(ec.SECP384R1()) for _ in range(10)]
    yield Case(
        "the same, the CAs have P-384 keys",
        [("X-ARR-ClientCert", bare(issue("stranger", "Root", own[0], p384[0])))],
        "app-service",
        {count: [Policy(trust_anchors=pem) for pem in same_p384[:count]] for count in COUNTS},
    )
    # OpenSSL accepts an exponent up to this size, which makes verifying as expensive as signing.
    numbers = rsa.generate_private_key(65537, 3072).public_key().public_numbers()
    slow = [
        _Public(rsa.RSAPublicNumbers(numbers.n - 2 * n - 2, numbers.n).public_key())
        for n in range(10)
    ]
    p521 = [ec.generate_private_key(ec.SECP521R1()) for _ in range(10)]
    signer = rsa.generate_private_key(65537, 3072)
    for what, subject_keys, leaf_key, signers in (
        ("", own, own[1], own[:1] * 10),
        (" and one key", own[:1] * 10, own[0], own[:1] * 10),
        (" and one P-384 key", p384[:1] * 10, p384[0], p384[:1] * 10),
        (" with P-521 keys", p521, p521[1], p521[:1] * 10),
        (" with RSA keys of long exponents", slow, signer, own[:1] * 10),
    ):
        of_one_name = [
            issue("Root", "Root", ca, ca_signer, is_ca=True)
            for ca, ca_signer in zip(subject_keys, signers, strict=True)
        ]
        leaf = issue("stranger", "Root", own[0], leaf_key)
        for configured, pems_of_one_name in (("", same), (", P-384 configured", same_p384)):
            yield Case(
                f"ten forwarded CAs of one name{what}{configured}",
                [
                    ("Client-Cert", sequence(leaf)),
                    ("Client-Cert-Chain", ", ".join(map(sequence, of_one_name))),
                ],
                "rfc9440",
                {
                    count: [Policy(trust_anchors=pem) for pem in pems_of_one_name[:count]]
                    for count in COUNTS
                },
            )
    yield from combined(p384)
    yield from details(pems, anchored())
    yield from insiders(pems, key)
    for_all = slow_key()
    yield Case(
        "a forwarded CA whose RSA key has a long exponent and signed the leaf",
        [
            ("Client-Cert", sequence(issue("stranger", "Root", own[0], for_all))),
            ("Client-Cert-Chain", sequence(issue("Root", "Root", for_all, for_all, is_ca=True))),
        ],
        "rfc9440",
        {count: [Policy(trust_anchors=pem) for pem in same[:count]] for count in COUNTS},
    )
    ring = [
        issue(f"Ring {n}", f"Ring {(n + 1) % 10}", own[n], own[(n + 1) % 10], is_ca=True)
        for n in range(10)
    ]
    yield Case(
        "ten forwarded CAs in a ring",
        [
            ("Client-Cert", sequence(issue("stranger", "Ring 0", own[0], own[0]))),
            ("Client-Cert-Chain", ", ".join(map(sequence, ring))),
        ],
        "rfc9440",
        anchored(),
    )
    for what, kind, make, key_name, entry in (
        ("DNS names", x509.DNSName, lambda n: f"{n:x}", "dns_names", "host{}.example"),
        (
            "mail addresses",
            x509.RFC822Name,
            lambda n: f"a@{n:x}",
            "email_addresses",
            "ops@host{}.example",
        ),
        (
            "URIs",
            x509.UniformResourceIdentifier,
            lambda n: f"a://b/{n:x}",
            "uris",
            "spiffe://host{}.example/*",
        ),
    ):
        certificate = as_many_as_fit(make, kind)
        count = len(
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        )
        yield Case(
            f"{count:,} {what}",
            [("X-ARR-ClientCert", bare(certificate))],
            "app-service",
            allowing(key_name, entry),
        )
    long_uri = "a://b/" + "c/" * 5500
    yield Case(
        "a URI with 5,500 folders",
        [
            (
                "X-ARR-ClientCert",
                bare(
                    issue(
                        "stranger",
                        "stranger",
                        own[0],
                        own[0],
                        names=[x509.UniformResourceIdentifier(long_uri)],
                    )
                ),
            )
        ],
        "app-service",
        allowing("uris", "spiffe://host{}.example/*"),
    )


def details(pems: dict[int, str], anchored: dict[int, list[Policy]]) -> Iterator[Case]:
    """Yield a stranger's certificates with much that a denial could show.

    Args:
        pems: the configured CAs.
        anchored: policies with one of them each.
    """
    key = ec.generate_private_key(ec.SECP256R1())

    def with_usages(count: int) -> x509.Certificate:
        usages = x509.ExtendedKeyUsage([ObjectIdentifier("1.3")] * count)
        return issue("stranger", "stranger", key, key, extensions=[usages])

    def with_urls(count: int) -> x509.Certificate:
        access = x509.AuthorityInformationAccess(
            [
                x509.AccessDescription(
                    AuthorityInformationAccessOID.CA_ISSUERS,
                    x509.UniformResourceIdentifier(f"a:{number:x}"),
                )
                for number in range(count)
            ]
        )
        return issue("stranger", "Unknown", key, key, extensions=[access])

    def with_attributes(count: int) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")] * count)
        return issue("stranger", "", key, key, issuer_name=name)

    by_issuer = {
        count: [Policy(trust_anchors=pems[0], issuers=[f"CN=CA {n},O=b"]) for n in range(count)]
        for count in COUNTS
    }
    for what, make, policies in (
        ("thousands of extended key usages", with_usages, anchored),
        ("hundreds of URLs of its issuer", with_urls, anchored),
        ("an issuer with a thousand attributes", with_attributes, by_issuer),
    ):
        header = [("X-ARR-ClientCert", bare(largest(make)))]
        yield Case(what, header, "app-service", policies)


def insiders(pems: dict[int, str], key: Any) -> Iterator[Case]:
    """Yield requests of those who hold a certificate of the first configured CA.

    Args:
        pems: the configured CAs.
        key: their key.
    """
    two_anchors = {
        count: [Policy(trust_anchors=[pems[0], pems[n]], clock_skew=60) for n in range(count)]
        for count in COUNTS
    }

    def forwards(what: str, leaf: x509.Certificate, chain: list[x509.Certificate]) -> Case:
        headers = [
            ("Client-Cert", sequence(leaf)),
            ("Client-Cert-Chain", ", ".join(map(sequence, chain))),
        ]
        return Case(f"an insider: {what}", headers, "rfc9440", two_anchors)

    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        keys = [ec.generate_private_key(curve) for _ in range(4)]
        own = keys[0]
        leaf = issue("x", "partner", own, own)
        made = [issue("partner", "partner", own, own, is_ca=True) for _ in range(9)]
        certified = issue("partner", "Root 0", own, key)
        yield forwards(f"a leaf, nine CAs with its {curve.name} key", leaf, [*made, certified])
        sub = issue("partner", "Root 0", own, key, is_ca=True, is_expired=True)
        yield forwards(f"a sub-CA, nine CAs with its {curve.name} key", leaf, [*made, sub])
        for name, what in (("Level {}", "27 paths"), ("partner", "27 paths of one name")):
            levels = [
                issue(name.format(n), name.format(n + 1), keys[n], keys[n + 1], is_ca=True)
                for n in range(3)
                for _ in range(3)
            ]
            sub = issue(name.format(3), "Root 0", keys[3], key, is_ca=True, is_expired=True)
            leaf = issue("x", name.format(0), own, own)
            yield forwards(f"a sub-CA, {what}, {curve.name}", leaf, [*levels, sub])

    def constrained(count: int) -> x509.Certificate:
        none = x509.NameConstraints(None, [x509.DNSName(f"{n:x}.q") for n in range(count)])
        return issue("partner", "Root 0", own, key, is_ca=True, extensions=[none])

    def many_names(count: int) -> x509.Certificate:
        names = [x509.DNSName(f"{number:x}") for number in range(count)]
        return issue("x", "partner", own, own, names=names)

    yield forwards(
        "a sub-CA, names and name constraints",
        largest(many_names, LONGEST - 2),
        [largest(constrained, LONGEST - 2)],
    )
    for what, kind, make, template, allowed in (
        ("URIs", x509.UniformResourceIdentifier, "a://b/{:x}", "{uri}", {"uris": ["a://b/*"]}),
        ("DNS names", x509.DNSName, "{:x}.b.c", "{dns_name}", {"dns_names": ["*.b.c"]}),
        ("mail addresses", x509.RFC822Name, "{:x}@b", "{email_address}", {}),
    ):

        def named_by(
            count: int, kind: Callable[[str], x509.GeneralName] = kind, make: str = make
        ) -> x509.Certificate:
            names = [kind(make.format(number)) for number in range(count)]
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
            return issue("x", "Root 0", own, key, names=names, extensions=[usage])

        yield Case(
            f"an insider: many {what} for one identity",
            [("X-ARR-ClientCert", bare(largest(named_by)))],
            "app-service",
            {
                count: [
                    Policy(trust_anchors=pems[0], identity=f"p{n}:{template}", **allowed)  # type: ignore[arg-type]
                    for n in range(count)
                ]
                for count in COUNTS
            },
        )


def combined(keys: list[Any]) -> Iterator[Case]:
    """Yield a request that is expensive for several reasons at once.

    Args:
        keys: P-384 keys of forwarded CAs, at least ten.

    The leaf has many names. Ten CAs with slow keys and the same name come with it. Each of them
    names the same key as its issuer's, and every fourth configured CA has this name and this key
    identifier.
    """
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(f"{number:x}") for number in range(2300)]
    leaf = issue("stranger", "Root", leaf_key, keys[9], names=names, key_id=b"0")
    for what, subject_keys in (("ten P-384 keys", keys), ("one P-384 key", keys[9:10] * 10)):
        forwarded = [
            issue("Root", "Root", key, key, is_ca=True, key_id=b"0") for key in subject_keys
        ]
        for curve in (ec.SECP256R1(), ec.SECP384R1()):
            configured = [
                issue("Root", "Root", key, key, is_ca=True, key_id=b"%d" % (number % 4))
                for number, key in enumerate(
                    ec.generate_private_key(curve) for _ in range(max(COUNTS))
                )
            ]
            pems = [ca.public_bytes(Encoding.PEM).decode() for ca in configured]
            yield Case(
                f"names, key identifiers, ten CAs with {what}, {curve.name} configured",
                [
                    ("Client-Cert", sequence(leaf)),
                    ("Client-Cert-Chain", ", ".join(map(sequence, forwarded))),
                ],
                "rfc9440",
                {count: [Policy(trust_anchors=pem) for pem in pems[:count]] for count in COUNTS},
            )


def seconds(authorizer: Authorizer, headers: list[tuple[str, str]]) -> float:
    """Return the shortest CPU time of several denials of a request, in seconds.

    Each of them reads the certificate anew, as for a stranger who sends another one each time.
    """
    best = float("inf")
    for _ in range(5):
        read_presented_certificate.cache_clear()
        gc.collect()
        start = time.thread_time()
        try:
            authorizer.authorize_headers(headers, method="GET")
        except CertificateDenied:
            best = min(best, time.thread_time() - start)
        else:
            raise AssertionError("the client entered")
    return best


def names_in_one_list() -> tuple[float, float]:
    """Return the seconds for one name in a list and for 1,000 names."""
    certificate = as_many_as_fit(lambda n: f"{n:x}", x509.DNSName)
    key = ec.generate_private_key(ec.SECP256R1())
    root = issue("Root", "Root", key, key, is_ca=True).public_bytes(Encoding.PEM).decode()
    found = []
    for count in (1, 1000):
        names = [f"host{n}.example" for n in range(count)]
        authorizer = Authorizer({"default": Policy(trust_anchors=root, dns_names=names)})
        found.append(seconds(authorizer, [("X-ARR-ClientCert", bare(certificate))]))
    return found[0], found[1]


def main() -> int:
    """Measure, and print the tables."""
    logging.disable(logging.CRITICAL)
    print("The most expensive request of a stranger or an insider, CPU time\n")
    head = [f"{count:,} alternatives" for count in COUNTS]
    print(f"{'request':80}" + "".join(f"{text:>19}" for text in head))
    most_expensive = dict.fromkeys(COUNTS, (0.0, ""))
    for case in cases():
        cells = []
        for count in COUNTS:
            authorizer = Authorizer({"default": case.policies[count]}, front_end=case.front_end)
            found = seconds(authorizer, case.headers)
            most_expensive[count] = max(most_expensive[count], (found, case.name))
            cells.append(f"{found * 1e3:>16.2f} ms")
        print(f"{case.name:80}" + "".join(cells), flush=True)
    one, thousand = names_in_one_list()
    rows = [
        Row(
            "1,000 names in one list / one name",
            thousand / one,
            3,
            beside=f"{thousand * 1e3:.1f} / {one * 1e3:.1f} ms CPU time",
            of="CPU time",
        )
    ]
    rows += [
        Row(
            f"most expensive request of a stranger, {count:,} alternatives",
            most_expensive[count][0] * 1e3,
            goal and goal * 1e3,
            unit="ms",
            beside=most_expensive[count][1],
        )
        for count, goal in GOALS.items()
    ]
    print_table("Hostile requests", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
