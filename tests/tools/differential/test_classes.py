"""`tools/differential/classes.py`: a difference has a class only if its text and chain match."""

from __future__ import annotations

import re

import pytest

from tools.differential.classes import (
    CLASSES,
    DECIDED,
    GNUTLS,
    GO,
    OPENSSL,
    STRICTER,
    THEIRS,
    classify,
)
from tools.differential.registry import VARIATIONS
from tools.differential.verdicts import ACCEPTED, Verdict

PURPOSE = Verdict(False, "unsuitable certificate purpose (depth 0)")
LEAF_IS_CA = Verdict(False, "untrusted: it is a CA certificate (CA:TRUE, ...)")


@pytest.mark.parametrize(
    ("variation", "other", "ours", "theirs", "name"),
    [
        (
            "leaf: basicConstraints say CA:TRUE",
            OPENSSL,
            LEAF_IS_CA,
            ACCEPTED,
            "a CA certificate as a client's",
        ),
        ("leaf: expired long ago", OPENSSL, LEAF_IS_CA, ACCEPTED, None),
        (
            "leaf: keyUsage is keyEncipherment alone",
            OPENSSL,
            ACCEPTED,
            PURPOSE,
            "the key usage of a leaf",
        ),
        ("leaf: keyUsage is keyEncipherment alone", GO, ACCEPTED, PURPOSE, None),
        ("leaf: extendedKeyUsage is serverAuth alone", OPENSSL, ACCEPTED, PURPOSE, None),
        ("leaf: keyUsage is keyEncipherment alone", OPENSSL, PURPOSE, ACCEPTED, None),
        (
            "leaf: authorityKeyIdentifier names another key",
            GNUTLS,
            ACCEPTED,
            Verdict(False, "signer not found"),
            "key identifiers that do not match",
        ),
        (
            "leaf: authorityKeyIdentifier names another key",
            GNUTLS,
            ACCEPTED,
            Verdict(False, "expired"),
            None,
        ),
        ("leaf: expired long ago", GO, ACCEPTED, Verdict(False, "x509: has expired"), None),
    ],
)
def test_a_class_needs_the_side_the_words_and_the_variation(
    variation: str, other: str, ours: Verdict, theirs: Verdict, name: str | None
) -> None:
    """A class matches by the denying side, the text of the denial, and the variations together."""
    found = classify([variation], other, ours, theirs)
    assert (found and found.name) == name


def test_some_classes_need_two_variations() -> None:
    """A difference of two variations together has its class only with both of them."""
    constraint = (
        "anchor: nameConstraints permit the DNS name example.com; the leaf has an IP address"
    )
    server = "leaf: extendedKeyUsage is clientAuth and serverAuth"
    denial = Verdict(False, "signer constraints failure")
    found = classify([constraint, server], GNUTLS, ACCEPTED, denial)
    assert found
    assert found.name == "the common name of a TLS server"
    for variation in (constraint, server):
        assert classify([variation], GNUTLS, ACCEPTED, denial) is None


def test_a_chain_without_variations_has_no_class() -> None:
    """No difference on a plain chain is ever explained."""
    for denial in (PURPOSE, LEAF_IS_CA):
        assert classify([], OPENSSL, ACCEPTED, denial) is None
        assert classify([], OPENSSL, denial, ACCEPTED) is None


def test_no_class_explains_every_denial() -> None:
    """No pattern of text matches everything, and each class matches some variation."""
    assert len({each.name for each in CLASSES}) == len(CLASSES)
    for each in CLASSES:
        assert each.kind in (STRICTER, DECIDED, THEIRS)
        assert not re.search(each.words, "some other reason"), each.name
        assert any(re.search(each.done, name) for name in VARIATIONS), each.name
        assert any(re.search(each.also, name) for name in VARIATIONS), each.name
