"""The front ends that are known, and how settings describe another one.

App Service: https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.forwarding.encodings import ENCODINGS, ENCODINGS_WITH_CHAIN_HEADER
from arrcert.key_vault import UNRESOLVED_REFERENCE, is_unresolved_reference
from arrcert.notation import Notation


class FrontEnd(NamedTuple):
    """The properties of a TLS-terminating front end, as the operator declares them.

    Attributes:
        name: its name in settings.
        header: the header with the client certificate.
        encoding: one of `ENCODINGS`.
        chain_header: the header with the intermediates; None if the front end does not send them.
        verify_header: the header that says whether the front end validated the certificate.
        verify_value: the value of `verify_header` for a valid certificate.
        trusted_hops: the position of the client's element of `xfcc`, counted from the right.
        checks_certificates: True if it validates certificates, False if it only forwards them.
        http2: whether it speaks HTTP/2 to the app.
        normalizes_line_ends: whether each header line that reaches the app ends with CRLF, because
            the front end rejects or rewrites a bare LF and a lone CR (RFC 9112 section 2.2). None
            if that is not known.
        only_over_https: whether a request with `X-Forwarded-Proto: http` is denied.
    """

    name: str
    header: str
    encoding: str = "base64-der"
    chain_header: str | None = None
    verify_header: str | None = None
    verify_value: str | None = None
    trusted_hops: int = 1
    checks_certificates: bool = False
    http2: bool = False
    normalizes_line_ends: bool | None = None
    only_over_https: bool = False

    def __str__(self) -> str:
        return f"{self.header}, read as {self.encoding}"


_APP_SERVICE = FrontEnd(
    "app-service", "X-ARR-ClientCert", normalizes_line_ends=True, only_over_https=True
)

FRONT_ENDS: dict[str, FrontEnd] = {
    front_end.name: front_end
    for front_end in (
        # These front ends forward any certificate and check nothing.
        _APP_SERVICE,
        _APP_SERVICE._replace(name="functions"),
        FrontEnd("container-apps", "X-Forwarded-Client-Cert", "xfcc", normalizes_line_ends=True),
        FrontEnd("api-management", "X-Client-Cert"),
        FrontEnd("envoy", "X-Forwarded-Client-Cert", "xfcc", normalizes_line_ends=True),
        FrontEnd("rfc9440", "Client-Cert", "rfc9440", chain_header="Client-Cert-Chain"),
        # These front ends report in a second header whether the certificate is valid. The operator
        # chooses the names of both headers in the front end's configuration; the documentation
        # shows how to set the names below.
        FrontEnd(
            "application-gateway",
            "X-Client-Cert",
            "percent-encoded-pem",
            verify_header="X-Client-Cert-Verification",
            verify_value="SUCCESS",
            checks_certificates=True,
            normalizes_line_ends=True,
        ),
        FrontEnd(
            "nginx",
            "X-Client-Cert",
            "percent-encoded-pem",
            verify_header="X-Client-Verify",
            verify_value="SUCCESS",
            checks_certificates=True,
            normalizes_line_ends=True,
        ),
        FrontEnd(
            "haproxy",
            "X-Client-Cert",
            verify_header="X-Client-Verify",
            verify_value="0",
            checks_certificates=True,
            normalizes_line_ends=True,
        ),
    )
}
"""The known front ends, by the name in settings."""

_KEYS = tuple(field for field in FrontEnd._fields if field not in ("name", "only_over_https"))
_MOST_HOPS = 10


def front_end_from(
    value: object, *, setting: str = "front_end", notation: Notation = Notation.PYTHON
) -> FrontEnd:
    """Return the front end that a setting declares.

    Args:
        value: a name in `FRONT_ENDS`, a `FrontEnd`, or a mapping that describes one by its
            attributes; `header` is required.
        setting: the name of the setting, for errors.
        notation: how the setting is written, for errors.

    Raises:
        ConfigurationError: an unknown name or key, a value of the wrong kind, or only one of
            `verify_header` and `verify_value`.

    This cannot check that the front end really has these properties.
    """
    if isinstance(value, FrontEnd):
        return value
    if isinstance(value, str):
        if value in FRONT_ENDS:
            return FRONT_ENDS[value]
        known = ", ".join(f'"{name}"' for name in FRONT_ENDS)
        raise ConfigurationError(
            [
                Problem(
                    setting,
                    f"no front end is called {quote(value)}; write one of {known}, or describe"
                    ' yours by a mapping with "header", "encoding" and "checks_certificates"',
                )
            ]
        )
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            [
                Problem(
                    setting,
                    f"{quote(value)} is neither a front end's name nor a mapping; write"
                    ' "app-service" or {"header": "X-Client-Cert"}',
                )
            ]
        )
    return _described_front_end(value, setting, notation)


def _described_front_end(
    description: Mapping[Any, Any], setting: str, notation: Notation
) -> FrontEnd:
    problems: list[Problem] = []

    def complain(key: str, message: str) -> None:
        problems.append(Problem(f'{setting}["{key}"]' if key else setting, message))

    if "name" in description:
        return _known_front_end(description, setting, notation)
    keys = ", ".join(f'"{key}"' for key in _KEYS)
    for key in description:
        if key not in _KEYS:
            complain("", f"{quote(key)} is not a key of a front end; write one of {keys}")
    if "header" not in description:
        complain(
            "",
            '"header" is missing; write the header that your front end sets, such as'
            ' {"header": "X-Client-Cert"}',
        )
    names = [key for key in ("header", "chain_header", "verify_header") if key in description]
    for key in names:
        if not isinstance(description[key], str) or not is_header_name(description[key]):
            complain(key, why_no_header_name(description[key]))
    folded = [fold_header_name(str(description[key])) for key in names]
    if len(set(folded)) < len(folded):
        complain("", "two keys name the same header; write a different header for each key")
    encoding = description.get("encoding", "base64-der")
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        known = ", ".join(f'"{name}"' for name in ENCODINGS)
        complain("encoding", f"{quote(encoding)} is not known; write one of {known}")
    elif "chain_header" in description and encoding not in ENCODINGS_WITH_CHAIN_HEADER:
        complain(
            "chain_header",
            f'"{encoding}" has no chain header; remove it, or write "encoding": "rfc9440"',
        )
    for key, other in (("verify_header", "verify_value"), ("verify_value", "verify_header")):
        if key in description and other not in description:
            complain(key, f'"{other}" is missing, so nothing would be checked; write both')
    verify_value = description.get("verify_value")
    if "verify_value" in description and not (isinstance(verify_value, str) and verify_value):
        complain("verify_value", f'{quote(verify_value)} is not text; write "SUCCESS"')
    elif verify_value and is_unresolved_reference(verify_value):
        complain("verify_value", UNRESOLVED_REFERENCE)
    hops = description.get("trusted_hops", 1)
    if not isinstance(hops, int) or isinstance(hops, bool) or not 1 <= hops <= _MOST_HOPS:
        complain("trusted_hops", f"{quote(hops)} is not a number of hops; write 1 to {_MOST_HOPS}")
    elif "trusted_hops" in description and encoding != "xfcc":
        complain("trusted_hops", 'is only for the encoding "xfcc"; remove it')
    for key in ("checks_certificates", "http2", "normalizes_line_ends"):
        value = description.get(key, False)
        if not isinstance(value, bool):
            complain(key, f"{quote(value)} is not a truth value; write {notation.true_or_false}")
    if problems:
        raise ConfigurationError(problems)
    header = description["header"]
    # App Service sends no certificate over plain HTTP, even if its header is declared in another
    # way.
    only_over_https = fold_header_name(header) == fold_header_name(_APP_SERVICE.header)
    return FrontEnd(name=header, only_over_https=only_over_https, **description)


_FACTS_BESIDE_A_NAME = ("http2", "normalizes_line_ends")


def _known_front_end(description: Mapping[Any, Any], setting: str, notation: Notation) -> FrontEnd:
    """Return a known front end with properties of this site: {"name": ..., "http2": true}."""
    facts = {key: value for key, value in description.items() if key != "name"}
    if not facts or not set(facts) <= set(_FACTS_BESIDE_A_NAME):
        raise ConfigurationError(
            [
                Problem(
                    setting,
                    'with "name", only "http2" and "normalizes_line_ends" can be written; write'
                    ' {"name": "container-apps", "http2": ...}, or describe the front end without'
                    ' "name"',
                )
            ]
        )
    front_end = front_end_from(description["name"], setting=f'{setting}["name"]')
    problems = [
        Problem(
            f'{setting}["{key}"]',
            f"{quote(value)} is not a truth value; write {notation.true_or_false}",
        )
        for key, value in facts.items()
        if not isinstance(value, bool)
    ]
    if problems:
        raise ConfigurationError(problems)
    return front_end._replace(**facts)


def why_names_are_not_proven(front_end: FrontEnd) -> str | None:
    """Return why a front end does not prove the names in a certificate, None if it does.

    Args:
        front_end: the front end before the app.

    Returns:
        A message for a policy with `names_proven_by_front_end`, or None.
    """
    if front_end.checks_certificates and front_end.verify_header is not None:
        return None
    if front_end.checks_certificates:
        return (
            f"the front end {quote(front_end.name)} says nowhere that it has checked a certificate;"
            ' write "verify_header" and "verify_value" into ARRCERT_FRONT_END, or write'
            " trust_anchors or fingerprints instead"
        )
    return (
        f"the front end {quote(front_end.name)} forwards certificates"
        " without checking them, so it proves no names; write trust_anchors or fingerprints"
        " instead"
    )


def is_header_name(text: str) -> bool:
    """Return whether text is a header name of letters, digits and dashes (RFC 9110 section 5.1).

    WSGI cannot distinguish other names.
    """
    return text.isascii() and text.replace("-", "").isalnum()


def why_no_header_name(header: object) -> str:
    """Return the error message for a value that is not a header name."""
    name = header.strip(" :").replace("_", "-") if isinstance(header, str) else ""
    name = re.sub("(?i)^HTTP-", "", name)
    example = (
        quote(name)
        if is_header_name(name)
        else 'the header that your front end sets, such as "X-Client-Cert"'
    )
    return f"{quote(header)} is not a header's name; write {example}"


def fold_header_name(name: str) -> str:
    """Return a header's name in lower case, with a dash for each underscore and dot.

    Args:
        name: a header's name, such as `X_ARR.ClientCert`.

    If two names fold to the same text, some server or proxy treats them as the same header.
    """
    return name.strip().lower().replace("_", "-").replace(".", "-")
