"""Who entered: the identity that an accepted certificate has under a policy."""

from __future__ import annotations

from dataclasses import dataclass

from arrcert.certificate import ClientCertificate


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """Who entered, and what let it in.

    An identity is made by an `Authorizer` and is immutable. It is always true in a condition.

    Attributes:
        name: the name that the policy gives to the client; None if it gives none.
        roles: the roles that the policy gives to the client.
        certificate: the certificate that was accepted.
        policy: the name of the policy that accepted it.
        alternative: the index of the alternative that accepted it, from 0.
        note: the note of the matching pin; None without one.
    """

    name: str | None
    roles: frozenset[str]
    certificate: ClientCertificate
    policy: str
    alternative: int = 0
    note: str | None = None
