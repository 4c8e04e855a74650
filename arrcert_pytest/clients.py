"""The clients that a project lists for its tests, with their certificates and policies."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import pytest

from arrcert.exceptions import quote
from arrcert.settings.names import POLICIES, POLICY_VARIABLES, PYTEST_VARIABLE
from arrcert.testing import CertificateAuthority, IssuedCertificate

LONGEST_NAME = 64
"""The upper bound of a common name (RFC 5280 appendix A.1, ub-common-name), in bytes, because
cryptography counts bytes."""

_EXAMPLE = "bob policy=partners roles=orders"


class Client(NamedTuple):
    """One line of the option `arrcert_clients`.

    Attributes:
        name: the common name of the certificate.
        policy: the name of the policy that accepts the client.
        identity: the identity that the policy gives.
        roles: the roles that the policy gives.
    """

    name: str
    policy: str
    identity: str
    roles: tuple[str, ...]


class Clients:
    """The clients that may enter in the tests of a project.

    Args:
        lines: the lines of the option `arrcert_clients`.

    Attributes:
        authority: the authority that issued the certificates. No policy trusts it.
        issued: the certificate of each client, by name.
        policies: a value for the setting `ARRCERT`.

    Raises:
        pytest.UsageError: a line has a mistake.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.authority = CertificateAuthority("Test CA")
        self.issued: dict[str, IssuedCertificate] = {}
        self.policies: dict[str, Any] = {}
        seen: set[tuple[str, str]] = set()
        for line in lines:
            client = _client(line)
            if (client.name, client.policy) in seen:
                raise _not_understood(
                    line, f"lists {quote(client.name)} twice for the policy {quote(client.policy)}"
                )
            seen.add((client.name, client.policy))
            if client.name not in self.issued:
                self.issued[client.name] = self.authority.issue(client.name)
            pin: dict[str, Any] = {
                "fingerprint": self.issued[client.name].certificate.sha256_fingerprint,
                "identity": client.identity,
            }
            if client.roles:
                pin["roles"] = list(client.roles)
            policy = self.policies.setdefault(client.policy, {"fingerprints": []})
            policy["fingerprints"].append(pin)


def set_environment(environment: pytest.MonkeyPatch, policies: Mapping[str, Any]) -> None:
    """Put policies into the environment, in place of those that are there.

    Args:
        environment: pytest's `MonkeyPatch`, which restores the variables later.
        policies: the value for the setting `ARRCERT`.

    Other policies in the environment are removed, such as those that a shell has exported. Other
    settings stay as they are.
    """
    for name in POLICY_VARIABLES:
        environment.delenv(name, raising=False)
    for name in (POLICIES, PYTEST_VARIABLE):
        environment.setenv(name, json.dumps(policies))


def _client(line: str) -> Client:
    try:
        name, *rest = shlex.split(line)
    except ValueError as error:
        raise _not_understood(line, f"cannot be split into words: {error}") from None
    if not name or "=" in name:
        raise _not_understood(line, "does not begin with a name")
    if len(name.encode()) > LONGEST_NAME:
        raise _not_understood(line, f"has a name of more than {LONGEST_NAME} bytes")
    written: dict[str, str] = {}
    for word in rest:
        key, _, value = word.partition("=")
        if key not in ("policy", "identity", "roles"):
            raise _not_understood(
                line,
                f"holds {quote(word)}; a name with spaces needs quotation marks, and the keys are"
                " policy, identity and roles",
            )
        if not value or key in written:
            raise _not_understood(line, f"needs one value for {key}")
        written[key] = value
    roles = tuple(written["roles"].split(",")) if "roles" in written else ()
    if not all(roles):
        raise _not_understood(line, "has an empty role")
    return Client(name, written.get("policy", "default"), written.get("identity", name), roles)


def _not_understood(line: str, why: str) -> pytest.UsageError:
    return pytest.UsageError(
        f"arrcert_clients: the line {quote(line)} {why}; write a name and its keys, such as"
        f" {quote(_EXAMPLE)}"
    )
