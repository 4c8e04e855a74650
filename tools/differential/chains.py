"""A chain: a leaf, the CA certificates above it, and its variations."""

from __future__ import annotations

import random
from typing import NamedTuple

from tools.differential import der
from tools.differential.certificates import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    CLIENT_AUTH,
    COMMON_NAME,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    ORGANIZATION,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
    Certificate,
    alternative_names,
    basic_constraints,
    extended_key_usage,
    key_usage,
    name,
)
from tools.differential.keys import key


class Chain(NamedTuple):
    """A chain, as each implementation gets it, with its variations.

    Attributes:
        number: the number of the chain. The seed and this number make the same chain again.
        leaf: the DER of the client certificate.
        intermediates: the DER of each CA certificate that is not trusted.
        anchors: the DER of each trust anchor.
        variations: the names of the variations.
    """

    number: int
    leaf: bytes
    intermediates: list[bytes]
    anchors: list[bytes]
    variations: tuple[str, ...]


class Draft:
    """A chain before it is signed.

    Attributes:
        path: the leaf, the intermediates and the anchor.
        more_intermediates: intermediates that are not on the path, each with its issuer.
        more_anchors: trust anchors that are not on the path, each with its issuer.
        left_out: certificates of the path that no implementation gets.
        root: the issuer of the anchor; None if the anchor is self-signed.
        random: the random numbers for all choices.
    """

    def __init__(self, chance: random.Random, depth: int) -> None:
        self.random = chance
        authorities = [make_authority(index, chance) for index in range(depth)]
        authorities.append(make_authority(depth, chance, "anchor"))
        leaf = Certificate(
            "leaf",
            name((ORGANIZATION, "Contoso"), (COMMON_NAME, f"client {chance.randrange(100)}")),
            key("P-256", chance.randrange(4)),
        )
        leaf.serial = der.integer(chance.randrange(1 << 62, 1 << 63))
        leaf.set(KEY_USAGE, key_usage(0), critical=True)
        leaf.set(EXTENDED_KEY_USAGE, extended_key_usage(CLIENT_AUTH))
        leaf.set(SUBJECT_ALTERNATIVE_NAME, alternative_names(("dns", "client.example.com")))
        self.path = [leaf, *authorities]
        for below, above in zip(self.path, [*self.path[1:], self.path[-1]], strict=True):
            set_key_identifiers(below, above)
        self.more_intermediates: list[tuple[Certificate, Certificate]] = []
        self.more_anchors: list[tuple[Certificate, Certificate]] = []
        self.left_out: list[Certificate] = []
        self.root: Certificate | None = None

    @property
    def leaf(self) -> Certificate:
        """The client certificate."""
        return self.path[0]

    @property
    def anchor(self) -> Certificate:
        """The trust anchor."""
        return self.path[-1]

    def issuer_of(self, certificate: Certificate) -> Certificate:
        """Return the issuer of a certificate of the path; a self-signed anchor is its own."""
        if certificate is self.anchor:
            return self.root or certificate
        return self.path[self.path.index(certificate) + 1]

    def insert_intermediate(self) -> Certificate:
        """Add a CA between the leaf and its issuer, and return the CA."""
        added = make_authority(len(self.path), self.random)
        self.path.insert(1, added)
        set_key_identifiers(added, self.path[2])
        set_key_identifiers(self.leaf, added)
        return added

    def sign(self, number: int, variations: tuple[str, ...]) -> Chain:
        """Sign every certificate, and return the chain."""
        signed = [
            (certificate, certificate.sign(self.issuer_of(certificate)))
            for certificate in self.path
        ]
        intermediates = [der for each, der in signed[1:-1] if each not in self.left_out]
        intermediates += [each.sign(issuer) for each, issuer in self.more_intermediates]
        anchors = [der for each, der in signed[-1:] if each not in self.left_out]
        anchors += [each.sign(issuer) for each, issuer in self.more_anchors]
        return Chain(number, signed[0][1], intermediates, anchors, variations)


def make_authority(index: int, chance: random.Random, role: str = "intermediate") -> Certificate:
    """Return a CA certificate that every implementation accepts."""
    authority = Certificate(
        role,
        name(
            (ORGANIZATION, "Contoso"), (COMMON_NAME, f"{role} {index} of {chance.randrange(100)}")
        ),
        key("P-256", 4 + index),
    )
    authority.serial = der.integer(chance.randrange(1 << 62, 1 << 63))
    authority.set(BASIC_CONSTRAINTS, basic_constraints(ca=True), critical=True)
    authority.set(KEY_USAGE, key_usage(5, 6), critical=True)
    return authority


def set_key_identifiers(certificate: Certificate, issuer: Certificate) -> None:
    """Write both key identifiers (RFC 5280 sections 4.2.1.1 and 4.2.1.2)."""
    certificate.set(SUBJECT_KEY_IDENTIFIER, der.tlv(der.OCTETS, certificate.identifier))
    certificate.set(
        AUTHORITY_KEY_IDENTIFIER,
        der.sequence(der.context(0, issuer.identifier, constructed=False)),
    )
