"""The report of a route audit: the routes, what checks each of them, and what is open.

The adapters collect the rows. This module judges and formats them.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.invisible import is_visible

ANY_OTHER_PATH = "any other path"
"""The path of the row for paths that lead to no route."""

HEADINGS = ("PATH", "METHODS", "VIEW", "POLICY", "DECIDED BY")
"""The columns of the table."""

_REGEX = re.compile(r"\^([\w/ -]*+)(.*)", re.DOTALL)
"""Matches a regular expression of a URLconf: its literal beginning, and the rest."""

_MOST_ENDS = 10
"""How many expiry dates the lines below the table show. JSON has all of them."""

_NARROWEST = 8
"""The smallest width of a column of the table, in characters."""


class Verdict(StrEnum):
    """What happens to a client without a certificate at a route.

    `PROTECTED`: a policy denies it. `EXEMPT`: the site declares the route open. `OPEN`: nothing
    checks the request. `UNKNOWN`: the audit cannot find out; this counts as open.
    """

    PROTECTED = "protected"
    EXEMPT = "exempt"
    OPEN = "open"
    UNKNOWN = "unknown"


class Effect(StrEnum):
    """What a layer around the routes does with a request.

    `CHECKS`: it is a check of arrcert. `PASSES`: it passes on every request. `BEHIND`: it comes
    after a check. `ANSWERS`: it answers some requests before any check. `UNKNOWN`: arrcert does not
    know the layer; this counts as `ANSWERS`.
    """

    CHECKS = "checks"
    PASSES = "passes on"
    BEHIND = "behind the check"
    ANSWERS = "OPEN"
    UNKNOWN = "unknown"


class Decision(NamedTuple):
    """The verdict for a view, and the reason.

    Attributes:
        verdict: what happens to a client without a certificate.
        policies: the names of the policies that must accept the request; empty if no policy or any
            policy is enough.
        decided_by: what decides or exempts, as text for people.
    """

    verdict: Verdict
    policies: tuple[str, ...] = ()
    decided_by: str = "nobody"


OPEN = Decision(Verdict.OPEN)
"""The decision of a view that names no policy."""


class Route(NamedTuple):
    """One row of the table.

    Attributes:
        path: the path as the framework writes it, with its variable parts.
        methods: HTTP methods, or `WEBSOCKET`; empty for any.
        view: the endpoint or view.
        decision: the decision for the route.
    """

    path: str
    methods: tuple[str, ...]
    view: str
    decision: Decision

    def is_open(self) -> bool:
        """Return whether the route is open, or may be open, but is not exempt."""
        return self.decision.verdict in (Verdict.OPEN, Verdict.UNKNOWN)

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the texts of the row, in the order of `HEADINGS`."""
        verdict, policies, decided_by = self.decision
        if verdict is Verdict.PROTECTED:
            policy = " + ".join(policies) or "any"
        else:
            policy = "OPEN" if verdict is Verdict.OPEN else verdict.value
        texts = (self.path, " ".join(self.methods) or "any", self.view, policy, decided_by)
        path, methods, view, policy, decided_by = map(_printable, texts)
        return path, methods, view, policy, decided_by


class Layer(NamedTuple):
    """A layer around the routes.

    Attributes:
        kind: `WSGI`, `ASGI` or `MIDDLEWARE`.
        name: the dotted name of its class or function.
        effect: what it does with a request.
        meaning: more about the effect, as text for people; may be empty.
    """

    kind: str
    name: str
    effect: Effect
    meaning: str = ""

    def is_open(self) -> bool:
        """Return whether it may answer before any check."""
        return self.effect in (Effect.ANSWERS, Effect.UNKNOWN)


class End(NamedTuple):
    """Something in the policies that expires.

    Attributes:
        policies: the names of the policies that hold it, sorted.
        what: a description, escaped.
        at: when it expires, as RFC 3339 text in UTC.
        days_left: whole days until then; negative if it has expired.
    """

    policies: tuple[str, ...]
    what: str
    at: str
    days_left: int


class Report(NamedTuple):
    """The result of an audit.

    Attributes:
        routes: the rows of the table.
        layers: the layers around the routes, from the outermost to the innermost.
        on_purpose: the settings that open something or switch a check off.
        ends: the pins, CA certificates and revocation lists that expire, the earliest first.
    """

    routes: list[Route]
    layers: list[Layer]
    on_purpose: list[str]
    ends: list[End]


class Check(NamedTuple):
    """A check of every path: the gate of a framework, or a middleware around the app.

    Attributes:
        name: the name of the check, as text for people.
        policies: the names of its policies; empty for any policy.
        exempt_paths: the paths that it does not check.
        setting: the name of the setting with these paths.
        knows_views: whether `certificate_exempt` on a view exempts from this check.
    """

    name: str
    policies: tuple[str, ...]
    exempt_paths: ExemptPaths
    setting: str
    knows_views: bool = False


class Shape(NamedTuple):
    """The path of a route, as far as it can be compared with exempt paths.

    Attributes:
        text: the path as the framework writes it.
        start: the beginning of the path, without variable parts.
        is_whole: whether `start` is the whole path.
    """

    text: str
    start: str
    is_whole: bool


def extend(shape: Shape, pattern: object, *, is_endpoint: bool) -> Shape:
    """Return the path of a route below another one.

    Args:
        shape: the path of the route above it.
        pattern: Django's pattern of the route, which Channels uses too.
        is_endpoint: whether the route leads to a view rather than to other routes.
    """
    text = str(pattern)
    if hasattr(pattern, "_route") or not hasattr(pattern, "_regex"):
        literal, variable, _ = text.partition("<")
        is_whole = not variable
    elif text.startswith("^"):
        # The expression matches every text that begins with ^.
        literal, rest = _REGEX.fullmatch(text).groups()  # type: ignore[union-attr]
        is_whole = rest in ("$", r"\Z") if is_endpoint else rest == ""
    else:
        # Django matches an expression without `^` anywhere in the path.
        literal, is_whole = "", False
    start = shape.start + literal if shape.is_whole else shape.start
    return Shape(shape.text + text, start, shape.is_whole and is_whole)


def rows(
    shape: Shape,
    methods: Iterable[str],
    view: str,
    decision: Decision,
    checks: Sequence[Check],
    exempt: Iterable[str] = (),
) -> Iterator[Route]:
    """Yield the row of a route, and a row for each part of its paths that is exempt.

    Args:
        shape: its path.
        methods: its methods.
        view: its endpoint or view.
        decision: the decision for the view, without the checks of every path.
        checks: the checks of every path, from the outside to the inside.
        exempt: the exempt paths that are known to lead to this route.
    """
    whole = Route(shape.text, tuple(methods), view, _decide(shape, decision, checks))
    yield whole
    parts = [Shape(path, path, True) for path in exempt]
    if not shape.is_whole:
        entries = sorted({entry for check in checks for entry in check.exempt_paths.entries})
        folders = [entry.removesuffix("*") for entry in entries if entry.endswith("/*")]
        parts += [
            Shape(f"{folder}*", folder, False)
            for folder in folders
            if folder.startswith(shape.start)
        ]
    for part in parts:
        decided = _decide(part, decision, checks)
        if part.text != shape.text and decided != whole.decision:
            yield whole._replace(path=part.text, decision=decided)


def merged(routes: Iterable[Route]) -> list[Route]:
    """Return the rows of one route; rows with the same path and decision become one row.

    Args:
        routes: the rows.
    """
    methods: dict[Route, list[str]] = {}
    for route in routes:
        methods.setdefault(route._replace(methods=()), []).extend(route.methods)
    return [route._replace(methods=tuple(found)) for route, found in methods.items()]


def exact_entries(checks: Iterable[Check]) -> list[str]:
    """Return the exempt paths of some checks, without those that are folders.

    Args:
        checks: the checks.
    """
    entries = {entry for check in checks for entry in check.exempt_paths.entries}
    return sorted(entry for entry in entries if not entry.endswith("/*"))


def by_role(decided_by: str, role: str | None) -> str:
    """Return who decides, with the required role.

    Args:
        decided_by: who decides.
        role: the role that the policy must grant; None for any.
    """
    return decided_by if role is None else f"{decided_by}, role {role}"


class Outcome(NamedTuple):
    """The result of a command of the audit.

    Attributes:
        lines: the lines for stderr.
        exit_code: 1 if something is open that must not be open, 2 for wrong options, else 0.
    """

    lines: list[str]
    exit_code: int


def outcome(report: Report, *, fail_on_open: bool, allowed: Collection[str]) -> Outcome:
    """Return the lines for stderr and the exit code of a command of the audit.

    Args:
        report: the result of the audit.
        fail_on_open: whether a route that is open, and is not allowed, is a failure.
        allowed: paths of routes and names of layers as the report shows them; `/folder/*` is every
            path below that folder.
    """
    if allowed and not fail_on_open:
        return Outcome(["--allow has no effect without --fail-on-open; write both"], 2)
    if "/*" in allowed:
        return Outcome(["--allow '/*' would allow the whole site; name the open paths"], 2)
    if not fail_on_open:
        return Outcome([], 0)
    lines = left_open(report, allowed)
    names = [layer.name for layer in report.layers if layer.is_open()]
    paths = [route.path for route in report.routes if route.is_open()]
    unused = [
        f"--allow {entry!r} matches nothing that is open; remove it"
        for entry in allowed
        if entry not in names and not any(_is_allowed(path, [entry]) for path in paths)
    ]
    return Outcome([*lines, *unused], 1 if lines else 0)


def left_open(report: Report, allowed: Collection[str]) -> list[str]:
    """Return a line for each route and layer that is open and not allowed.

    Args:
        report: the result of an audit.
        allowed: paths of routes and names of layers as the report shows them; `/folder/*` is every
            path below that folder.
    """
    lines = []
    for route in report.routes:
        if route.is_open() and not _is_allowed(route.path, allowed):
            path, methods, view, policy, decided_by = route.cells()
            lines.append(f"{policy}: {path} ({methods}), view {view}: {decided_by}")
    return lines + [
        _line(layer) for layer in report.layers if layer.is_open() and layer.name not in allowed
    ]


def as_json(report: Report) -> str:
    """Return the report as JSON, indented.

    Args:
        report: the result of an audit.

    The keys are `routes` (`path`, `methods`, `view`, `verdict`, `policies`, `decided_by`), `around`
    (`kind`, `name`, `effect`, `meaning`, `open`), `on_purpose`, and `ends` (`policies`, `what`,
    `at`, `days_left`). An empty list of methods means any method, and an empty list of policies of
    a protected route means any policy.
    """
    document = {
        "routes": [
            {
                "path": route.path,
                "methods": list(route.methods),
                "view": route.view,
                "verdict": route.decision.verdict.value,
                "policies": list(route.decision.policies),
                "decided_by": route.decision.decided_by,
            }
            for route in report.routes
        ],
        "around": [
            {
                "kind": layer.kind,
                "name": layer.name,
                "effect": layer.effect.name.lower(),
                "meaning": layer.meaning,
                "open": layer.is_open(),
            }
            for layer in report.layers
        ],
        "on_purpose": report.on_purpose,
        "ends": [end._asdict() for end in report.ends],
    }
    return json.dumps(document, indent=2)


def as_text(report: Report, width: int) -> str:
    """Return the report as plain text: an aligned table, and the lines below it.

    Args:
        report: the result of an audit.
        width: the width in characters. Cells that are too long are wrapped.
    """
    table = [HEADINGS, *(route.cells() for route in report.routes)]
    widths = _widths(table, width)
    lines = [line for row in table for line in _folded(row, widths)]
    return "\n".join([*lines, "", *(_fold(line, width) for line in notes(report))])


def notes(report: Report) -> list[str]:
    """Return the lines below the table: layers, what is open, what expires, and the counts.

    Args:
        report: the result of an audit.
    """
    lines = []
    if report.layers:
        lines.append("Layers around the routes, the outermost first:")
        lines += [f"  {_line(layer)}" for layer in report.layers]
        lines.append("")
    if report.on_purpose:
        lines.append("Open or switched off on purpose:")
        lines += [f"  {_printable(line)}" for line in report.on_purpose]
        lines.append("")
    if report.ends:
        lines.append("What expires, the earliest first:")
        lines += [f"  {_line_of(end)}" for end in report.ends[:_MOST_ENDS]]
        if len(report.ends) > _MOST_ENDS:
            lines.append(f"  and {len(report.ends) - _MOST_ENDS} more; --json has all of them")
        lines.append("")
    verdicts = [route.decision.verdict for route in report.routes]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in Verdict]
    lines.append(f"{len(verdicts)} rows: {', '.join(counts)}")
    return lines


def _decide(shape: Shape, decision: Decision, checks: Sequence[Check]) -> Decision:
    """Return who decides at a path: the view, or the first check that does not exempt the path."""
    if decision.verdict is Verdict.PROTECTED:
        return decision
    exempt = decision if decision.verdict is Verdict.EXEMPT else None
    for check in checks:
        if check.knows_views and decision.verdict is Verdict.EXEMPT:
            continue
        entry = _exempting(check.exempt_paths, shape)
        if entry is None:
            return Decision(Verdict.PROTECTED, check.policies, check.name)
        exempt = exempt or Decision(Verdict.EXEMPT, (), f"{check.setting} {entry}")
    return exempt or decision


def _exempting(exempt_paths: ExemptPaths, shape: Shape) -> str | None:
    """Return the entry that exempts every path of a shape, or None."""
    for entry in exempt_paths.entries:
        matches = (
            shape.start.startswith(entry.removesuffix("*"))
            if entry.endswith("/*")
            else shape.is_whole and shape.start == entry
        )
        if matches and exempt_paths.covers_wsgi({}, shape.start):
            return entry
    return None


def _is_allowed(path: str, allowed: Iterable[str]) -> bool:
    return any(
        path.startswith(entry.removesuffix("*")) if entry.endswith("/*") else path == entry
        for entry in allowed
    )


def _line(layer: Layer) -> str:
    meaning = f", {layer.meaning}" if layer.meaning else ""
    return _printable(f"{layer.kind} {layer.name}: {layer.effect}{meaning}")


def _line_of(end: End) -> str:
    days = "1 day left" if end.days_left == 1 else f"{end.days_left} days left"
    if end.days_left < 0:
        days = "expired"
    names = ", ".join(end.policies)
    return _printable(f"{end.at}, {days}: {end.what} (policy {names})")


def _printable(text: str) -> str:
    """Escape characters that would control a terminal or break a row."""
    return "".join(c if is_visible(c) else c.encode("unicode_escape").decode() for c in text)


def _widths(table: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the width of each column: its longest cell, or less if the table is too wide."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    while sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _folded(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Yield the lines of a row."""
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""]
        for cell, width in zip(row, widths, strict=True)
    ]
    for number in range(max(map(len, cells))):
        texts = [cell[number] if number < len(cell) else "" for cell in cells]
        padded = (text.ljust(width) for text, width in zip(texts, widths, strict=True))
        yield "  ".join(padded).rstrip()


def _fold(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, width, subsequent_indent=f"{indent}  ", break_on_hyphens=False)
