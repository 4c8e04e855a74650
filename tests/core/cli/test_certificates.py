"""Each form of a certificate that users have can be read."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    pkcs12,
)

from arrcert.cli.certificates import (
    LONGEST_SOURCE,
    Given,
    NoCertificateError,
    PasswordNeededError,
    certificate_in,
    read_given,
)
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.testing import CertificateAuthority, IssuedCertificate

APP_SERVICE = FRONT_ENDS["app-service"]
ENVOY = FRONT_ENDS["envoy"]


def given(data: bytes, password: bytes | None = None) -> Given:
    """Return the certificates in some bytes."""
    return certificate_in(data, "'file'", APP_SERVICE, password)


def problem(data: bytes, password: bytes | None = None) -> str:
    """Return why some bytes hold no certificate."""
    with pytest.raises(NoCertificateError) as caught:
        given(data, password)
    return str(caught.value)


def p12(
    issued: IssuedCertificate, *others: x509.Certificate, password: bytes | None = None
) -> bytes:
    """Return PKCS#12 with the certificate and its key."""
    protection: KeySerializationEncryption = NoEncryption()
    if password is not None:
        protection = BestAvailableEncryption(password)
    return pkcs12.serialize_key_and_certificates(
        None, issued.private_key, issued.certificate.x509, others, protection
    )


def percent_encoded(issued: IssuedCertificate) -> str:
    """Return the certificate as nginx writes it."""
    return quote(issued.certificate_pem.decode(), safe="")


def test_pem_and_der(alice: IssuedCertificate) -> None:
    """A file may be PEM, with text around it, or DER."""
    assert given(alice.certificate_pem).certificate == alice.certificate
    assert given(b"subject: x\n" + alice.certificate_pem + b"\n").form == "PEM"
    assert given(alice.certificate.der) == (alice.certificate, "DER", (), ())


def test_pem_with_a_key_and_its_chain(
    alice: IssuedCertificate, authority: CertificateAuthority
) -> None:
    """Of several certificates in a file the client's is read, in any order; a key is ignored."""
    bundle = authority.certificate_pem + alice.certificate_pem + alice.private_key_pem
    found = given(bundle)
    assert (found.certificate, found.others) == (alice.certificate, (authority.x509,))
    alone = given(authority.certificate_pem)
    assert (alone.certificate.is_ca, alone.others) == (True, ())


def test_values_of_headers(alice: IssuedCertificate) -> None:
    """The value of a header may be base64, percent-encoded PEM, RFC 9440, or XFCC."""
    value = alice.header_value
    for text, form in (
        (value, "base64-der"),
        (f"X-ARR-ClientCert: {value}\n", "base64-der"),
        (base64.encodebytes(alice.certificate.der).decode(), "base64-der"),
        (percent_encoded(alice), "percent-encoded-pem"),
        (f":{value}:", "rfc9440"),
        (f'Hash=ab;Cert="{percent_encoded(alice)}"', "xfcc"),
    ):
        found = given(text.encode())
        assert (found.certificate, found.form) == (alice.certificate, form)


def test_xfcc_of_the_front_end(alice: IssuedCertificate, authority: CertificateAuthority) -> None:
    """The declared number of hops says which element counts; the chain in it is forwarded."""
    ca = quote(authority.certificate_pem.decode(), safe="")
    theirs = f'Cert="{percent_encoded(alice)}";Chain="{percent_encoded(alice)}{ca}"'
    text = f"{theirs},Hash=ab;Subject=x".encode()
    front_end = ENVOY._replace(trusted_hops=2)
    found = certificate_in(text, "it", front_end)
    assert (found.certificate, found.forwarded) == (alice.certificate, (authority.x509,))
    assert "the client presented none" in problem(text)


@pytest.mark.parametrize("password", [None, b"secret"])
def test_pkcs12(
    alice: IssuedCertificate, authority: CertificateAuthority, password: bytes | None
) -> None:
    """PKCS#12 opens with its password or without one, also as the base64 of Key Vault."""
    data = p12(alice, authority.x509, password=password)
    found = given(data, password)
    assert found == (alice.certificate, "PKCS#12", (), (authority.x509,))
    assert given(base64.b64encode(data), password).certificate == alice.certificate
    if password is not None:
        with pytest.raises(PasswordNeededError):
            given(data)
        assert "cannot be opened with this password, or is broken" in problem(data, b"other")


def test_pkcs12_without_the_client(authority: CertificateAuthority) -> None:
    """PKCS#12 of certificates alone is read, too; one without any is refused."""
    bag = pkcs12.serialize_key_and_certificates(None, None, None, [authority.x509], NoEncryption())
    assert given(bag).certificate.x509 == authority.x509
    key = authority.issue("alice").private_key
    bag = pkcs12.serialize_key_and_certificates(None, key, None, None, NoEncryption())
    assert problem(bag) == "'file' is PKCS#12 and holds no certificate"


def test_what_is_no_certificate(alice: IssuedCertificate, authority: CertificateAuthority) -> None:
    """An error says what the bytes hold instead of a certificate, and never shows a private key."""
    assert "it is empty" in problem(b"")
    assert "it is a revocation list" in problem(authority.revocation_list())
    assert "UTF-16" in problem("-----BEGIN".encode("utf-16"))
    assert problem(b"0\x82\xff\xff").startswith("'file': not a certificate")
    broken = alice.certificate_pem.replace(b"MII", b"MXX")
    assert problem(broken).startswith("'file' holds a broken certificate")
    assert "read as base64-der, holds no certificate" in problem(b"M" + b"A" * 64)
    assert problem(b"M" * 80).startswith("'file': not a certificate")
    assert problem(b"0" * (LONGEST_SOURCE + 1)).endswith(f"larger than {LONGEST_SOURCE} bytes")
    key = problem(alice.private_key_pem)
    assert alice.private_key_pem.decode().splitlines()[1] not in key


def test_broken_file(alice: IssuedCertificate, authority: CertificateAuthority) -> None:
    """An error about a file that is cut off or damaged says so in plain words."""
    pem, der = alice.certificate_pem, alice.certificate.der
    lines = pem.splitlines(keepends=True)
    no_end = "'file' is cut off or damaged: after the certificate the line -----END CERTIFICATE--"
    assert problem(pem[:300]).startswith(no_end)
    damaged_ca = authority.certificate_pem.replace(b"MII", b"M*I", 1)
    assert problem(pem + damaged_ca).startswith(
        "'file' is cut off or damaged: the text of certificate 2 is not whole base64"
    )
    damaged = pem.replace(lines[1][4:5], b"*")
    assert problem(damaged) == (
        "'file' is cut off or damaged: the text of the certificate is not whole base64; copy the"
        " whole file again"
    )
    cut = f"of the {len(der)} bytes of a certificate; copy the whole file again"
    assert problem(b"".join([*lines[:4], lines[-1]])) == f"'file' is cut off: it has 144 {cut}"
    assert problem(der[:200]) == f"'file' is cut off: it has 200 {cut}"
    assert problem(base64.b64encode(der[:201])) == f"'file' is cut off: it has 201 {cut}"
    not_a_certificate = base64.b64encode(b"1" + der[1:])
    block = b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n"
    assert "holds a broken certificate" in problem(block % not_a_certificate)
    short = base64.b64encode(b"0\x03\x02\x01\x01")
    assert "holds a broken certificate" in problem(block % short)


def test_where_the_argument_leads(
    alice: IssuedCertificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument is a path, `-` for standard input, or the value itself."""
    path = tmp_path / "alice.pem"
    path.write_bytes(alice.certificate_pem)
    assert read_given(str(path), APP_SERVICE).certificate == alice.certificate
    assert read_given(alice.header_value, APP_SERVICE).form == "base64-der"
    standard_input = io.TextIOWrapper(io.BytesIO(alice.certificate.der))
    monkeypatch.setattr(sys, "stdin", standard_input)
    assert read_given("-", APP_SERVICE).form == "DER"
    for argument in (str(tmp_path / "missing.pem"), "a\0b", "x" * 300):
        with pytest.raises(NoCertificateError, match="cannot be read: "):
            read_given(argument, APP_SERVICE)
    folder = tmp_path / "our partners"
    folder.mkdir()
    with pytest.raises(NoCertificateError, match=r"our partners' is a folder; use --all '.*/our p"):
        read_given(str(folder), APP_SERVICE)


def test_der_of_a_certificate_that_is_ascii_in_part(alice: IssuedCertificate) -> None:
    """A certificate has the same fingerprint in every form, even if part of its DER is ASCII."""
    pem = x509.load_der_x509_certificate(alice.certificate.der).public_bytes(Encoding.PEM)
    fingerprints = {
        given(data).certificate.sha256_fingerprint
        for data in (pem, alice.certificate.der, alice.header_value.encode(), p12(alice))
    }
    assert fingerprints == {alice.certificate.sha256_fingerprint}
