"""The most expensive request of a stranger, under 1, 40 and 1,000 alternatives."""

from __future__ import annotations

import base64
import gc
import logging
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
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
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
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
    low, high = 1, 6000
    best = issue("stranger", "stranger", key, key, names=[kind(make(0))])
    while low < high:
        middle = (low + high + 1) // 2
        names = [kind(make(number)) for number in range(middle)]
        certificate = issue("stranger", "stranger", key, key, names=names)
        if len(bare(certificate)) <= LONGEST:
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
            raise AssertionError("the stranger entered")
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
    print("The most expensive request of a stranger, CPU time\n")
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
