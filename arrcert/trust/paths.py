"""Where a certificate comes from: certification paths to trust anchors, and the key floor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    BasicConstraints,
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    KeyUsage,
    SubjectAlternativeName,
    SubjectKeyIdentifier,
    Version,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, PublicKeyAlgorithmOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from arrcert.certificate import ClientCertificate, goes_on_with
from arrcert.exceptions import CertificateDenied, DenialReason, quote
from arrcert.trust.name_constraints import unsupported_constraint, violation
from arrcert.trust.revocation import RevocationLists

SMALLEST_RSA_KEY = 2048
"""Bits of an RSA modulus below which a key is weak (NIST SP 800-131A)."""
SMALLEST_CURVE = 256
"""Bits of an elliptic curve below which a key is weak."""


class TrustStore:
    """One immutable snapshot of trust anchors, intermediates and revocation lists.

    App Service forwards the leaf alone, so the intermediates are configured here.

    Args:
        anchors: certificates that are trusted; their own dates count.
        intermediates: CA certificates that are not trusted but may stand on a path.
        revocation_lists: what every link of a path is held against; None to check no revocation.
    """

    def __init__(
        self,
        anchors: Iterable[Certificate],
        intermediates: Iterable[Certificate] = (),
        revocation_lists: RevocationLists | None = None,
    ) -> None:
        self._anchors = list(anchors)
        self._builder = (
            PolicyBuilder()
            .store(Store(self._anchors))
            .extension_policies(ca_policy=_CA_EXTENSIONS, ee_policy=_LEAF_EXTENSIONS)
        )
        self._intermediates = list(intermediates)
        self._revocation_lists = revocation_lists

    def authenticate(
        self,
        certificate: ClientCertificate,
        at: datetime,
        clock_skew: timedelta = timedelta(),
        intermediates: Sequence[Certificate] = (),
    ) -> list[Certificate]:
        """Prove that a path leads from the certificate to an anchor (RFC 5280 section 6).

        Args:
            certificate: the leaf.
            at: the moment, aware.
            clock_skew: by how much the clocks may differ; none by default.
            intermediates: CA certificates that came with the leaf, beside the configured ones.

        Returns:
            The path, from the leaf to the anchor.

        Raises:
            CertificateDenied: `untrusted`.

        It does not check revocation, which `check_revocation` does, nor certificate policies.
        """
        if certificate.is_ca:
            raise CertificateDenied(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE, what `openssl req -x509` makes), which no trust"
                " anchor makes a client's; pin its fingerprint in a policy without trust_anchors",
                certificate=certificate,
            )
        path = self._path(certificate, at, clock_skew, [*self._intermediates, *intermediates])
        violated = violation(path)
        if violated is not None:
            raise CertificateDenied(DenialReason.UNTRUSTED, violated, certificate=certificate)
        return path

    def check_revocation(
        self, certificate: ClientCertificate, path: Sequence[Certificate], at: datetime
    ) -> datetime | None:
        """Hold every link of a path against the revocation lists (RFC 5280 section 6.3).

        Args:
            certificate: the leaf.
            path: what `authenticate` returned for it.
            at: the moment, aware.

        Returns:
            Until when the answer holds; None where no list was asked.

        Raises:
            CertificateDenied: `revoked`, or `revocation_unknown` where no list speaks for a link.
        """
        if self._revocation_lists is None:
            return None
        return self._revocation_lists.check(path, at, certificate=certificate)

    def _path(
        self,
        certificate: ClientCertificate,
        at: datetime,
        clock_skew: timedelta,
        intermediates: list[Certificate],
    ) -> list[Certificate]:
        moments = [at, at - clock_skew, at + clock_skew] if clock_skew else [at]
        for moment in moments:
            # A built verifier freezes its time, so there is one for each check.
            verifier = self._builder.time(moment).build_client_verifier()
            try:
                return verifier.verify(certificate.x509, intermediates).chain
            # VerificationError is the documented one; hostile bytes must not find another.
            except Exception as error:
                failure = error
        why = self._why_no_path(certificate.x509, at) or quote(failure)
        try:
            raise CertificateDenied(
                DenialReason.UNTRUSTED,
                f"no certification path to a trust anchor: {why}",
                certificate=certificate,
            ) from failure
        finally:
            # Its traceback leads back to this frame.
            del failure

    def _why_no_path(self, leaf: Certificate, at: datetime) -> str | None:
        """Tell the operator which of the common reasons it is, None where it is none of them."""
        if leaf.version is not Version.v3:
            return (
                "it is an X.509 v1 certificate, which has no extensions; have it issued as v3, or"
                " pin it"
            )
        algorithm = _weak_digest(leaf)
        if algorithm is not None:
            return f"it is signed over {algorithm}, which proves nothing; have it issued anew"
        issuer = quote(leaf.issuer.rfc4514_string())
        named = [ca for ca in (*self._anchors, *self._intermediates) if ca.subject == leaf.issuer]
        if not named:
            return f"no CA certificate of the name {issuer} is configured; add it to intermediates"
        signers = [ca for ca in named if has_signed(ca, leaf)]
        if not signers:
            return f"a CA of the name {issuer} is configured, and another key signed it"
        if all(ca.not_valid_after_utc < at for ca in signers):
            return f"the certificate of the CA {issuer} has expired"
        return None


def _weak_digest(certificate: Certificate) -> str | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    except Exception:
        return None
    return algorithm.name if isinstance(algorithm, hashes.SHA1 | hashes.MD5) else None


def has_signed(ca: Certificate, certificate: Certificate) -> bool:
    """Tell whether a CA's name is the issuer's, and its key has signed the certificate.

    Args:
        ca: whose key it is.
        certificate: whose signature is checked.

    It does not check that the CA may sign, nor any date.
    """
    try:
        certificate.verify_directly_issued_by(ca)
    # Another name, a bad signature, or a kind of either that cryptography does not know.
    except Exception:
        return False
    return True


# Private CAs leave out, or mark otherwise, what the rules for public ones demand. Each extension is
# relaxed by itself; what a validator below replaces, it checks again.


def _require_ca(_policy: Any, _certificate: Certificate, constraints: BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("the issuer is no CA: its basicConstraints say CA:FALSE")


def _require_cert_sign(_policy: Any, _certificate: Certificate, usage: KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the issuer may not sign certificates: its keyUsage lacks keyCertSign")


def _require_client_auth(
    _policy: Any, _certificate: Certificate, usages: ExtendedKeyUsage | None
) -> None:
    if usages is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise ValueError("the extended key usage lacks clientAuth")


def _require_client_auth_below(
    _policy: Any, _certificate: Certificate, usages: ExtendedKeyUsage | None
) -> None:
    if usages is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usages:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise ValueError("the issuer's extended key usage lacks clientAuth")


_CA_EXTENSIONS = (
    ExtensionPolicy.webpki_defaults_ca()
    .require_present(BasicConstraints, Criticality.AGNOSTIC, _require_ca)
    .may_be_present(KeyUsage, Criticality.AGNOSTIC, _require_cert_sign)
    .may_be_present(SubjectKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(ExtendedKeyUsage, Criticality.AGNOSTIC, _require_client_auth_below)
)
_LEAF_EXTENSIONS = (
    ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(SubjectAlternativeName, Criticality.AGNOSTIC, None)
    .may_be_present(AuthorityKeyIdentifier, Criticality.AGNOSTIC, None)
    .may_be_present(ExtendedKeyUsage, Criticality.AGNOSTIC, _require_client_auth)
)


def why_unusable(authority: Certificate, *, is_anchor: bool) -> str | None:
    """Tell why no path can ever use a configured certificate, None where one can.

    Args:
        authority: a trust anchor or an intermediate.
        is_anchor: a trust anchor may also be a leaf, which then is its own anchor.

    What a later moment can change, such as its dates, is not its concern.
    """
    if authority.version is not Version.v3:
        return "is an X.509 v1 certificate, which cannot say that it is a CA; have it issued as v3"
    try:
        # Read lazily, so that a broken one would fail in a request.
        _ = authority.subject, authority.issuer
        _ = authority.not_valid_before_utc, authority.not_valid_after_utc
    except Exception as error:
        return f"has a name or a date that cannot be read: {quote(error)}"
    try:
        is_ca = authority.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        is_ca = False
    except Exception as error:
        return f"has an extension that cannot be read: {quote(error)}"
    if not is_ca:
        return None if is_anchor else "is no CA: its basicConstraints do not say CA:TRUE"
    return _why_cannot_sign(authority) or unsupported_constraint(authority)


def _why_cannot_sign(authority: Certificate) -> str | None:
    try:
        key = authority.public_key()
    except Exception as error:
        return f"has a public key that cannot be read: {quote(error)}"
    if isinstance(key, rsa.RSAPublicKey):
        return _weakness_of(key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1):
            return None
        return (
            f"signs with the curve {key.curve.name}; paths are validated for P-256, P-384, P-521"
            " and RSA alone, so pin its clients' certificates"
        )
    return (
        f"signs with a key of the kind {type(key).__name__}; paths are validated for P-256, P-384,"
        " P-521 and RSA alone, so pin its clients' certificates"
    )


def weakness_of_key(certificate: ClientCertificate) -> str | None:
    """Tell why the certificate's public key is below the floor, None where it is not.

    Args:
        certificate: whose key is measured.

    It does not look at the signature, nor for keys that are known to be compromised.
    """
    try:
        key = certificate.x509.public_key()
    # Hostile bytes: a key that cryptography cannot load raises ValueError or UnsupportedAlgorithm.
    except Exception as error:
        return f"has a public key that cannot be read: {quote(error)}"
    return _weakness_of(key)


_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_STRONG_CURVES = tuple(
    map(
        bytes.fromhex,
        (
            "06082a8648ce3d03010703420004",
            "06052b8104002203620004",
            "06052b810400230381860004",
        ),
    )
)
"""P-256, P-384 and P-521 as a public key names them (RFC 5480 section 2.1.1.1), with the length of
their uncompressed points."""


def is_on_strong_curve(certificate: ClientCertificate) -> bool:
    """Tell whether it is certain that the public key lies on P-256, P-384 or P-521.

    Args:
        certificate: whose key it is.

    It costs a tenth of `weakness_of_key`, which answers where this one says no, and does not check
    that the point is on the curve.
    """
    if certificate.x509.public_key_algorithm_oid != PublicKeyAlgorithmOID.EC_PUBLIC_KEY:
        return False
    return goes_on_with(certificate.der, _EC_KEY, _STRONG_CURVES)


def _weakness_of(key: object) -> str | None:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA_KEY:
            return f"has an RSA key of {key.key_size} bits; at least {SMALLEST_RSA_KEY} are wanted"
        return None
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.key_size < SMALLEST_CURVE:
            return (
                f"has a key on the curve {key.curve.name} of {key.curve.key_size} bits; at least"
                f" {SMALLEST_CURVE} are wanted"
            )
        return None
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return None
    return f"has a public key of the unknown kind {type(key).__name__}"
