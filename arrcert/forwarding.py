"""From what a front end forwards to DER: who sends what, and how strictly it is read.

App Service: https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from arrcert.exceptions import (
    CertificateDenied,
    ConfigurationError,
    DenialReason,
    Problem,
    quote,
)

MAX_HEADER_CHARACTERS = 16 * 1024
"""The longest header value that is decoded: 12 KB of DER, several times a real client certificate.

App Service passes on up to 64 KB of headers; the bound keeps small what a stranger can make us
parse.
"""

_FORWARDED_PROTO = "x-forwarded-proto"


class FrontEnd(NamedTuple):
    """What a TLS-terminating front end promises.

    Attributes:
        name: how settings name it.
        header: the one header that holds the client certificate.
        encoding: a key of `ENCODINGS`.
        checks_certificates: whether it validates certificates, or merely forwards them.
        only_over_https: whether a request that says `X-Forwarded-Proto: http` cannot carry one.
    """

    name: str
    header: str
    encoding: str = "base64-der"
    checks_certificates: bool = False
    only_over_https: bool = False


FRONT_ENDS: dict[str, FrontEnd] = {
    "app-service": FrontEnd("app-service", "X-ARR-ClientCert", only_over_https=True),
}
"""The front ends that settings may name. App Service forwards whatever it was given, unchecked."""


def front_end_from(value: object, *, setting: str = "front_end") -> FrontEnd:
    """Return the front end that a setting declares.

    Args:
        value: a name in `FRONT_ENDS`, a `FrontEnd`, or a mapping that describes one by `header`,
            `encoding` (default `"base64-der"`) and `checks_certificates` (default False).
        setting: what an error calls the setting.

    Raises:
        ConfigurationError: an unknown name or key, or a value of the wrong kind.

    It cannot check that the front end keeps its promise.
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
    return _described_front_end(value, setting)


def _described_front_end(description: Mapping[Any, Any], setting: str) -> FrontEnd:
    problems = [
        Problem(
            setting,
            f"{quote(key)} is not a key of a front end; write"
            ' "header", "encoding" or "checks_certificates"',
        )
        for key in description
        if key not in ("header", "encoding", "checks_certificates")
    ]
    header = description.get("header")
    if not isinstance(header, str) or not _is_header_name(header):
        problems.append(
            Problem(f'{setting}["header"]', _why_no_header_name(header))
            if "header" in description
            else Problem(
                setting,
                '"header" is missing; write the header that your front end sets, such as'
                ' {"header": "X-Client-Cert"}',
            )
        )
    encoding = description.get("encoding", "base64-der")
    if not isinstance(encoding, str) or encoding not in ENCODINGS:
        known = ", ".join(f'"{name}"' for name in ENCODINGS)
        problems.append(
            Problem(
                f'{setting}["encoding"]', f"{quote(encoding)} is not known; write one of {known}"
            )
        )
    checks_certificates = description.get("checks_certificates", False)
    if not isinstance(checks_certificates, bool):
        problems.append(
            Problem(
                f'{setting}["checks_certificates"]',
                f"{quote(checks_certificates)} is not a truth value; write True or False",
            )
        )
    if problems:
        raise ConfigurationError(problems)
    return FrontEnd(str(header), str(header), str(encoding), bool(checks_certificates))


def _is_header_name(text: str) -> bool:
    """Tell whether text is a token that can be told apart in WSGI (RFC 9110 section 5.1)."""
    return text.isascii() and text.replace("-", "").isalnum()


def _why_no_header_name(header: object) -> str:
    name = header.strip(" :").replace("_", "-") if isinstance(header, str) else ""
    name = re.sub("(?i)^HTTP-", "", name)
    example = (
        quote(name)
        if _is_header_name(name)
        else 'the header that your front end sets, such as "X-Client-Cert"'
    )
    return f"{quote(header)} is not a header's name; write {example}"


def fold_header_name(name: str) -> str:
    """Return a header's name with everything folded that some server or proxy folds.

    Args:
        name: a header's name, such as `X_ARR.ClientCert`.

    Two names that fold to the same text can end up under one key of a WSGI environ.
    """
    return name.strip().lower().replace("_", "-").replace(".", "-")


def header_from_wsgi(front_end: FrontEnd, environ: Mapping[str, Any]) -> str | None:
    """Return the declared header's text from a WSGI environ (PEP 3333), None where it is absent.

    Args:
        front_end: whose header is wanted.
        environ: the WSGI environ of the request.

    Raises:
        CertificateDenied: `insecure_transport`.

    A WSGI server joins repeated headers by commas, which decoding refuses, and may fold a
    look-alike name into the same key, which cannot be seen from here.
    """
    if front_end.only_over_https:
        proto = environ.get("HTTP_X_FORWARDED_PROTO")
        if proto is not None:
            _require_https(proto)
    value: str | None = environ.get("HTTP_" + front_end.header.upper().replace("-", "_"))
    return value


def header_from_pairs(
    front_end: FrontEnd, pairs: Iterable[tuple[str | bytes, str | bytes]]
) -> str | None:
    """Return the declared header's text from a list of headers, None where it is absent.

    Args:
        front_end: whose header is wanted.
        pairs: every header of the request as (name, value), text or bytes, in any case.

    Raises:
        CertificateDenied: `insecure_transport`; `ambiguous` where the header comes twice or beside
            a name that looks like it.

    It sees what the server hands over: trailers that a server appends count as headers.
    """
    wanted = front_end.header.lower()
    folded = fold_header_name(wanted)
    values: list[str] = []
    protos: list[str] = []
    look_alike: str | None = None
    for raw_name, raw_value in pairs:
        name = _text(raw_name).lower()
        if len(name) < len(folded) and name != _FORWARDED_PROTO:
            continue
        if name == wanted:
            values.append(_text(raw_value))
        elif name == _FORWARDED_PROTO:
            protos.append(_text(raw_value))
        elif fold_header_name(name) == folded:
            look_alike = name
    if front_end.only_over_https and protos:
        # Joined as a WSGI server joins them: a header that comes twice is not one word.
        _require_https(",".join(protos))
    if look_alike is not None:
        raise CertificateDenied(
            DenialReason.AMBIGUOUS,
            f"the header {quote(look_alike)} looks like {front_end.header}, which the front end"
            " sets; nobody but an attacker sends it",
        )
    if len(values) > 1:
        raise CertificateDenied(
            DenialReason.AMBIGUOUS, f"{front_end.header} came {len(values)} times"
        )
    return values[0] if values else None


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _require_https(proto: object) -> None:
    if isinstance(proto, str) and proto.lower() == "https":
        return
    why = (
        "which is more than one value: somebody sent the header a second time, or a second proxy"
        " added one"
        if isinstance(proto, str) and "," in proto
        else "so the request did not come over TLS and no certificate can have come with it; turn"
        " on HTTPS Only for the app"
    )
    raise CertificateDenied(
        DenialReason.INSECURE_TRANSPORT, f"X-Forwarded-Proto is {quote(proto)}, {why}"
    )


def decode(front_end: FrontEnd, value: object) -> bytes:
    """Return the DER that the front end's header holds.

    Args:
        front_end: whose encoding is expected.
        value: the header's text; None or "" where there is none.

    Raises:
        CertificateDenied: `missing`, `too_large`, `ambiguous` or `malformed`.

    It does not parse the DER: that it is one certificate is `ClientCertificate.from_der`'s to say.
    """
    if value is None or value == "":
        raise CertificateDenied(
            DenialReason.MISSING, f"no {front_end.header}: the client presented no certificate"
        )
    if not isinstance(value, str):
        raise _malformed(front_end, f"is {type(value).__name__}, not text")
    if len(value) > MAX_HEADER_CHARACTERS:
        raise CertificateDenied(
            DenialReason.TOO_LARGE,
            f"{front_end.header} has {len(value)} characters; at most"
            f" {MAX_HEADER_CHARACTERS} are read",
        )
    return ENCODINGS[front_end.encoding](front_end, value)


def decode_base64_der(front_end: FrontEnd, value: str) -> bytes:
    """Decode bare base64 (RFC 4648 section 4) of one DER certificate, as App Service writes it.

    Args:
        front_end: whose header it is, for the text of a denial.
        value: the header's text, not empty.

    Raises:
        CertificateDenied: `ambiguous` where a comma joins two values; `malformed` where the text is
            anything but the one canonical encoding of the bytes. Nothing is repaired.
    """
    if "," in value:
        raise CertificateDenied(
            DenialReason.AMBIGUOUS,
            f"{front_end.header} holds a comma: somebody sent the header a second time, or a second"
            " proxy added one",
        )
    try:
        der = binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise _malformed(front_end, _why_not_base64(value)) from error
    if binascii.b2a_base64(der, newline=False) != value.encode("ascii"):
        raise _malformed(
            front_end, "is base64 with wrong padding, or with padding bits that are not zero"
        )
    return der


def _why_not_base64(value: str) -> str:
    """Tell the operator which well-known other form the text has."""
    if value.startswith("-----BEGIN"):
        return "has PEM armour"
    if "%" in value:
        return "is percent-encoded; is another front end in front of the app than was declared?"
    if any(character.isspace() for character in value):
        return "holds white space"
    if "-" in value or "_" in value:
        return "is URL-safe base64"
    return "is not base64"


def _malformed(front_end: FrontEnd, what: str) -> CertificateDenied:
    return CertificateDenied(
        DenialReason.MALFORMED,
        f"{front_end.header} {what}; expected is exactly one certificate as {front_end.encoding}",
    )


ENCODINGS: dict[str, Callable[[FrontEnd, str], bytes]] = {"base64-der": decode_base64_der}
"""The encodings that a front end may be described by, and what decodes each."""
