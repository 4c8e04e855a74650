"""Certification paths from a client certificate to a trust anchor (RFC 5280 section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
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
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store

from arrcert.certificate import ClientCertificate
from arrcert.exceptions import DenialReason, Finding, quote
from arrcert.keys import weakness_of_rsa_key
from arrcert.trust.name_constraints import unsupported_constraint, violation
from arrcert.trust.revocation import RevocationLists

Path = list[Certificate]
"""A certification path, from the leaf to the trust anchor."""


class TrustStore:
    """One immutable snapshot of trust anchors, intermediates and revocation lists.

    App Service forwards the leaf alone, so the intermediates come from the configuration.

    Args:
        anchors: certificates that are trusted. They must be valid as well.
        intermediates: CA certificates that are not trusted but may stand on a path.
        revocation_lists: the lists for the certificates of a path; None to check no revocation.
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
    ) -> Path | Finding:
        """Build a path from the certificate to an anchor (RFC 5280 section 6).

        Args:
            certificate: the leaf.
            at: the moment, aware.
            clock_skew: by how much clocks may differ; 0 by default.
            intermediates: CA certificates that came with the leaf, beside the configured ones.

        Returns:
            The path, or `untrusted`.

        This does not check revocation, which `check_revocation` does, nor certificate policies.
        """
        if certificate.is_ca:
            return Finding(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE, what `openssl req -x509` makes), which is not"
                " accepted as a client's; pin its fingerprint in a policy without trust_anchors",
            )
        path = self._path(certificate, at, clock_skew, [*self._intermediates, *intermediates])
        if isinstance(path, Finding):
            return path
        violated = violation(path)
        return path if violated is None else Finding(DenialReason.UNTRUSTED, violated)

    def check_revocation(self, path: Path, at: datetime) -> Finding | None:
        """Return why a certificate of a path is revoked or unknown, None if neither is the case.

        Args:
            path: the path that `authenticate` returned.
            at: the moment, aware.

        A trust store without revocation lists checks nothing.
        """
        if self._revocation_lists is None:
            return None
        return self._revocation_lists.check(path, at)

    def next_update_of(self, path: Path) -> datetime | None:
        """Return until when `check_revocation` holds for a path; None if no list was needed."""
        if self._revocation_lists is None:
            return None
        return self._revocation_lists.next_update_of(path)

    def _path(
        self,
        certificate: ClientCertificate,
        at: datetime,
        clock_skew: timedelta,
        intermediates: list[Certificate],
    ) -> Path | Finding:
        moments = [at, at - clock_skew, at + clock_skew] if clock_skew else [at]
        failure = ""
        for moment in moments:
            # A verifier holds for one moment only.
            verifier = self._builder.time(moment).build_client_verifier()
            try:
                return verifier.verify(certificate.x509, intermediates).chain
            # cryptography documents VerificationError; hostile bytes may raise something else.
            except Exception as error:
                failure = quote(error)
        why = self._why_no_path(certificate.x509, at) or failure
        return Finding(DenialReason.UNTRUSTED, f"no certification path to a trust anchor: {why}")

    def _why_no_path(self, leaf: Certificate, at: datetime) -> str | None:
        """Return the common reason for a missing path, None if it is none of those."""
        if leaf.version is not Version.v3:
            return (
                "it is an X.509 v1 certificate, which has no extensions; have it issued as v3, or"
                " pin it"
            )
        algorithm = _weak_digest(leaf)
        if algorithm is not None:
            return f"it is signed over {algorithm}, which proves nothing; have it issued again"
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
    """Tell whether a CA has the issuer's name and its key has signed the certificate.

    Args:
        ca: the CA certificate.
        certificate: the certificate with the signature.

    This does not check that the CA may sign, nor any date.
    """
    try:
        certificate.verify_directly_issued_by(ca)
    # Another name, a bad signature, or a kind of either that cryptography does not know.
    except Exception:
        return False
    return True


# Private CAs omit extensions that the rules for public CAs demand, or mark them otherwise. Each
# extension is relaxed by itself. A validator below replaces a check of cryptography, and therefore
# makes that check itself.


def _require_ca(_policy: Any, _certificate: Certificate, constraints: BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("the issuer is not a CA: its basicConstraints say CA:FALSE")


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
    """Return why no path can ever use a configured certificate, None if one can.

    Args:
        authority: a trust anchor or an intermediate.
        is_anchor: whether it is a trust anchor, which may also be a leaf.

    This does not check the dates.
    """
    if authority.version is not Version.v3:
        return "is an X.509 v1 certificate, which cannot say that it is a CA; have it issued as v3"
    try:
        # cryptography reads these lazily. A broken one must fail at start-up, not in a request.
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
        return None if is_anchor else "is not a CA: its basicConstraints do not say CA:TRUE"
    return _why_cannot_sign(authority) or unsupported_constraint(authority)


def _why_cannot_sign(authority: Certificate) -> str | None:
    try:
        key = authority.public_key()
    except Exception as error:
        return f"has a public key that cannot be read: {quote(error)}"
    if isinstance(key, rsa.RSAPublicKey):
        return weakness_of_rsa_key(key)
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
