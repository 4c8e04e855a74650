"""Inputs that fuzzing found. Each must give an answer or an exception of arrcert."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert import ConfigurationError, Policy
from arrcert.exceptions import Finding
from arrcert.forwarding.front_ends import FRONT_ENDS
from arrcert.forwarding.ingress import certificates_in
from arrcert.settings import load
from arrcert.testing import CertificateAuthority
from arrcert.trust.pem import parse_certificates


def test_a_pasted_list_without_its_armour_is_a_configuration_error(
    authority: CertificateAuthority,
) -> None:
    """A text that is too long for a path is a `ConfigurationError`, and not an OSError."""
    pem = authority.certificate_pem.decode()
    body = authority.revocation_list().decode().removeprefix("-----BEGIN X509 CRL-----\n")
    with pytest.raises(ConfigurationError) as caught:
        load({}, {"ARRCERT_TRUST_ANCHORS": pem, "ARRCERT_CRLS": body})
    assert [problem.setting for problem in caught.value.problems] == ["ARRCERT_CRLS"]


@pytest.mark.parametrize("size", [297, 298, 299])
@pytest.mark.parametrize("spare", ["=", "==", "===", "====", "A===", "AAAA"])
def test_spare_padding_is_no_second_writing(size: int, spare: str) -> None:
    """Base64 with surplus padding is refused, although binascii accepts it in its strict mode."""
    der = b"\x30" + b"x" * (size - 1)
    text = base64.b64encode(der).decode()
    front_end = FRONT_ENDS["app-service"]
    assert certificates_in(front_end, text) == [der]
    for other in (text + spare, spare + text, text.rstrip("=") + spare):
        if other != text:
            answer = certificates_in(front_end, other)
            assert isinstance(answer, Finding) or answer != [der]


@pytest.mark.parametrize("is_pem", [False, True])
def test_a_certificate_of_an_unknown_version_is_a_configuration_error(
    is_pem: bool, authority: CertificateAuthority
) -> None:
    """X.509 version 4 is a `ConfigurationError`, although cryptography's is no ValueError."""
    body = authority.certificate_pem.decode().split("-----")[2]
    data = base64.b64decode(body).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03")
    if is_pem:
        text = base64.encodebytes(data).decode()
        data = f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n".encode()
        with pytest.raises(ConfigurationError):
            Policy(trust_anchors=data.decode())
    with pytest.raises(ValueError, match="X509 version"):
        parse_certificates(data, "the file")


def test_a_certificate_whose_name_cannot_be_read_is_a_configuration_error(
    authority: CertificateAuthority,
) -> None:
    """A trust anchor with a broken subject is refused before `Policy.check` reads the subject."""
    der = authority.x509.public_bytes(Encoding.DER)
    name = authority.name.public_bytes()
    broken = name.replace(b"Contoso", b"\xffontoso")
    body = base64.encodebytes(der.replace(name, broken)).decode()
    with pytest.raises(ConfigurationError) as caught:
        Policy(trust_anchors=f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n")
    assert [problem.setting for problem in caught.value.problems] == ["trust_anchors"]
