"""Keys and signatures."""

from __future__ import annotations

from tools.differential import der
from tools.differential.certificates import Certificate
from tools.differential.chains import Draft
from tools.differential.keys import key
from tools.differential.registry import ROLES, variation

_NULL = der.tlv(der.NULL, b"")


def _key_kind(kind: str) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.key = key(kind)

    variation(ROLES, f"the key is {kind}", "key")(change)


for _kind in (
    "P-224",
    "P-384",
    "P-521",
    "secp256k1",
    "brainpoolP256r1",
    "RSA-1024",
    "RSA-2048",
    "RSA-3072",
    "Ed25519",
    "Ed448",
):
    _key_kind(_kind)


def _signed_with(text: str, kind: str, digest: str, scheme: str = "") -> None:
    def change(draft: Draft, certificate: Certificate) -> None:
        draft.issuer_of(certificate).key = key(kind)
        certificate.digest, certificate.scheme = digest, scheme

    # This changes the key of the issuer too, so no other variation may change a key.
    for role in ROLES:
        claims = ["signature", "leaf.signature", "intermediate.signature", "anchor.signature"]
        variation(role, f"is signed with {text}", *claims, "intermediate.key", "anchor.key")(change)


for _digest in ("sha1", "sha224", "sha384", "sha512"):
    _signed_with(f"ECDSA P-256 and {_digest}", "P-256", _digest)
_signed_with("ECDSA P-384 and sha256", "P-384", "sha256")
_signed_with("ECDSA P-521 and sha256", "P-521", "sha256")
for _digest in ("md5", "sha1", "sha224", "sha384", "sha512"):
    _signed_with(f"RSA PKCS #1 and {_digest}", "RSA-2048", _digest)
for _digest in ("sha1", "sha256", "sha384", "sha512"):
    _signed_with(f"RSA PSS and {_digest}", "RSA-2048", _digest, "pss")
_signed_with("RSA PSS and sha256, salt of 20 bytes", "RSA-2048", "sha256", "pss-short-salt")


@variation(ROLES, "another key signed it", "signature")
def _other_key(_draft: Draft, certificate: Certificate) -> None:
    certificate.signer = key("P-256", 77)


def _flip(whole: bytes, position: int, mask: int) -> bytes:
    changed = bytearray(whole)
    changed[position] ^= mask
    return bytes(changed)


@variation(ROLES, "the last bit of the signature is wrong", "signature")
def _wrong_signature(_draft: Draft, certificate: Certificate) -> None:
    certificate.after_signing.append(lambda whole: _flip(whole, -1, 1))


@variation(ROLES[:2], "one byte was changed after signing", "alone")
def _changed_after_signing(draft: Draft, certificate: Certificate) -> None:
    mask = 1 << draft.random.randrange(8)
    place = draft.random.random()

    def change(whole: bytes) -> bytes:
        _, begin, _ = der.split(whole)
        _, start, end = der.split(whole, begin)
        return _flip(whole, start + int(place * (end - start)), mask)

    certificate.after_signing.append(change)


def _replace_signature(certificate: Certificate, value: bytes) -> None:
    def change(whole: bytes) -> bytes:
        _, begin, end = der.split(whole)
        body, algorithm, _ = der.children(whole, begin, end)
        return der.sequence(whole[body[0] : body[1]], whole[algorithm[0] : algorithm[1]], value)

    certificate.after_signing.append(change)


@variation(ROLES, "the signature is empty", "signature")
def _empty_signature(_draft: Draft, certificate: Certificate) -> None:
    _replace_signature(certificate, der.bits(b""))


@variation(ROLES, "the signature is ECDSA (0, 0)", "signature")
def _zero_signature(_draft: Draft, certificate: Certificate) -> None:
    _replace_signature(certificate, der.bits(der.sequence(der.integer(0), der.integer(0))))


def _signature_parts(whole: bytes) -> tuple[bytes, bytes, bytes]:
    _, begin, end = der.split(whole)
    body, algorithm, signature = (whole[a:b] for a, b in der.children(whole, begin, end))
    return body, algorithm, signature[der.split(signature)[1] + 1 :]


@variation(
    ROLES,
    "the ECDSA signature has a leading zero too many",
    "signature",
    "anchor.key",
    "intermediate.key",
)
def _padded_signature(_draft: Draft, certificate: Certificate) -> None:
    def change(whole: bytes) -> bytes:
        body, algorithm, value = _signature_parts(whole)
        _, begin, end = der.split(value)
        (a, b), (c, d) = der.children(value, begin, end)
        padded = der.tlv(der.INTEGER, b"\0" + value[der.split(value, a)[1] : b])
        return der.sequence(body, algorithm, der.bits(der.sequence(padded, value[c:d])))

    certificate.after_signing.append(change)


@variation(ROLES, "bytes follow the ECDSA signature", "signature", "anchor.key", "intermediate.key")
def _long_signature(_draft: Draft, certificate: Certificate) -> None:
    def change(whole: bytes) -> bytes:
        body, algorithm, value = _signature_parts(whole)
        return der.sequence(body, algorithm, der.bits(value + b"\0"))

    certificate.after_signing.append(change)


@variation(
    ROLES, "the two signature algorithms differ", "signature", "anchor.key", "intermediate.key"
)
def _algorithms_differ(_draft: Draft, certificate: Certificate) -> None:
    certificate.outer_algorithm = der.sequence(der.oid("1.2.840.10045.4.3.3"))


@variation(
    ROLES, "the ECDSA algorithm has NULL parameters", "signature", "anchor.key", "intermediate.key"
)
def _ecdsa_null(_draft: Draft, certificate: Certificate) -> None:
    algorithm = der.sequence(der.oid("1.2.840.10045.4.3.2"), _NULL)
    certificate.inner_algorithm = certificate.outer_algorithm = algorithm


@variation(
    ROLES, "the signature algorithm is unknown", "signature", "anchor.key", "intermediate.key"
)
def _unknown_algorithm(_draft: Draft, certificate: Certificate) -> None:
    algorithm = der.sequence(der.oid("1.3.6.1.4.1.55555.2"))
    certificate.inner_algorithm = certificate.outer_algorithm = algorithm


@variation(
    ROLES,
    "the RSA algorithm has no parameters",
    "signature",
    "leaf.signature",
    "intermediate.signature",
    "anchor.signature",
    "anchor.key",
    "intermediate.key",
)
def _rsa_without_null(draft: Draft, certificate: Certificate) -> None:
    draft.issuer_of(certificate).key = key("RSA-2048")
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.11"))
    certificate.inner_algorithm = certificate.outer_algorithm = algorithm


def _public_key(text: str, kind: str, *, roles: tuple[str, ...] = ROLES) -> None:
    def change(_draft: Draft, certificate: Certificate) -> None:
        certificate.key = key("RSA-2048" if kind == "rsa" else "P-256", 9)
        certificate.info = _changed_info(certificate.key.info, text)

    variation(roles, text, "key")(change)


def _changed_info(info: bytes, text: str) -> bytes:
    _, begin, end = der.split(info)
    (a, b), (c, d) = der.children(info, begin, end)
    algorithm, value = info[a:b], info[c:d]
    if text == "the key is a point off the curve":
        return der.sequence(algorithm, value[:-1] + bytes((value[-1] ^ 1,)))
    if text == "the key is a compressed point":
        point = value[der.split(value)[1] + 1 :]
        short = bytes((2 + (point[-1] & 1),)) + point[1:33]
        return der.sequence(algorithm, der.bits(short))
    if text == "the key is the point at infinity":
        return der.sequence(algorithm, der.bits(b"\0"))
    if text == "the key is of an unknown kind":
        return der.sequence(der.sequence(der.oid("1.3.6.1.4.1.55555.3")), value)
    if text == "the key names no curve":
        return der.sequence(der.sequence(der.oid("1.2.840.10045.2.1")), value)
    if text == "bytes follow the key":
        return der.sequence(algorithm, der.tlv(der.BITS, value[der.split(value)[1] :] + b"\0"))
    if text == "the RSA key has no NULL":
        return der.sequence(der.sequence(der.oid("1.2.840.113549.1.1.1")), value)
    number = {"exponent 1": 1, "exponent 2": 2, "exponent 3": 3, "a negative modulus": 65537}
    modulus = key("RSA-2048")._private.public_key().public_numbers().n
    exponent = number[text.removeprefix("the RSA key has ")]
    if "negative" in text:
        modulus = -modulus
    return der.sequence(
        algorithm, der.bits(der.sequence(der.integer(modulus), der.integer(exponent)))
    )


for _text in (
    "the key is a point off the curve",
    "the key is a compressed point",
    "the key is the point at infinity",
    "the key is of an unknown kind",
    "the key names no curve",
    "bytes follow the key",
):
    _public_key(_text, "ec")
for _text in (
    "the RSA key has no NULL",
    "the RSA key has exponent 1",
    "the RSA key has exponent 2",
    "the RSA key has exponent 3",
    "the RSA key has a negative modulus",
):
    _public_key(_text, "rsa", roles=("leaf",))
