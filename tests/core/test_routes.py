"""The report of the route audit: the meaning of a row, its output, and its failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.routes import (
    OPEN,
    Check,
    Decision,
    Effect,
    End,
    Layer,
    Report,
    Route,
    Shape,
    Verdict,
    as_json,
    as_text,
    exact_entries,
    exact_paths,
    extend,
    merged,
    outcome,
    rows,
    with_missing,
    with_other_slash,
)

PROTECTED = Decision(Verdict.PROTECTED, ("partners",), "decorator")
EXEMPT = Decision(Verdict.EXEMPT, (), "certificate_exempt")
UNKNOWN = Decision(Verdict.UNKNOWN, (), "reading the view failed: ValueError")


def check(*exempt: str, name: str = "gate", knows_views: bool = True) -> Check:
    """Return a check of every path."""
    return Check(name, ("default",), ExemptPaths(exempt), "ARRCERT_EXEMPT_PATHS", knows_views)


def decided(shape: Shape, decision: Decision, *checks: Check) -> list[tuple[str, Verdict, str]]:
    """Return path, verdict and decider of the rows of a route."""
    return [
        (row.path, row.decision.verdict, row.decision.decided_by)
        for row in rows(shape, ("GET",), "view", decision, checks)
    ]


WHOLE = Shape("/health", "/health", True)
VARIABLE = Shape("/files/<path>", "/files/", False)


@pytest.mark.parametrize(
    ("decision", "checks", "verdict", "by"),
    [
        (OPEN, [], "open", "nobody"),
        (OPEN, [check()], "protected", "gate"),
        (OPEN, [check("/health")], "exempt", "ARRCERT_EXEMPT_PATHS /health"),
        (OPEN, [check("/health"), check(name="inner")], "protected", "inner"),
        (PROTECTED, [check("/health")], "protected", "decorator"),
        (EXEMPT, [], "exempt", "certificate_exempt"),
        (EXEMPT, [check()], "exempt", "certificate_exempt"),
        (EXEMPT, [check(knows_views=False)], "protected", "gate"),
        (UNKNOWN, [], "unknown", "reading the view failed: ValueError"),
        (UNKNOWN, [check()], "protected", "gate"),
    ],
)
def test_who_decides(decision: Decision, checks: list[Check], verdict: str, by: str) -> None:
    """The view's own policy decides, and else the first check that covers the path."""
    assert decided(WHOLE, decision, *checks) == [("/health", Verdict(verdict), by)]


def test_rows_for_parts_of_a_route() -> None:
    """A folder of exempt paths below the literal part of a route has its own row."""
    assert [row[:2] for row in decided(VARIABLE, OPEN, check("/files/public/*"))] == [
        ("/files/<path>", Verdict.PROTECTED),
        ("/files/public/*", Verdict.EXEMPT),
    ]
    assert [row[:2] for row in decided(VARIABLE, OPEN, check("/files/*"))] == [
        ("/files/<path>", Verdict.EXEMPT)
    ]
    assert [row[:2] for row in decided(VARIABLE, OPEN, check("/other/*"))] == [
        ("/files/<path>", Verdict.PROTECTED)
    ]


def test_unsafe_path_is_never_exempt() -> None:
    """A route whose path can never be exempt stays protected."""
    shape = Shape("/public//x", "/public//x", True)
    assert decided(shape, OPEN, check("/public/*"))[0][1] is Verdict.PROTECTED


class Pattern:
    """A pattern of Django: a route, or a regular expression."""

    def __init__(self, text: str, *, is_regex: bool) -> None:
        self._text = text
        self._regex = text
        if not is_regex:
            self._route = text

    def __str__(self) -> str:
        return self._text


ROOT = Shape("/", "/", True)


@pytest.mark.parametrize(
    ("text", "is_regex", "is_endpoint", "start", "is_whole"),
    [
        ("health", False, True, "/health", True),
        ("items/<int:id>/x", False, True, "/items/", False),
        (r"^health/$", True, True, "/health/", True),
        (r"^health/\Z", True, True, "/health/", True),
        (r"^health/", True, True, "/health/", False),
        (r"^health/", True, False, "/health/", True),
        (r"^(?P<x>a|b)/$", True, True, "/", False),
        (r"^robots\.txt$", True, True, "/robots", False),
        (r"health/$", True, True, "/", False),
    ],
)
def test_literal_beginning(
    text: str, is_regex: bool, is_endpoint: bool, start: str, is_whole: bool
) -> None:
    """A route is compared with exempt paths up to its first variable part."""
    shape = extend(ROOT, Pattern(text, is_regex=is_regex), is_endpoint=is_endpoint)
    assert shape == Shape(f"/{text}", start, is_whole)


def test_literal_beginning_ends_at_the_first_variable() -> None:
    """The part of a route after a variable is not compared with exempt paths."""
    shape = extend(ROOT, Pattern("<slug:x>/", is_regex=False), is_endpoint=False)
    assert extend(shape, Pattern("y", is_regex=False), is_endpoint=True).start == "/"


def test_rows_with_one_decision_are_one() -> None:
    """Methods of one path and decision stand in one row."""
    get, post = Route("/", ("GET",), "v", OPEN), Route("/", ("POST",), "v", OPEN)
    assert merged([get, post]) == [Route("/", ("GET", "POST"), "v", OPEN)]
    assert len(merged([get, post._replace(decision=PROTECTED)])) == 2


def test_exact_entries() -> None:
    """An exempt folder does not count as a single exempt path."""
    assert exact_entries([check("/b", "/x/*"), check("/a", "/b")]) == ["/a", "/b"]


REPORT = Report(
    [
        Route("/", (), "index", Decision(Verdict.PROTECTED, (), "WSGI middleware")),
        Route("/orders", ("GET", "POST"), "orders", PROTECTED),
        Route("/static/<path>", ("GET",), "static", OPEN),
        Route("/broken", (), "broken\x1b[31m", UNKNOWN),
        Route("/health", ("GET",), "health", EXEMPT),
    ],
    [
        Layer("WSGI", "shop.Wrapper", Effect.UNKNOWN, "it may answer by itself"),
        Layer("WSGI", "werkzeug.ProxyFix", Effect.PASSES),
    ],
    ["ARRCERT_EXEMPT_PATHS: /health"],
    [
        End(("default", "partners"), "the pin 'AB12 (old)'", "2026-05-01T00:00:00Z", -3),
        End(("default",), "the trust anchor 'CN=\x1bContoso'", "2026-05-05T00:00:00Z", 1),
        End(("default",), "the revocation list in shop.crl", "2026-05-09T00:00:00Z", 5),
    ],
)


def test_text() -> None:
    """Below the table are the layers, the intended openings, the ends, and a count."""
    assert as_text(REPORT, 100).splitlines() == [
        "PATH            METHODS   VIEW            POLICY    DECIDED BY",
        "/               any       index           any       WSGI middleware",
        "/orders         GET POST  orders          partners  decorator",
        "/static/<path>  GET       static          OPEN      nobody",
        "/broken         any       broken\\x1b[31m  unknown   reading the view failed: ValueError",
        "/health         GET       health          exempt    certificate_exempt",
        "",
        "Layers around the routes, the outermost first:",
        "  WSGI shop.Wrapper: unknown, it may answer by itself",
        "  WSGI werkzeug.ProxyFix: passes on",
        "",
        "Open or switched off on purpose:",
        "  ARRCERT_EXEMPT_PATHS: /health",
        "",
        "What expires, the earliest first:",
        "  2026-05-01T00:00:00Z, expired: the pin 'AB12 (old)' (policy default, partners)",
        "  2026-05-05T00:00:00Z, 1 day left: the trust anchor 'CN=\\x1bContoso' (policy default)",
        "  2026-05-09T00:00:00Z, 5 days left: the revocation list in shop.crl (policy default)",
        "",
        "5 rows: 2 protected, 1 exempt, 1 open, 1 unknown",
    ]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_text_is_folded(width: int) -> None:
    """Long cells are folded, and no character is lost."""
    text = as_text(REPORT, width)
    assert max(map(len, text.splitlines())) <= max(width, 5 * 8 + 8)
    assert "OPEN" in text


def test_text_of_an_empty_report() -> None:
    """The text of a site without routes has a heading and a count."""
    assert as_text(Report([], [], [], []), 80).splitlines() == [
        "PATH  METHODS  VIEW  POLICY  DECIDED BY",
        "",
        "0 rows: 0 protected, 0 exempt, 0 open, 0 unknown",
    ]


def test_text_shows_the_ten_earliest_ends() -> None:
    """The text shows the ten earliest ends, and JSON shows all of them."""
    ends = [End(("default",), f"pin {n}", "2026-05-01T00:00:00Z", n) for n in range(12)]
    report = Report([], [], [], ends)
    lines = [line for line in as_text(report, 100).splitlines() if "pin " in line or "more" in line]
    assert len(lines) == 11
    assert lines[-1] == "  and 2 more; --json has all of them"
    assert len(json.loads(as_json(report))["ends"]) == 12


def test_json() -> None:
    """The report as JSON has the same facts."""
    document: dict[str, Any] = json.loads(as_json(REPORT))
    assert document["routes"][1] == {
        "path": "/orders",
        "methods": ["GET", "POST"],
        "view": "orders",
        "verdict": "protected",
        "policies": ["partners"],
        "missing": [],
        "decided_by": "decorator",
    }
    assert document["around"][0] == {
        "kind": "WSGI",
        "name": "shop.Wrapper",
        "effect": "unknown",
        "meaning": "it may answer by itself",
        "open": True,
    }
    assert document["on_purpose"] == ["ARRCERT_EXEMPT_PATHS: /health"]
    assert document["ends"][2] == {
        "policies": ["default"],
        "what": "the revocation list in shop.crl",
        "at": "2026-05-09T00:00:00Z",
        "days_left": 5,
    }


@pytest.mark.parametrize(
    ("fail_on_open", "allowed", "exit_code", "lines"),
    [
        (False, [], 0, []),
        (False, ["/x"], 2, ["--allow has no effect without --fail-on-open; write both"]),
        (True, ["/*"], 2, ["--allow '/*' would allow the whole site; name the open paths"]),
        (
            True,
            [],
            1,
            [
                "OPEN: /static/<path> (GET), view static: nobody",
                "unknown: /broken (any), view broken\\x1b[31m: reading the view failed: ValueError",
                "WSGI shop.Wrapper: unknown, it may answer by itself",
            ],
        ),
        (True, ["/static/*", "/broken", "shop.Wrapper"], 0, []),
        (
            True,
            ["/static/*", "/broken", "shop.Wrapper", "/health", "/sta"],
            0,
            [
                "--allow '/health' matches nothing that is open; remove it",
                "--allow '/sta' matches nothing that is open; remove it",
            ],
        ),
    ],
)
def test_outcome(fail_on_open: bool, allowed: list[str], exit_code: int, lines: list[str]) -> None:
    """A route or layer that is open or unknown, and not allowed by name, is a failure."""
    found = outcome(REPORT, fail_on_open=fail_on_open, allowed=allowed)
    assert (found.exit_code, found.lines) == (exit_code, lines)


def test_policy_that_does_not_exist() -> None:
    """A policy that does not exist is shown, counted, and reported, and is not an open route."""
    misspelt = Route("/b", ("GET",), "v", PROTECTED._replace(policies=("partners", "contozo")))
    fine = Route("/a", ("GET",), "v", PROTECTED)
    middleware = Route("/c", (), "w", Decision(Verdict.PROTECTED, ("own",), "ASGI middleware"))
    found = Report(with_missing([fine, misspelt, middleware], {"partners"}), [], [], [])
    assert [route.missing for route in found.routes] == [(), ("contozo",), ()]
    text = as_text(found, 200)
    assert "partners + contozo (does not exist)" in text
    assert text.endswith("0 unknown, 1 with a policy that does not exist")
    assert json.loads(as_json(found))["routes"][1]["missing"] == ["contozo"]
    line = "DENIES EVERYBODY: /b (GET), view v: policy partners + contozo (does not exist)"
    assert outcome(found, fail_on_open=False, allowed=()) == ([line], 0)
    assert outcome(found, fail_on_open=True, allowed=()) == ([line], 0)


def test_exempt_paths_with_the_other_slash() -> None:
    """Exact exempt paths are compared with and without the final slash; the report says which."""
    assert exact_paths(["/", "/a", "/b/", "/c/*"]) == [("/a", "/a/"), ("/b/", "/b")]
    mistake = with_other_slash("/a", "/a/")
    found = REPORT._replace(mistakes=[mistake])
    assert f"Probably a mistake:\n  {mistake}\n" in as_text(found, 200)
    assert json.loads(as_json(found))["mistakes"] == [mistake]
    assert json.loads(as_json(REPORT))["mistakes"] == []
