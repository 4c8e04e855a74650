"""The first three requests, which are the reference for the others, and the mode that they show."""

from __future__ import annotations

from collections.abc import Iterator

from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import (
    NOT_TRUSTED,
    NOTHING_LISTENS,
    Answer,
    Endpoint,
    can_see_handshakes,
    is_refusal_by_tls,
)
from arrcert.cli.probe.report import Row, Verdict
from arrcert.cli.probe.site import Calibration, Site, is_same

REQUESTS = 3
_REFUSALS = (400, 401, 403, 495, 496)
"""The statuses of a refusal. nginx uses 496 for a missing and 495 for a wrong certificate, and then
sends 400."""


class NoCalibrationError(Exception):
    """The answers to the first requests do not allow any conclusion about the site."""


def calibrate(site: Site) -> Iterator[Row]:
    """Send a request without a certificate, one as a stranger, and one as the allowed client.

    The allowed client comes last, because a cache or a session may remember a client that was
    accepted.

    Args:
        site: the site. Its attribute `calibration` is set.

    Raises:
        NoCalibrationError: the allowed client does not get in, a client without a certificate is
            not refused, or no answer comes.
        SilentError: the site has stopped answering.
    """
    site.check = "01 no certificate"
    nobody = site.ask(None)
    is_refused = nobody.status in _REFUSALS or is_refusal_by_tls(nobody)
    yield Row(
        site.check,
        f"GET {site.path} without a certificate",
        str(nobody),
        Verdict.OK if is_refused else Verdict.UNKNOWN,
        _meaning_of(nobody, is_refused=is_refused),
    )
    if nobody.status is None and not is_refused:
        raise NoCalibrationError(_why_no_answer(nobody, site.endpoint))
    if nobody.entered:
        raise NoCalibrationError(
            f"{site.path} is open to everybody; name a page that needs a certificate. If this page"
            " should need one, it is not protected"
        )
    if not is_refused:
        raise NoCalibrationError(
            f"without a certificate {site.path} gives {nobody} and not 403; name a page that needs"
            " a certificate"
        )

    site.check = "02 a stranger"
    stranger = site.ask(site.stranger())
    if stranger.entered:
        verdict, meaning = (
            Verdict.ENTRY,
            (
                "Anybody with any certificate gets in: the site does not check who issued it or"
                " whether it is pinned. Write fingerprints or trust_anchors into its policy."
            ),
        )
    elif is_same(stranger, nobody) and site.checks_nothing:
        verdict, meaning = Verdict.OK, "The site refuses it, like a missing certificate."
    elif is_same(stranger, nobody):
        verdict, meaning = Verdict.OK, "It is refused, like a missing certificate."
    elif stranger.status == 403:
        verdict, meaning = Verdict.OK, "The site refuses it. This answer is the site's own 403."
    else:
        verdict, meaning = (
            Verdict.NOTE,
            (
                "It is refused, but not by a 403 of the site: a front end seems to check"
                " certificates. Then the probe cannot find out what the site would answer."
            ),
        )
    sent = f"GET {site.path} with a stranger's certificate"
    yield Row(site.check, sent, str(stranger), verdict, meaning)

    site.check = "03 your certificate"
    first = later = 0
    with site.connected(site.allowed) as connection:
        if isinstance(connection, Answer):
            allowed = connection
        else:
            allowed = site.exchange(connection, site.head())
            first = connection.opened_with
            later = len(connection.observed.requests) - first
    yield Row(
        site.check,
        f"GET {site.path} with your certificate",
        str(allowed),
        Verdict.OK if allowed.entered else Verdict.UNKNOWN,
        "It gets in." if allowed.entered else "It does not get in.",
    )
    if not allowed.entered:
        raise NoCalibrationError(_why_not_allowed(allowed, asked=bool(first or later)))
    site.calibration = Calibration(allowed, stranger, nobody, first, later)


def _meaning_of(answer: Answer, *, is_refused: bool) -> str:
    if is_refused:
        return "It is refused."
    return "No answer came." if answer.status is None else "It is not refused."


def _why_no_answer(answer: Answer, endpoint: Endpoint) -> str:
    """Return why the first request got no answer, and what to do."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    address = f"{host}:{endpoint.port}"
    if answer.failure == NOTHING_LISTENS:
        return f"nothing listens at {address}; check the host and the port of the URL"
    if answer.failure.startswith(NOT_TRUSTED):
        problem = answer.failure.removeprefix(f"{NOT_TRUSTED}: ").rstrip(".")
        return (
            f"{NOT_TRUSTED} ({problem}); use --cacert FILE with the certificate of its CA, or"
            " --insecure"
        )
    return f"no answer came from {address} ({answer})"


def _why_not_allowed(answer: Answer, *, asked: bool) -> str:
    if answer.status is None:
        return f"your certificate gets no answer ({answer})"
    if answer.status == 403 and not asked:
        return (
            "the site never requests a certificate, so yours does not reach it. Turn client"
            " certificates on: on App Service, change the mode from Ignore to Required"
        )
    if 300 <= answer.status < 400:
        return f"{answer} redirects; name the page that it leads to"
    return f"your certificate gets {answer}; the probe needs one that gets 200 on this page"


class Expired(Check):
    """Whether a front end checks the dates of a certificate."""

    title = "expired certificate"
    requests = 1

    def run(self, site: Site) -> Finding:
        """Present a stranger's certificate that has expired."""
        answer = site.ask(site.mint.expired(site.check))
        sent = "a stranger's certificate that expired yesterday"
        if answer.entered:
            return Finding(sent, str(answer), Verdict.ENTRY, "An expired stranger gets in.")
        if site.is_sites_refusal(answer):
            meaning = "It reaches the site: the front end does not check dates, so the site must."
            return Finding(sent, str(answer), Verdict.OK, meaning)
        return Finding(sent, str(answer), Verdict.NOTE, "The front end itself refuses it.")


class WhoRefuses(Check):
    """Whether the site or the front end refuses clients without a certificate, and strangers."""

    title = "who refuses"
    requests = 0

    def run(self, site: Site) -> Finding:
        """Compare the two refusals."""
        nobody, stranger = site.calibration.nobody, site.calibration.stranger
        sent = "the answers of checks 01 and 02, compared"
        if stranger.entered:
            return Finding(
                sent, "-", Verdict.UNKNOWN, "A stranger gets in, so the probe cannot tell."
            )
        by = site.refused_by(nobody)
        got = f"without one: {by}; a stranger: {site.refused_by(stranger)}"
        meaning = (
            "Both requests reach the site, and only the site decides."
            if by == "the site"
            else "A client without a certificate does not reach the site."
        )
        return Finding(sent, got, Verdict.OK, meaning)


class Mode(Check):
    """The client certificate mode, and when the server requests the certificate."""

    title = "mode"
    requests = 0

    def run(self, site: Site) -> Finding:
        """Look at the handshake messages, and at whether the site or the front end refused."""
        sent = "the handshake of check 03"
        first, later = site.calibration.asked_first, site.calibration.asked_later
        is_required = site.refused_by(site.calibration.nobody) == "the front end"
        if first and site.calibration.stranger.entered:
            got = "asked for in the first handshake"
            return Finding(sent, got, Verdict.OK, "Required or Optional.")
        if first:
            mode = "Required" if is_required else "Optional"
            got = f"{mode}, asked for in the first handshake"
            return Finding(sent, got, Verdict.OK, "TLS 1.3, HTTP/2 and large bodies can work.")
        if later:
            got = "asked for after the request (renegotiation)"
            meaning = (
                "The mode Optional Interactive User or an exclusion path has this effect. It"
                " prevents TLS 1.3, HTTP/2 and bodies over 100 KB. Use Required or Optional without"
                " exclusion paths."
            )
            return Finding(sent, got, Verdict.NOTE, meaning)
        meaning = (
            "This version of Python does not show handshake messages."
            if not can_see_handshakes()
            else "But your certificate gets in: the page does not need one."
        )
        return Finding(sent, "no request for a certificate seen", Verdict.UNKNOWN, meaning)
