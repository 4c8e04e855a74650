"""The shape of the chain: what is on the path, beside it and missing (RFC 5280 section 6.1)."""

from __future__ import annotations

import copy
from datetime import timedelta

from tools.differential.certificates import (
    AT,
    BASIC_CONSTRAINTS,
    Certificate,
    basic_constraints,
    moment,
)
from tools.differential.chains import Draft, make_authority, set_key_identifiers
from tools.differential.keys import key
from tools.differential.registry import variation


def _twin(certificate: Certificate) -> Certificate:
    """Return a copy of a certificate with its own dictionaries and lists."""
    twin = copy.copy(certificate)
    twin.extensions = dict(certificate.extensions)
    twin.more_extensions = list(certificate.more_extensions)
    twin.before_signing = list(certificate.before_signing)
    twin.after_signing = list(certificate.after_signing)
    return twin


def _unrelated(draft: Draft, role: str) -> Certificate:
    other = make_authority(9, draft.random, role)
    set_key_identifiers(other, other)
    return other


@variation("chain", "another anchor beside", "beside")
def _another_anchor(draft: Draft, _leaf: Certificate) -> None:
    other = _unrelated(draft, "anchor")
    draft.more_anchors.append((other, other))


@variation("chain", "an unrelated intermediate beside", "beside")
def _another_intermediate(draft: Draft, _leaf: Certificate) -> None:
    other = _unrelated(draft, "intermediate")
    draft.more_intermediates.append((other, draft.anchor))


@variation("chain", "an anchor of the same name and another key beside", "alone")
def _anchor_namesake(draft: Draft, _leaf: Certificate) -> None:
    other = _twin(draft.anchor)
    other.key = key("P-256", 40)
    other.identifier = other.key.identifier
    set_key_identifiers(other, other)
    draft.more_anchors.append((other, other))


@variation("chain", "an intermediate of the issuer's name and another key beside", "alone")
def _intermediate_namesake(draft: Draft, _leaf: Certificate) -> None:
    other = _twin(draft.path[1])
    other.role = "intermediate"
    other.key = key("P-256", 41)
    other.identifier = other.key.identifier
    set_key_identifiers(other, draft.anchor)
    draft.more_intermediates.append((other, draft.anchor))


@variation("chain", "the issuer has an expired twin", "alone")
def _expired_twin(draft: Draft, _leaf: Certificate) -> None:
    if draft.path[1] is draft.anchor:
        draft.insert_intermediate()
    other = _twin(draft.path[1])
    other.not_after = moment(AT - timedelta(days=1))
    draft.more_intermediates.append((other, draft.path[2]))


@variation("chain", "the anchor has an expired twin among the anchors", "alone")
def _expired_anchor_twin(draft: Draft, _leaf: Certificate) -> None:
    other = _twin(draft.anchor)
    other.not_after = moment(AT - timedelta(days=1))
    draft.more_anchors.append((other, other))


@variation("chain", "the anchor has a twin that is no CA among the anchors", "alone")
def _anchor_no_ca_twin(draft: Draft, _leaf: Certificate) -> None:
    other = _twin(draft.anchor)
    other.set(BASIC_CONSTRAINTS, basic_constraints(ca=False), critical=True)
    draft.more_anchors.append((other, other))


@variation("chain", "the anchor is among the intermediates too", "beside")
def _anchor_as_intermediate(draft: Draft, _leaf: Certificate) -> None:
    draft.more_intermediates.append((draft.anchor, draft.issuer_of(draft.anchor)))


@variation("chain", "an intermediate is missing", "alone")
def _missing_intermediate(draft: Draft, _leaf: Certificate) -> None:
    if draft.path[1] is draft.anchor:
        draft.insert_intermediate()
    draft.left_out.append(draft.random.choice(draft.path[1:-1]))


@variation("chain", "the anchor is another CA of the same name", "alone")
def _wrong_anchor(draft: Draft, _leaf: Certificate) -> None:
    other = _twin(draft.anchor)
    other.key = key("P-256", 42)
    other.identifier = other.key.identifier
    set_key_identifiers(other, other)
    draft.left_out.append(draft.anchor)
    draft.more_anchors.append((other, other))


@variation("chain", "the anchor is unrelated", "alone")
def _unrelated_anchor(draft: Draft, _leaf: Certificate) -> None:
    other = _unrelated(draft, "anchor")
    draft.left_out.append(draft.anchor)
    draft.more_anchors.append((other, other))


@variation("chain", "the root is only among the intermediates", "alone")
def _root_not_trusted(draft: Draft, _leaf: Certificate) -> None:
    other = _unrelated(draft, "anchor")
    draft.left_out.append(draft.anchor)
    draft.more_intermediates.append((draft.anchor, draft.anchor))
    draft.more_anchors.append((other, other))


@variation("chain", "the anchor is not self-signed", "root", "shape")
def _anchored_intermediate(draft: Draft, _leaf: Certificate) -> None:
    draft.root = make_authority(8, draft.random, "root")
    set_key_identifiers(draft.anchor, draft.root)


@variation("chain", "the leaf itself is the only anchor", "alone")
def _leaf_is_anchor(draft: Draft, _leaf: Certificate) -> None:
    draft.left_out.append(draft.anchor)
    draft.more_anchors.append((draft.leaf, draft.path[1]))


@variation("chain", "the leaf is an anchor beside its CA", "alone")
def _leaf_is_anchor_too(draft: Draft, _leaf: Certificate) -> None:
    draft.more_anchors.append((draft.leaf, draft.path[1]))


@variation("chain", "the leaf is self-signed and no anchor", "alone")
def _self_signed_leaf(_draft: Draft, leaf: Certificate) -> None:
    leaf.signer, leaf.issuer = leaf.key, leaf.subject
    set_key_identifiers(leaf, leaf)


@variation("chain", "the leaf is self-signed and an anchor", "alone")
def _self_signed_anchor(draft: Draft, leaf: Certificate) -> None:
    leaf.signer, leaf.issuer = leaf.key, leaf.subject
    set_key_identifiers(leaf, leaf)
    draft.more_anchors.append((leaf, leaf))


@variation("chain", "the leaf bears the anchor's name", "alone")
def _leaf_named_as_anchor(draft: Draft, leaf: Certificate) -> None:
    leaf.subject = draft.anchor.subject


@variation("chain", "the issuer is an end entity certificate", "alone")
def _leaf_as_issuer(draft: Draft, leaf: Certificate) -> None:
    other = draft.insert_intermediate()
    other.extensions = dict(leaf.extensions)
    set_key_identifiers(other, draft.path[2])


@variation("chain", "the intermediate is self-issued", "alone")
def _self_issued(draft: Draft, _leaf: Certificate) -> None:
    added = draft.insert_intermediate()
    added.subject = draft.path[2].subject


@variation("chain", "self-issued below pathLenConstraint 0", "alone")
def _self_issued_path_length(draft: Draft, _leaf: Certificate) -> None:
    added = draft.insert_intermediate()
    added.subject = draft.path[2].subject
    draft.path[2].set(BASIC_CONSTRAINTS, basic_constraints(ca=True, path_length=0), critical=True)


@variation("chain", "two intermediates certify each other", "alone")
def _loop(draft: Draft, _leaf: Certificate) -> None:
    if draft.path[1] is draft.anchor:
        draft.insert_intermediate()
    if draft.path[2] is draft.anchor:
        draft.insert_intermediate()
    upper, lower = draft.path[2], draft.path[1]
    back = _twin(upper)
    set_key_identifiers(back, lower)
    draft.more_intermediates.append((back, lower))


@variation("chain", "two intermediates certify each other, and no anchor them", "alone")
def _loop_without_anchor(draft: Draft, leaf: Certificate) -> None:
    _loop(draft, leaf)
    draft.left_out.append(draft.path[2])


@variation("chain", "eight intermediates", "alone")
def _long(draft: Draft, _leaf: Certificate) -> None:
    while len(draft.path) < 10:
        draft.insert_intermediate()


@variation("chain", "nine intermediates", "alone")
def _longer(draft: Draft, _leaf: Certificate) -> None:
    while len(draft.path) < 11:
        draft.insert_intermediate()


@variation("chain", "cross-signed: the anchor above and a second one", "alone")
def _cross_signed(draft: Draft, _leaf: Certificate) -> None:
    if draft.path[1] is draft.anchor:
        draft.insert_intermediate()
    other = _unrelated(draft, "anchor")
    cross = _twin(draft.path[1])
    set_key_identifiers(cross, other)
    draft.more_intermediates.append((cross, other))
    draft.more_anchors.append((other, other))


@variation("chain", "no anchor is in force, a twin is", "alone")
def _anchor_twin_in_force(draft: Draft, _leaf: Certificate) -> None:
    twin = _twin(draft.anchor)
    draft.anchor.not_after = moment(AT - timedelta(days=1))
    draft.more_anchors.append((twin, twin))
