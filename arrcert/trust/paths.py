"""Certification paths from a client certificate to a trust anchor (RFC 5280 section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

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
from arrcert.trust.crls import RevocationList
from arrcert.trust.locations import where_issuer_is
from arrcert.trust.name_constraints import comparisons, unsupported_constraint, violation
from arrcert.trust.revocation import RevocationLists

Path = list[Certificate]
"""A certification path, from the leaf to the trust anchor."""


class _Link(NamedTuple):
    """The leaf, or a CA certificate that signed it directly or indirectly.

    Attributes:
        certificate: the certificate.
        digest: its SHA-256. `cryptography` is slow to hash and to compare large certificates.
        subject: its subject's name, in RFC 4514 form.
        issuer: its issuer's name, in RFC 4514 form.
        issuer_key_id: its authority key identifier; None without one.
    """

    certificate: Certificate
    digest: bytes
    subject: str
    issuer: str
    issuer_key_id: bytes | None

    @classmethod
    def of(cls, signer: Signer) -> _Link:
        """Return the facts of a CA certificate that are needed to find its issuer."""
        ca = signer.certificate
        issuer = ca.issuer.rfc4514_string()
        return cls(ca, signer.digest, signer.subject, issuer, _authority_key_id(ca))


class Signer(NamedTuple):
    """A certificate that may have signed others.

    Attributes:
        certificate: the certificate.
        digest: its SHA-256.
        subject: its subject's name, in RFC 4514 form.
        key: the numbers of its public key; None if no path is validated with such a key.
        key_id: its subject key identifier (RFC 5280 section 4.2.1.2); None without one.
        effort: the cost of one verification with its key, relative to a P-256 key.
        store: the certificate alone, as the trust anchor of a path. `cryptography` keeps its key
            there.
    """

    certificate: Certificate
    digest: bytes
    subject: str
    key: rsa.RSAPublicNumbers | ec.EllipticCurvePublicNumbers | None
    key_id: bytes | None
    effort: int
    store: Store

    @classmethod
    def of(cls, certificate: Certificate) -> Signer:
        """Return the facts of a certificate that are needed before a signature is verified."""
        digest = certificate.fingerprint(hashes.SHA256())
        subject = certificate.subject.rfc4514_string()
        key, effort = _key_and_effort_of(certificate)
        key_id = _subject_key_id(certificate)
        return cls(certificate, digest, subject, key, key_id, effort, Store([certificate]))

    @property
    def entity(self) -> tuple[object, ...]:
        """The name and the key. A path in which they occur twice has a loop (RFC 4158, 2.4.2)."""
        return (self.subject, self.key)

    def is_named_by(self, link: _Link) -> bool:
        """Return whether the authority key identifier of a certificate is that of this one."""
        return self.key_id is not None and self.key_id == link.issuer_key_id


class _Issuers(NamedTuple):
    """The configured issuers of a certificate.

    Attributes:
        link: the certificate.
        configured: the configured certificates that signed it; trust anchors are first.
    """

    link: _Link
    configured: Sequence[Signer]


class TrustStore:
    """One immutable snapshot of trust anchors, intermediates and revocation lists.

    App Service forwards only the leaf, so the intermediates come from the configuration.

    Args:
        anchors: the trusted certificates. Their dates must be valid, too.
        intermediates: CA certificates that are not trusted, but that may be part of a path.
        revocation_lists: the lists for the certificates of a path; None to check no revocation.
    """

    def __init__(
        self,
        anchors: Iterable[Certificate],
        intermediates: Iterable[Certificate] = (),
        revocation_lists: RevocationLists | None = None,
    ) -> None:
        self.anchors = frozenset(anchors)
        self.intermediates = frozenset(intermediates)
        self._by_subject: dict[str, list[Signer]] = {}
        anchor_digests = []
        for authority in self.anchors | self.intermediates:
            signer = Signer.of(authority)
            self._by_subject.setdefault(signer.subject, []).append(signer)
            if authority in self.anchors:
                anchor_digests.append(signer.digest)
        self.anchor_digests = frozenset(anchor_digests)
        self._issuers: dict[bytes, _Issuers] = {}
        self._revocation_lists = revocation_lists

    @property
    def checks_revocation(self) -> bool:
        """Whether there are revocation lists, even if they are empty or have expired."""
        return self._revocation_lists is not None

    def signers_named(self, name: str) -> Sequence[Signer]:
        """Return the configured certificates whose subject is a name, in RFC 4514 form."""
        return self._by_subject.get(name, ())

    def issuers_of(self, authority: Signer) -> _Issuers:
        """Return the configured certificates that may have signed a configured certificate.

        Args:
            authority: the configured certificate.

        If there are several of that name, their signatures are verified once for each snapshot. A
        single one is not verified, because every path is validated anyway.
        """
        if authority.digest not in self._issuers:
            link = _Link.of(authority)
            signers = self.signers_named(link.issuer)
            if len(signers) > 1:
                signers = [ca for ca in signers if has_signed(ca.certificate, link.certificate)]
            self._issuers[authority.digest] = _Issuers(link, self.anchors_first(signers))
        return self._issuers[authority.digest]

    def anchors_first(self, signers: Sequence[Signer]) -> Sequence[Signer]:
        """Return configured certificates with the trust anchors first."""
        if len(signers) < 2:
            return signers
        return sorted(signers, key=lambda signer: signer.digest not in self.anchor_digests)

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
            at: the time, a timezone-aware `datetime`.
            clock_skew: the largest difference of clocks; 0 by default.
            intermediates: CA certificates that came with the leaf, in addition to the configured
                ones.

        Returns:
            The path, or `untrusted`.

        This does not check certificate policies. It does not check revocation; `check_revocation`
        does.
        """
        return PathSearch(certificate, intermediates).find(self, at, clock_skew)

    def check_revocation(self, path: Path, at: datetime) -> Finding | None:
        """Return a finding if a certificate of a path is revoked or its status unknown.

        Args:
            path: the path that `authenticate` returned.
            at: the time, a timezone-aware `datetime`.

        A trust store without revocation lists checks nothing.
        """
        if self._revocation_lists is None:
            return None
        return self._revocation_lists.check(path, at)

    def next_update_of(self, path: Path, at: datetime) -> datetime | None:
        """Return until when the result of `check_revocation` is valid; None if no list was needed.

        Args:
            path: the path that `check_revocation` accepted.
            at: the time for which it did, a timezone-aware `datetime`.
        """
        if self._revocation_lists is None:
            return None
        return self._revocation_lists.next_update_of(path, at)

    @property
    def revocation_lists(self) -> Sequence[RevocationList]:
        """The revocation lists; none if revocation is not checked."""
        return () if self._revocation_lists is None else tuple(self._revocation_lists)

    def revocation_lists_of(self, path: Path) -> Sequence[RevocationList]:
        """Return the revocation lists of the CAs of a path."""
        names = {authority.subject for authority in path[1:]}
        return [crl for crl in self.revocation_lists if crl.issuer in names]


MOST_FORWARDED_EFFORT = 60
"""The part of the limit that forwarded CA certificates may use, in units of `effort`. It allows ten
signatures of P-384 or P-521 keys, or sixty of P-256 keys."""

MOST_UNNAMED_EFFORT = 100
"""The part of the limit after which only those configured CA certificates are tried that a
certificate names by its authority key identifier (RFC 5280 section 4.2.1.1), in units of
`effort`."""

MOST_NAMED_EFFORT = 136
"""The part of the limit after which no further configured CA certificate is tried, in units of
`effort`."""

MOST_EFFORT = 160
"""The limit for one request, over all alternatives, in units of `effort`. It includes the
signatures that `cryptography` verifies again when it validates a path."""

MOST_INTERMEDIATES = 8
"""How many CA certificates may be between the leaf and the trust anchor."""

_COMPARISONS = 1000
"""How many comparisons of a name with a name constraint cost as much as one P-256 signature."""

MOST_STEPS = 2000
"""How many times, over all alternatives, the search follows a certificate to an issuer."""


_Graph = dict[bytes, _Issuers]
"""The issuers of the leaf and of each CA certificate that leads to it, by the SHA-256 of each."""


class PathSearch:
    """The search for certification paths of one presented certificate.

    One search is used for all trust stores. It verifies each signature once, and builds the paths
    itself. It gives `cryptography` one path at a time, with its trust anchor alone, and each path
    once for all trust stores. So `cryptography` never searches among certificates that a client
    chose, and the cost does not grow with the number of policies. A path is built only if a
    configured CA has signed the leaf or a forwarded CA certificate that leads to it. There is one
    exception. If a leaf names the key of its only possible issuer, it is most likely genuine. Then
    `cryptography` is called at once, which saves a second verification of the same signature. After
    `cryptography` has refused the leaf, this is not done again.

    The cost of one request is limited (`MOST_EFFORT`). If a CA or a path was not tried, the denial
    says so. The limit matters only if more than a hundred configured CAs have the same name, or
    more than forty if a long chain is forwarded. CAs with P-384 and P-521 keys count as six. Then a
    client may enter if its certificate names the CA by its authority key identifier. Without the
    identifier, not every CA is tried.

    Args:
        certificate: the leaf.
        forwarded: CA certificates that the front end forwarded with it. They help to build the path
            and prove nothing.
    """

    def __init__(
        self, certificate: ClientCertificate, forwarded: Sequence[Certificate] = ()
    ) -> None:
        self._certificate = certificate
        self._forwarded = forwarded
        self._links: list[_Link] | None = None
        self._linked_by_subject: dict[str, list[Signer]] = {}
        self._no_cas: set[str] = set()
        self._signed: dict[tuple[bytes, bytes], bool] = {}
        self._validated: dict[object, Path | Finding | str] = {}
        self._found: dict[object, Path | Finding] = {}
        self._effort = 0
        self._effort_of_paths = 0
        self._steps = 0
        self._locations: dict[bytes, str] = {}
        self._left_out = ""

    def find(
        self, trust_store: TrustStore, at: datetime, clock_skew: timedelta = timedelta()
    ) -> Path | Finding:
        """Return the path to an anchor of a trust store, or `untrusted`.

        Args:
            trust_store: the anchors and intermediates.
            at: the time, a timezone-aware `datetime`.
            clock_skew: the largest difference of clocks; 0 by default.
        """
        key = (trust_store.anchors, trust_store.intermediates, at, clock_skew)
        if key not in self._found:
            self._found[key] = self._find(trust_store, at, clock_skew)
        return self._found[key]

    def _find(self, trust_store: TrustStore, at: datetime, clock_skew: timedelta) -> Path | Finding:
        certificate = self._certificate
        if certificate.is_ca:
            return Finding(
                DenialReason.UNTRUSTED,
                "it is a CA certificate (CA:TRUE, what `openssl req -x509` makes), which is not"
                " accepted as a client's; pin its fingerprint in a policy without trust_anchors",
            )
        is_anchor = self._linked()[0].digest in trust_store.anchor_digests
        if not is_anchor and self._names_its_only_signer(trust_store):
            graph = self._graph(trust_store, are_leafs_issuers_verified=False)
            first = next(self._paths(graph, trust_store.anchor_digests), None)
            validated = None if first is None else self._validate(first, at, clock_skew)
            if isinstance(validated, list):
                return validated
        graph = self._graph(trust_store)
        if not is_anchor and not any(issuers.configured for issuers in graph.values()):
            return _no_path(self._why_not_signed(trust_store))
        # The paths depend on those configured certificates alone that lead to the leaf.
        used = frozenset(ca.digest for issuers in graph.values() for ca in issuers.configured)
        anchors = used & trust_store.anchor_digests
        if not anchors and not is_anchor:
            return self._none_valid(trust_store, at, "")
        key = (used, anchors, is_anchor, at, clock_skew)
        if key not in self._found:
            paths = iter([()]) if is_anchor else self._paths(graph, anchors)
            self._found[key] = self._first_valid(paths, trust_store, at, clock_skew)
        return self._found[key]

    def _first_valid(
        self,
        paths: Iterator[tuple[Signer, ...]],
        trust_store: TrustStore,
        at: datetime,
        clock_skew: timedelta,
    ) -> Path | Finding:
        """Return the first valid path, or why there is none."""
        failure = ""
        violated: Finding | None = None
        for above in paths:
            validated = self._validate(above, at, clock_skew)
            if isinstance(validated, list):
                return validated
            if validated is None:
                break
            if isinstance(validated, Finding):
                violated = violated or validated
            else:
                failure = failure or validated
        return violated or self._none_valid(trust_store, at, failure)

    def _none_valid(self, trust_store: TrustStore, at: datetime, failure: str) -> Finding:
        why = self._why_not_verified(trust_store, at) or self._missing_link(trust_store) or failure
        if not why and not self._left_out:
            why = (
                "the CA certificates that lead to it form no path to a trust anchor with at most"
                f" {MOST_INTERMEDIATES} intermediates"
            )
        return _no_path("; ".join(filter(None, (why, self._left_out))))

    def _names_its_only_signer(self, trust_store: TrustStore) -> bool:
        """Return whether the leaf names the key of the only configured CA with its issuer's name.

        The answer is False if a signature was already verified or left out. So an attacker who
        names the key of each CA causes only one more verification.
        """
        if self._forwarded or self._signed or self._left_out:
            return False
        [leaf] = self._linked()
        signers = trust_store.signers_named(leaf.issuer)
        return len(signers) == 1 and signers[0].is_named_by(leaf)

    def _graph(self, trust_store: TrustStore, *, are_leafs_issuers_verified: bool = True) -> _Graph:
        """Return the issuers of the leaf and of each CA certificate that leads to it.

        Args:
            trust_store: the anchors and intermediates.
            are_leafs_issuers_verified: False to take the configured CAs with the name of the leaf's
                issuer without verifying its signature.
        """
        anchors = trust_store.anchor_digests
        graph: _Graph = {}
        for link in self._linked():
            named = trust_store.signers_named(link.issuer)
            if named and are_leafs_issuers_verified:
                named = [signer for signer in named if self._has_signed(signer, link)]
            if link.digest not in anchors:
                graph[link.digest] = _Issuers(link, trust_store.anchors_first(named))
        configured = [signer for issuers in graph.values() for signer in issuers.configured]
        for signer in configured:  # The list grows while it is walked.
            if signer.digest not in anchors and signer.digest not in graph:
                graph[signer.digest] = trust_store.issuers_of(signer)
                configured += graph[signer.digest].configured
        return graph

    def _paths(
        self, graph: _Graph, anchors: frozenset[bytes], above: tuple[Signer, ...] = ()
    ) -> Iterator[tuple[Signer, ...]]:
        """Yield the CA certificates of each path, from the leaf's issuer to the trust anchor.

        Args:
            graph: the issuers of each certificate.
            anchors: the SHA-256 of each trust anchor.
            above: the CA certificates to start from; none to start from the leaf.
        """
        link, issuers = graph[above[-1].digest if above else self._linked()[0].digest]
        configured = {signer.digest for signer in issuers}
        for signer in (*issuers, *self._linked_by_subject.get(link.issuer, ())):
            self._steps += 1
            if self._steps > MOST_STEPS:
                self._left_out = _TOO_MANY_PATHS
                return
            if any(signer.entity == other.entity for other in above):
                continue
            if signer.digest not in configured and not self._verify(
                signer, link, MOST_FORWARDED_EFFORT
            ):
                continue
            if signer.digest in anchors:
                yield (*above, signer)
            elif len(above) < MOST_INTERMEDIATES:
                yield from self._paths(graph, anchors, (*above, signer))

    def _validate(
        self, above: tuple[Signer, ...], at: datetime, clock_skew: timedelta
    ) -> Path | Finding | str | None:
        """Return a path if it is valid, else why it is not.

        Args:
            above: the CA certificates, from the leaf's issuer to the trust anchor.
            at: the time, a timezone-aware `datetime`.
            clock_skew: the largest difference of clocks.

        Returns:
            The path; a finding if it violates name constraints; else the error message of
            `cryptography`. None if the limit is reached.
        """
        path = [self._certificate.x509, *(signer.certificate for signer in above)]
        moment = _moment_within(path, at, clock_skew)
        key = (tuple(signer.digest for signer in above), moment)
        if key not in self._validated:
            effort = _effort_of_path(above) + comparisons(path) // _COMPARISONS
            if self._effort + self._effort_of_paths + effort > MOST_EFFORT:
                self._left_out = _TOO_MANY_PATHS
                return None
            self._effort_of_paths += effort
            valid = validate(path, above[-1].store if above else Store(path), moment)
            violated = None if isinstance(valid, str) else violation(valid)
            self._validated[key] = (
                valid if violated is None else Finding(DenialReason.UNTRUSTED, violated)
            )
        return self._validated[key]

    def _linked(self) -> list[_Link]:
        """Return the leaf and the forwarded CA certificates that signed it, directly or indirectly.

        Other forwarded certificates cannot be part of a path.
        """
        if self._links is None:
            leaf = self._certificate
            digest = bytes.fromhex(leaf.sha256_fingerprint)
            key_id = _authority_key_id(leaf.x509)
            self._links = [_Link(leaf.x509, digest, leaf.subject, leaf.issuer, key_id)]
            left: dict[str, list[Signer]] = {}
            for ca in dict.fromkeys(self._forwarded):
                if _is_ca(ca):
                    signer = Signer.of(ca)
                    left.setdefault(signer.subject, []).append(signer)
                else:
                    self._no_cas.add(ca.subject.rfc4514_string())
            for link in self._links:  # The list grows while it is walked.
                for signer in tuple(left.get(link.issuer, ())):
                    signed = self._verify(signer, link, MOST_FORWARDED_EFFORT)
                    if signed is None:
                        self._left_out = (
                            "the CA certificates that came with it cost more to verify than is"
                            " spent on one request, so not all of them were tried; let the front"
                            " end forward the certificate's own chain alone"
                        )
                    elif signed:
                        self._links.append(_Link.of(signer))
                        left[link.issuer].remove(signer)
                        self._linked_by_subject.setdefault(signer.subject, []).append(signer)
        return self._links

    def _has_signed(self, signer: Signer, link: _Link) -> bool:
        """Return whether a configured CA has signed a certificate; False if a limit is reached."""
        most = MOST_NAMED_EFFORT if signer.is_named_by(link) else MOST_UNNAMED_EFFORT
        signed = self._verify(signer, link, most)
        if signed is None:
            self._left_out = (
                f"more CAs of the name {quote(link.issuer)} are configured than are tried for one"
                " request; have the certificate issued with an authority key identifier, which"
                " tells them apart"
            )
        return bool(signed)

    def _verify(self, signer: Signer, link: _Link, most: int) -> bool | None:
        """Return whether a CA has signed a certificate; None if it is not tried.

        Args:
            signer: the CA.
            link: the certificate with the signature.
            most: the effort that such signatures may have cost afterwards.
        """
        pair = (signer.digest, link.digest)
        if pair not in self._signed:
            effort = self._effort + signer.effort
            if effort > most or effort + self._effort_of_paths > MOST_EFFORT:
                return None
            self._effort += signer.effort
            self._signed[pair] = has_signed(signer.certificate, link.certificate)
        return self._signed[pair]

    def _why_not_signed(self, trust_store: TrustStore) -> str:
        """Return why no configured CA leads to the leaf, for the operator."""
        leaf = self._certificate.x509
        general = _why_never(leaf)
        if general is not None:
            return general
        if self._left_out:
            return self._left_out
        # No CA certificate has signed the last link, or it would not be the last one.
        return self._where_it_ends(self._linked()[-1], trust_store)

    def _missing_link(self, trust_store: TrustStore) -> str | None:
        """Return which link is missing between the leaf and an anchor, None if none is missing."""
        links = list(self._linked())
        ends = []
        for link in links:  # The list grows while it is walked.
            signers = [
                signer
                for signer in trust_store.signers_named(link.issuer)
                if self._has_signed(signer, link)
            ]
            digests = [signer.digest for signer in signers]
            if not trust_store.anchor_digests.isdisjoint(digests):
                return None
            known = {known.digest for known in links}
            links += [_Link.of(ca) for ca in signers if ca.digest not in known]
            if digests in ([], [link.digest]):
                ends.append(link)
        # If CAs certify each other, there may be no end. Then no link is missing.
        return self._where_it_ends(ends[-1], trust_store) if ends else None

    def _why_not_verified(self, trust_store: TrustStore, at: datetime) -> str | None:
        """Return one of the common reasons why a path is not valid, None for any other reason."""
        leaf = self._linked()[0]
        signers = [
            ca for ca in trust_store.signers_named(leaf.issuer) if self._has_signed(ca, leaf)
        ]
        if signers and all(ca.certificate.not_valid_after_utc < at for ca in signers):
            return f"the certificate of the CA {quote(self._certificate.issuer)} has expired"
        return _why_never(leaf.certificate)

    def _where_it_ends(self, last: _Link, trust_store: TrustStore) -> str:
        """Return which CA certificate is missing after the last link that was found.

        Args:
            last: the last link, the leaf or a CA certificate.
            trust_store: the anchors and intermediates.
        """
        link, issuer = last.certificate, quote(last.issuer)
        signed = "the certificate"
        begin, place = "", "intermediates"
        if last is not self._linked()[0]:
            subject = quote(last.subject)
            if last.subject == last.issuer and self._has_signed_itself(last):
                return (
                    f"it ends at the CA certificate {subject}, which signed itself and is not among"
                    " the trust anchors; if you trust it, add it to trust_anchors"
                )
            algorithm = _weak_digest(link)
            if algorithm is not None:
                return (
                    f"it ends at the CA certificate {subject}, which is signed with {algorithm},"
                    " which proves nothing; have it issued again"
                )
            signed = f"the CA certificate {subject}"
            begin = f"it ends at {signed}: "
            place += ", or to trust_anchors if it is the root that you trust"
        if trust_store.signers_named(last.issuer):
            return (
                f"{begin}a CA of the name {issuer} is configured, but another key signed {signed}"
            )
        no_ca = "; the one that came with it is no CA" if last.issuer in self._no_cas else ""
        return (
            f"{begin}no CA certificate of the name {issuer} is configured{no_ca}; add it to {place}"
            f"{self._where_issuer_is(last)}"
        )

    def _where_issuer_is(self, link: _Link) -> str:
        """Return where the issuer's certificate can be downloaded; read once for all policies."""
        if link.digest not in self._locations:
            self._locations[link.digest] = where_issuer_is(link.certificate)
        return self._locations[link.digest]

    def _has_signed_itself(self, link: _Link) -> bool:
        """Return whether a CA certificate has signed itself; False if the limit is reached."""
        signed = self._signed.get((link.digest, link.digest))
        if signed is None:
            signed = self._verify(Signer.of(link.certificate), link, MOST_FORWARDED_EFFORT)
        return bool(signed)


_TOO_MANY_PATHS = (
    "the paths of CA certificates that lead to it cost more to validate than is spent on one"
    " request, because they are many or have many name constraints, so not all of them were tried;"
    " let the front end forward the certificate's own chain alone"
)


def _moment_within(path: Path, at: datetime, clock_skew: timedelta) -> datetime:
    """Return the moment for which a path is validated.

    `cryptography` checks the dates of all certificates for one moment. With a clock skew, this is
    the first of three moments at which all of them are valid, or `at` if there is none.
    """
    if not clock_skew:
        return at
    begin = max(certificate.not_valid_before_utc for certificate in path)
    end = min(certificate.not_valid_after_utc for certificate in path)
    moments = (at, at - clock_skew, at + clock_skew)
    return next((moment for moment in moments if begin <= moment <= end), at)


def _effort_of_path(above: Sequence[Signer]) -> int:
    """Return what it costs to validate a path.

    Args:
        above: the CA certificates, from the leaf's issuer to the trust anchor.

    For each signature, `cryptography` may try all keys of CAs with the issuer's name.
    """
    return 1 + sum(
        other.effort for signer in above for other in above if other.subject == signer.subject
    )


def _authority_key_id(certificate: Certificate) -> bytes | None:
    try:
        extension = certificate.extensions.get_extension_for_class(AuthorityKeyIdentifier)
    # The extension is missing or broken. The search reports that to the operator.
    except Exception:
        return None
    return extension.value.key_identifier


def _subject_key_id(certificate: Certificate) -> bytes | None:
    try:
        extension = certificate.extensions.get_extension_for_class(SubjectKeyIdentifier)
    # The extension is missing or broken.
    except Exception:
        return None
    return extension.value.digest


_OTHER_KEY = 16
"""What a key counts on which no path is validated, such as one on a Brainpool curve."""
_RSA_BITS = 40 * 3072**2
"""So many bits of an exponent, times the square of the size of the key, cost one P-256 signature
more."""


def _key_and_effort_of(
    certificate: Certificate,
) -> tuple[rsa.RSAPublicNumbers | ec.EllipticCurvePublicNumbers | None, int]:
    """Return the numbers of a certificate's key, and what it costs to verify a signature with it.

    A key on P-256 costs 1. Keys with which no path is validated have no numbers here.
    """
    try:
        key = certificate.public_key()
    # No signature is verified with such a key.
    except Exception:
        return None, 1
    if isinstance(key, rsa.RSAPublicKey):
        # The exponents of CA keys have at most 17 bits. With an exponent as long as the key, a
        # verification costs as much as signing.
        numbers = key.public_numbers()
        return numbers, 1 + numbers.e.bit_length() * key.key_size**2 // _RSA_BITS
    if isinstance(key, ec.EllipticCurvePublicKey):
        if isinstance(key.curve, ec.SECP256R1):
            return key.public_numbers(), 1
        if isinstance(key.curve, ec.SECP384R1 | ec.SECP521R1):
            return key.public_numbers(), 6
    return None, _OTHER_KEY


def _no_path(why: str) -> Finding:
    return Finding(DenialReason.UNTRUSTED, f"no certification path to a trust anchor: {why}")


def _why_never(leaf: Certificate) -> str | None:
    """Return why a certificate cannot be the leaf of any path, None if it can."""
    if leaf.version is not Version.v3:
        return (
            "it is an X.509 v1 certificate, which has no extensions; have it issued as v3, or pin"
            " it"
        )
    algorithm = _weak_digest(leaf)
    if algorithm is not None:
        return f"it is signed with {algorithm}, which proves nothing; have it issued again"
    return None


def _weak_digest(certificate: Certificate) -> str | None:
    try:
        algorithm = certificate.signature_hash_algorithm
    # cryptography does not know the algorithm.
    except Exception:
        return None
    return algorithm.name if isinstance(algorithm, hashes.SHA1 | hashes.MD5) else None


def validate(path: Path, anchor: Store, at: datetime) -> Path | str:
    """Return a path if it is valid (RFC 5280 section 6), or the error message of `cryptography`.

    Args:
        path: the certificates from the leaf to the trust anchor.
        anchor: the trust anchor alone.
        at: the time, a timezone-aware `datetime`.

    This does not check revocation, and name constraints only for the subject alternative name.
    """
    verifier = _BUILDER.store(anchor).time(at).build_client_verifier()
    try:
        return verifier.verify(path[0], path[1:-1]).chain
    # cryptography documents VerificationError; hostile bytes may raise something else.
    except Exception as error:
        return quote(error)


def _is_ca(certificate: Certificate) -> bool:
    """Return whether the basic constraints say CA:TRUE; False if they cannot be read."""
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    # The extension is missing, or hostile bytes raise any exception.
    except Exception:
        return False


def has_signed(ca: Certificate, certificate: Certificate) -> bool:
    """Return whether a CA has the issuer's name and its key has signed the certificate.

    Args:
        ca: the CA certificate.
        certificate: the certificate with the signature.

    This does not check whether the CA may sign, and does not check dates.
    """
    try:
        certificate.verify_directly_issued_by(ca)
    # The name differs, the signature is wrong, or cryptography does not support the signature.
    except Exception:
        return False
    return True


# The rules for public CAs require extensions that private CAs omit, or mark differently as
# critical. Below is an exception for each such extension. A validator function replaces the check
# of cryptography, so it must do that check itself.


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
_BUILDER = (
    PolicyBuilder()
    .extension_policies(ca_policy=_CA_EXTENSIONS, ee_policy=_LEAF_EXTENSIONS)
    .max_chain_depth(MOST_INTERMEDIATES)
)


def why_unusable(authority: Certificate, *, is_anchor: bool) -> str | None:
    """Return why a configured certificate cannot be part of any path, None if it can.

    Args:
        authority: a trust anchor or an intermediate.
        is_anchor: whether it is a trust anchor, which may also be a leaf.

    This does not check the dates.
    """
    if authority.version is not Version.v3:
        return "is an X.509 v1 certificate, which cannot say that it is a CA; have it issued as v3"
    try:
        # cryptography decodes these values only when they are used. They are used here, so that a
        # broken certificate is an error at the start and not during a request.
        _ = authority.subject, authority.issuer
        _ = authority.not_valid_before_utc, authority.not_valid_after_utc
    # Broken parts may raise any exception, here and below.
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
            f"signs with the curve {key.curve.name}; paths are validated only for P-256, P-384,"
            " P-521 and RSA, so pin its clients' certificates"
        )
    return (
        f"signs with a key of the kind {type(key).__name__}; paths are validated only for P-256,"
        " P-384, P-521 and RSA, so pin its clients' certificates"
    )
