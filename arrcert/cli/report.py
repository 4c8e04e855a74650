"""What `arrcert explain` prints for people.

The text of certificates is escaped by `quote` before it is passed to this module. It is printed as
plain text, so rich does not interpret it as markup. If the output is not a terminal, it has no
colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from arrcert.certificate import ClientCertificate
from arrcert.cli.certificates import Given
from arrcert.cli.folders import Row
from arrcert.cli.sites import Site
from arrcert.cli.suggestions import Suggestion, as_json, as_python, as_toml, merged
from arrcert.exceptions import quote
from arrcert.explanation import (
    AlternativeResult,
    PathResult,
    PolicyResult,
    days_left,
    key_identifiers,
    name_of,
)
from arrcert.keys import description_of_key
from arrcert.moments import timestamp
from arrcert.presented import Presented
from arrcert.terminal import UNLIMITED, width_of

MOST_NAMES = 20
"""How many names of a certificate are shown."""

MOST_LINES = 40
"""The whole value of `ARRCERT` is shown if it has at most this number of lines."""

GOOD, BAD, STRONG = "green", "red", "bold"


class Report:
    """Prints an explanation.

    Args:
        stream: where to print.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._console = Console(
            file=stream, width=width_of(stream), highlight=False, markup=False, emoji=False
        )

    def certificate(self, given: Given, at: datetime, notes: Sequence[str]) -> None:
        """Print the facts of a certificate."""
        certificate = given.certificate
        presented = Presented(certificate)
        self._heading("Certificate")
        facts = _grid(13)
        for label, value in (
            ("subject", quote(certificate.subject)),
            ("issuer", quote(certificate.issuer)),
            ("DNS names", _names(certificate.dns_names)),
            ("URIs", _names(certificate.uris)),
            ("e-mail", _names(certificate.email_addresses)),
            ("serial number", f"{certificate.serial_number:X}"),
            ("valid from", timestamp(certificate.not_valid_before_utc)),
            (
                "valid until",
                f"{timestamp(certificate.not_valid_after_utc)}, {_left(certificate, at)}",
            ),
            ("key", description_of_key(certificate.x509)),
            ("CA", "CA:TRUE, it is a CA certificate" if certificate.is_ca else ""),
            ("SHA-256", certificate.sha256_fingerprint),
            ("SHA-1", certificate.sha1_fingerprint),
            ("public key", presented.public_key_fingerprint or "cannot be read"),
            ("judged at", timestamp(at)),
        ):
            if value:
                facts.add_row(Text(label), Text(value))
        self._print(facts)
        for note in notes:
            self._item("-", Text.assemble(("Note: ", STRONG), note))

    def policy(self, result: PolicyResult) -> None:
        """Print what each alternative of a policy says, rule by rule."""
        self._line()
        verdict = Text.assemble(
            (f"Policy {quote(result.name)}: ", STRONG),
            ("accepted", f"{STRONG} {GOOD}") if result.accepted else ("DENIED", f"{STRONG} {BAD}"),
        )
        if result.denial is not None:
            verdict.append(f", {result.denial.reason}")
        self._print(verdict, 0)
        if result.identity is not None:
            if result.identity.name is not None:
                roles = ", ".join(sorted(result.identity.roles)) or "none"
                self._print(Text(f"identity {quote(result.identity.name)}, roles {quote(roles)}"))
            if result.identity.note is not None:
                self._print(Text(f"note of the pin: {quote(result.identity.note)}"))
        for number, alternative in enumerate(result.alternatives, start=1):
            if len(result.alternatives) > 1:
                self._line()
                which = f"Alternative {number}: "
                word = ("accepts", GOOD) if alternative.accepted else ("denies", BAD)
                self._print(Text.assemble((which, STRONG), word))
            self._alternative(alternative)

    def _alternative(self, alternative: AlternativeResult) -> None:
        rules = Table.grid(padding=(0, 1, 0, 0))
        rules.add_column(width=5)
        rules.add_column(width=18)
        rules.add_column(overflow="fold")
        for rule in alternative.rules:
            if rule.holds is None:
                state, text = Text("-"), Text(rule.detail)
            elif rule.holds:
                state, text = Text("ok", GOOD), Text(rule.detail)
            else:
                state = Text("FAILS", f"{STRONG} {BAD}")
                text = Text(f"{rule.reason}: {rule.detail}\nwanted: {rule.wanted}")
            rules.add_row(state, Text(rule.label), text)
        self._print(rules)
        if alternative.path is not None:
            self._path(alternative.path)
        if alternative.until is not None:
            self._print(
                Text(f"This holds until {timestamp(alternative.until)}, if nothing changes.")
            )

    def _path(self, path: PathResult) -> None:
        if path.is_valid:
            title = "The path"
        elif path.valid_at is not None:
            title = (
                f"The path within the validity of the certificate, at {timestamp(path.valid_at)}"
            )
        elif path.steps[-1].role == "trust anchor":
            title = "The path by its signatures, which is not valid"
        else:
            title = "Where the path breaks"
        self._print(Text(f"{title}:"))
        steps = Table.grid(padding=(0, 1, 0, 0))
        steps.add_column(width=3)
        # This is the width of the rules above, unless the path has a longer role.
        steps.add_column(min_width=18)
        steps.add_column(overflow="fold")
        for number, step in enumerate(path.steps, start=1):
            until = timestamp(step.certificate.not_valid_after_utc)
            steps.add_row(
                Text(f"{number}."),
                Text(step.role),
                Text(f"{quote(name_of(step.certificate))}, until {until}"),
            )
        if path.missing is not None:
            _, authority = key_identifiers(path.steps[-1].certificate)
            wanted = f" with the key identifier {authority}" if authority else ""
            steps.add_row(
                Text(f"{len(path.steps) + 1}."),
                Text("MISSING", f"{STRONG} {BAD}"),
                Text(
                    f"the certificate of the CA {quote(path.missing)}{wanted}; if you trust what it"
                    " leads to, get it from the partner or the CA, and add it to intermediates or"
                    " trust_anchors"
                ),
            )
        elif not path.is_valid and path.valid_at is None and path.steps[-1].role != "trust anchor":
            steps.add_row(
                Text(f"{len(path.steps) + 1}."),
                Text("ends here", f"{STRONG} {BAD}"),
                Text("the certificate above is self-signed, and it is not a trust anchor"),
            )
        self._print(steps, 4)

    def say(self, sentence: str) -> None:
        """Print a sentence after the verdicts."""
        self._line()
        self._print(Text(sentence), 0)

    def suggestions(
        self,
        certificate: ClientCertificate,
        names: Sequence[str],
        found: Sequence[Suggestion],
        reasons: Sequence[str],
        site: Site,
    ) -> None:
        """Print what to write, or why nothing is suggested. Suggestions are for one policy."""
        name = names[0]
        which = f"policy {quote(name)}" if len(names) == 1 else "a policy"
        self._line()
        self._heading(f"What to write, so that {which} accepts it")
        for reason in reasons:
            self._item("-", Text.assemble(("Nothing: ", f"{STRONG} {BAD}"), reason))
        if not found and not reasons:
            self._print(Text("There is no suggestion. Correct what makes the rules above fail."))
        for number, suggestion in enumerate(found, start=1):
            self._item(f"{number}.", Text(suggestion.title))
            for warning in suggestion.warnings:
                self._item("", Text.assemble(("Warning: ", STRONG), warning))
            self._paste(_alternative_text(name, suggestion, site))
        if found and site.language != "toml":
            self._whole(name, found[0], site)
        if len(found) == 1 and not certificate.is_ca and certificate.subject != certificate.issuer:
            self._print(
                Text(
                    "Another way: get the certificate of its CA from the CA itself. Write it as"
                    " trust_anchors of an alternative that also has the client's name, and run"
                    " this command again. Do not do this for a public CA."
                )
            )

    def _whole(self, name: str, suggestion: Suggestion, site: Site) -> None:
        """Print the whole setting with the first suggestion."""
        pins = _flat_pins(site, suggestion)
        if pins is not None:
            self._print(Text("With the first suggestion, the environment variable is:"))
            self._paste(f"ARRCERT_FINGERPRINTS={pins}")
            return
        value = merged(site.written, name, suggestion.policy)
        whole = f"ARRCERT = {as_python(value)}" if site.language == "python" else as_json(value)
        if site.written is None or len(whole.splitlines()) > MOST_LINES:
            self._print(Text(f"Add it to the list of alternatives of policy {quote(name)}."))
            return
        where = "the setting is" if site.language == "python" else "the value of ARRCERT is"
        self._print(Text(f"With the first suggestion, {where}:"))
        self._paste(whole)
        if site.language == "flat":
            self._print(Text("ARRCERT replaces the variables of the keys. Remove those variables."))

    def folder(
        self,
        folder: Path,
        names: Sequence[str],
        at: datetime,
        rows: Sequence[Row],
        total: int,
        within: int | None,
        notes: Sequence[str],
    ) -> None:
        """Print the certificates of a folder as a table. Those that expire first are at the top."""
        is_one = len(names) == 1
        which = f"Policy {quote(names[0])}" if is_one else f"{len(names)} policies"
        self._heading(f"{which} at {timestamp(at)}: {quote(folder)}")
        table = Table(box=None, pad_edge=False, header_style=STRONG)
        table.add_column("verdict", width=8)
        table.add_column("days", justify="right", width=5)
        # With three such columns, a reason in the last column must still fit into one line.
        widest: int | None = 22 if is_one else max(11, min(22, (self._console.width - 48) // 3))
        if self._console.width == UNLIMITED:
            widest = None
        table.add_column("file", overflow="fold", max_width=widest)
        table.add_column("subject", overflow="fold", max_width=widest)
        if not is_one:
            table.add_column("accepted by", overflow="fold", max_width=widest)
        table.add_column("why", overflow="fold")
        for row in rows:
            table.add_row(*_cells(row, at, is_one=is_one))
        if rows:
            self._print(table, 0)
        if within is None:
            accepted = sum(1 for row in rows if row.accepted_by)
            self._heading(f"{accepted} of {total} accepted")
        else:
            unread = sum(1 for row in rows if row.certificate is None)
            more = f"; files that cannot be read: {unread}" if unread else ""
            days = "1 day" if within == 1 else f"{within} days"
            self._heading(
                f"{len(rows) - unread} of {total - unread} expire within {days} or have expired"
                f"{more}"
            )
        for note in notes:
            self._item("-", Text.assemble(("Note: ", STRONG), note))

    def _heading(self, text: str) -> None:
        self._print(Text(text, STRONG), 0)

    def _print(self, content: Table | Text, indent: int = 2) -> None:
        self._write(Padding(content, (0, 0, 0, indent), expand=False))

    def _item(self, mark: str, content: Text) -> None:
        """Print an entry of a list, with all lines below each other."""
        item = _grid(2)
        item.add_row(Text(mark), content)
        self._print(item)

    def _paste(self, text: str) -> None:
        # Do not wrap a line that is meant for pasting.
        for line in text.splitlines():
            self._write(Text(f"     {line}"), soft_wrap=True)

    def _write(self, content: Table | Text | Padding, *, soft_wrap: bool = False) -> None:
        """Print without the spaces that rich adds at the ends of lines."""
        with self._console.capture() as captured:
            self._console.print(content, soft_wrap=soft_wrap)
        self._stream.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def _line(self) -> None:
        self._stream.write("\n")


def _grid(width: int) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=width)
    grid.add_column(overflow="fold")
    return grid


def _names(names: Sequence[str]) -> str:
    shown = [quote(name) for name in names[:MOST_NAMES]]
    more = len(names) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def _left(certificate: ClientCertificate, at: datetime) -> str:
    days = days_left(certificate, at)
    return f"{days} days left" if days >= 0 else "expired"


def _bare(text: str) -> str:
    """Escape text as `quote` does, without the quotation marks."""
    quoted = quote(text)
    return quoted[1:-1] if quoted[0] == quoted[-1] else quoted


def _cells(row: Row, at: datetime, *, is_one: bool) -> list[Text]:
    """Return the cells of a row. Without `is_one` one of them names the policies that accept."""
    certificate, accepted_by = row.certificate, row.accepted_by
    if certificate is None:
        none = [Text("none", BAD), Text("-"), Text(_bare(row.file)), Text("-")]
        return [*none, *([] if is_one else [Text("-")]), Text(f"no certificate: {row.problem}")]
    cells = [
        Text("accepted", GOOD) if accepted_by else Text("DENIED", f"{STRONG} {BAD}"),
        Text(str(days_left(certificate, at))),
        Text(_bare(row.file)),
        Text(_bare(certificate.common_name or certificate.subject)),
    ]
    if not is_one:
        cells.append(Text(", ".join(map(_bare, accepted_by)) or "-"))
    # Several policies may accept it for one reason, or deny it for one.
    names_of: dict[str, list[str]] = {}
    for name in accepted_by or row.results:
        names_of.setdefault(_why(row.results[name]), []).append(_bare(name))
    if len(names_of) == 1:
        return [*cells, Text(*names_of)]
    whys = (f"{', '.join(names)}: {why}" for why, names in names_of.items())
    return [*cells, Text("; ".join(whys))]


def _why(result: PolicyResult) -> str:
    """Return why the client may not enter, or which alternative accepts it, and by which keys."""
    identity = result.identity
    if identity is None:
        return str(result.denial and result.denial.reason)
    by = ", ".join(
        rule.key
        for rule in result.alternatives[identity.alternative].rules
        if rule.key in ("fingerprints", "public_keys", "trust_anchors")
    )
    name = "" if identity.name is None else f"{quote(identity.name)} "
    note = "" if identity.note is None else f" ({_bare(identity.note)})"
    which = f"alternative {identity.alternative + 1}: " if len(result.alternatives) > 1 else ""
    return f"{name}{which}{by}{note}"


def _alternative_text(name: str, suggestion: Suggestion, site: Site) -> str:
    if site.language == "toml":
        return as_toml(name, suggestion.policy)
    return as_python(suggestion.policy) if site.language == "python" else as_json(suggestion.policy)


def _flat_pins(site: Site, suggestion: Suggestion) -> str | None:
    """Return the value of `ARRCERT_FINGERPRINTS` with one more pin, if a pin is the only change."""
    held = (site.written or {}).get("default", {})
    if (
        site.language != "flat"
        or set(held) != {"fingerprints"}
        or set(suggestion.policy) != set(held)
    ):
        return None
    pins = [*held["fingerprints"], *suggestion.policy["fingerprints"]]
    return ";".join(pins) if all(isinstance(pin, str) for pin in pins) else None
