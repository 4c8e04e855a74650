"""Checks of large bodies, long headers and large certificates."""

from __future__ import annotations

from arrcert.cli.probe.checks import Check, Finding
from arrcert.cli.probe.connection import Answer
from arrcert.cli.probe.report import Verdict
from arrcert.cli.probe.site import Site, is_same, listed

KILOBYTE = 1024
SMALL, LARGE = 1, 128
HEADER_KILOBYTES = (4, 7, 12, 20, 40, 60, 70)
CERTIFICATE_KILOBYTES = (4, 8, 16)
POSTS = 4


class Bodies(Check):
    """Whether the front end accepts bodies of more than 100 KB, the limit for TLS renegotiation.

    https://learn.microsoft.com/azure/app-service/app-service-web-configure-tls-mutual-auth
    """

    title = "bodies over 100 KB"
    requests = POSTS + 1

    def run(self, site: Site) -> Finding:
        """POST a small body, then a large one: simply, with `Expect`, and after a HEAD."""
        sent = f"POST of {SMALL} KB, then {LARGE} KB: simply, with Expect, after a HEAD"
        small = self._post(site, SMALL)
        large = self._post(site, LARGE)
        expected = self._post(site, LARGE, waits=True)
        behind = self._post_behind_head(site)
        answers = [
            ("small", small),
            ("large", large),
            ("with Expect", expected),
            ("after HEAD", behind),
        ]
        got = listed(answers)
        if is_same(large, small):
            return Finding(sent, got, Verdict.OK, "A large body is answered like a small one.")
        ways = [
            how
            for how, answer in (("Expect: 100-continue", expected), ("a HEAD first", behind))
            if is_same(answer, small)
        ]
        meaning = "A large body is refused before the site sees it" + (
            f"; {' or '.join(ways)} helps." if ways else ", and nothing helps."
        )
        if not site.calibration.asked_first:
            meaning += " The cause is TLS renegotiation: remove the exclusion paths."
        return Finding(sent, got, Verdict.NOTE, meaning)

    @staticmethod
    def _lines(kilobytes: int) -> list[str]:
        return [
            "Content-Type: application/octet-stream",
            f"Content-Length: {kilobytes * KILOBYTE}",
        ]

    def _post(self, site: Site, kilobytes: int, *, waits: bool = False) -> Answer:
        lines = self._lines(kilobytes)
        if waits:
            lines.append("Expect: 100-continue")
        body = b"x" * (kilobytes * KILOBYTE)
        return site.ask(site.allowed, lines, method="POST", body=body, waits=waits)

    def _post_behind_head(self, site: Site) -> Answer:
        with site.connected(site.allowed) as connection:
            if isinstance(connection, Answer):
                return connection
            kept = site.head(["Connection: keep-alive"], method="HEAD")
            answer = site.exchange(connection, kept)
            if answer.status is None or answer.header("connection").lower() == "close":
                return Answer(failure="not kept")
            head = site.head(self._lines(LARGE), method="POST")
            return site.exchange(connection, head, b"x" * (LARGE * KILOBYTE))


class HeaderSizes(Check):
    """How long a header may be."""

    title = "header sizes"
    requests = len(HEADER_KILOBYTES)

    def run(self, site: Site) -> Finding:
        """Send longer and longer header lines as the allowed client."""
        sent = "one header line of 4 to 70 KB, with your certificate"
        answers: list[tuple[int, Answer]] = []
        for kilobytes in HEADER_KILOBYTES:
            answer = site.ask(site.allowed, [f"X-Filler: {'x' * (kilobytes * KILOBYTE)}"])
            answers.append((kilobytes, answer))
            if not answer.entered:
                break
        got = ", ".join(f"{kilobytes} KB {answer}" for kilobytes, answer in answers)
        largest = max((size for size, answer in answers if answer.entered), default=0)
        if largest < CERTIFICATE_KILOBYTES[0]:
            meaning = "Even 4 KB are too long: large certificates will not arrive."
            return Finding(sent, got, Verdict.NOTE, meaning)
        meaning = f"{largest} KB pass. That is enough for a certificate of {largest * 3 // 4} KB."
        return Finding(sent, got, Verdict.OK, meaning)


class CertificateSizes(Check):
    """Whether large certificates reach the site."""

    title = "certificate sizes"
    requests = len(CERTIFICATE_KILOBYTES)

    def run(self, site: Site) -> Finding:
        """Present larger and larger certificates of strangers."""
        sent = "strangers' certificates of 4, 8 and 16 KB"
        answers = [
            (f"{kilobytes} KB", site.ask(site.mint.large(site.check, kilobytes)))
            for kilobytes in CERTIFICATE_KILOBYTES
        ]
        got = listed(answers)
        if any(answer.entered for _, answer in answers):
            return Finding(sent, got, Verdict.ENTRY, "A stranger with a large certificate gets in.")
        if all(is_same(answer, site.calibration.stranger) for _, answer in answers):
            meaning = (
                "They are refused like other certificates of strangers. If the log says `missing`,"
                " they do not reach the site."
            )
            return Finding(sent, got, Verdict.OK, meaning)
        meaning = (
            "A large certificate does not reach the site: a server on the way has a lower limit. A"
            " partner with a large certificate gets this answer. Raise the limit (gunicorn:"
            " --limit-request-field_size)."
        )
        return Finding(sent, got, Verdict.NOTE, meaning)


SIZES: tuple[Check, ...] = (Bodies(), HeaderSizes(), CertificateSizes())
