"""Exempt paths, and the paths with which an attacker tries to use them."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrcert import ConfigurationError
from arrcert.forwarding.exempt_paths import ExemptPaths

PATHS = ExemptPaths(["/", "/health", "/public/*"])


def covers(path: str, raw: str | None = None) -> bool:
    """Tell whether a path is exempt under WSGI and ASGI, which must agree."""
    environ = {"PATH_INFO": path} | ({} if raw is None else {"RAW_URI": raw})
    scope = {"path": path, "raw_path": None if raw is None else raw.encode()}
    answers = {PATHS.covers_wsgi(environ, path), PATHS.covers_asgi(scope, path)}
    assert len(answers) == 1
    return answers.pop()


@pytest.mark.parametrize(
    "path", ["/", "/health", "/public/", "/public/site.css", "/public/a/b.c", "/public/é"]
)
def test_exact_paths_and_folders_are_exempt(path: str) -> None:
    """An entry is one path, and an entry with /* is the folder and everything below it."""
    assert covers(path)
    assert covers(path, f"{path.encode().decode('latin-1')}?next=//x/../%2f")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/healthz",
        "/healthz-admin",
        "/health/",
        "/health/x",
        "/Health",
        "/public",
        "/Public/x",
        "/publicity",
        "/publicx/y",
        "/a/public/x",
    ],
)
def test_neighbours_are_not_exempt(path: str) -> None:
    """A path is compared as a whole and with case: /health does not exempt /healthz-admin."""
    assert not covers(path)


@pytest.mark.parametrize(
    "path",
    [
        "/public/../admin",
        "/public/..",
        "/public/.",
        "/public/./x",
        "/public/..;/admin",
        "/public//admin",
        "//public/x",
        "/public/..\\admin",
        "/public/x\\y",
        "/public/\x00",
        "/public/x\ny",
        "/public/..%2fadmin",
        "/public/x%2Fy",
        "/public/x%5cy",
        "/public/%2e%2e/admin",
        "/public/page%",
        "/public/page;x=1",
        "/public/page;/../../admin",
        "/public/;/admin",
        "/public/page?x",
        "/public/page#x",
        "/public/\ufffd\ufffd/admin",
        "/public/x\x7f",
    ],
)
def test_tricks_are_not_exempt(path: str) -> None:
    """A path that another program may read differently is never exempt."""
    assert not covers(path)


@pytest.mark.parametrize(
    "raw",
    [
        "/public%2fx",
        "/public/%2Fx",
        "//public/x",
        "/public/x%5cy",
        "/public\\x",
        "/public/x%00",
        "/public/x\t",
        "/public/x;y",
        "/public/x%3By",
        "/public/x#y",
        "/public/x%23y",
        "/public/x%3fy",
        "/public/x%2541",
        "/public/%c0%aex",
        "/admin/../public/x",
        "/admin/%2E%2e/public/x",
        "/admin/..",
        "http://site/public/x",
        "http:/public/x",
        "public/x",
        "*",
    ],
)
def test_path_as_sent_counts_against(raw: str) -> None:
    """A path is not exempt if the client sent it in a form that looks unsafe."""
    assert covers("/public/x", "/public/x")
    assert not covers("/public/x", raw)


def test_each_servers_name_for_the_raw_path_is_read() -> None:
    """The path as sent is read from RAW_URI, REQUEST_URI, PATH_INFO and the scope's path."""
    for name in ("RAW_URI", "REQUEST_URI"):
        environ = {"PATH_INFO": "/public/x", name: "/public%2fx"}
        assert not PATHS.covers_wsgi(environ, "/public/x")
    assert not PATHS.covers_wsgi({"PATH_INFO": "//health"}, "/health")
    assert not PATHS.covers_wsgi({"PATH_INFO": "health"}, "/health")
    assert not PATHS.covers_asgi({"path": "//health"}, "/health")


def test_script_name_is_no_part_of_the_path() -> None:
    """Entries are compared with the path below the mount point, without SCRIPT_NAME."""
    environ = {"SCRIPT_NAME": "/app", "PATH_INFO": "/health", "RAW_URI": "/app/health"}
    assert PATHS.covers_wsgi(environ, "/health")
    assert not PATHS.covers_wsgi(environ | {"RAW_URI": "/x/../app/health"}, "/health")
    scope = {"root_path": "/app", "path": "/app/health", "raw_path": b"/app/health"}
    assert PATHS.covers_asgi(scope, "/health")
    assert not PATHS.covers_asgi(scope, "/app/health")
    assert not PATHS.covers_asgi(scope | {"raw_path": b"/app//health"}, "/health")


def test_no_entries_exempt_nothing() -> None:
    """Without entries every path is checked."""
    assert not ExemptPaths().covers_wsgi({"PATH_INFO": "/"}, "/")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("health", "begin with a slash"),
        ("", "begin with a slash"),
        (7, "begin with a slash"),
        ("/*", "whole site"),
        ("/a*", r"holds a \*"),
        ("/*/b", r"holds a \*"),
        ("/a/*/*", r"holds a \*"),
        ("//health", "never be exempt"),
        ("/a/../b", "never be exempt"),
        ("/a%2fb", "never be exempt"),
        ("/a?b", "never be exempt"),
        ("/a\\b", "never be exempt"),
        ("/a;b", "never be exempt"),
        ("/a#b", "never be exempt"),
        ("/a/..", "never be exempt"),
    ],
)
def test_bad_entry_stops_the_start(entry: str, why: str) -> None:
    """An entry that is too wide, or can never match, is a ConfigurationError."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        ExemptPaths(["/ok", entry], setting="PATHS")
    assert [problem.setting for problem in caught.value.problems] == ["PATHS"]


# Few random texts are exempt, so most begin like an exempt path.
HOSTILE = st.builds(
    str.__add__,
    st.sampled_from(["", "/", "/health", "/public/"]),
    st.text(alphabet="/.%2fFpublicheat\\;\x00#?", max_size=20),
)


@given(HOSTILE)
def test_exempt_paths_have_no_tricks(path: str) -> None:
    """For any text, an exempt path is an entry, or is below a folder and has nothing unsafe."""
    if covers(path):
        assert path in ("/", "/health") or path.startswith("/public/")
        segments = path.split("/")[1:]
        assert "" not in segments[:-1]
        assert not {".", ".."} & set(segments)
        assert not set(path) & set("\\;#?%\x00")


@given(HOSTILE)
def test_exempt_targets_decode_to_one_path(raw: str) -> None:
    """For any text, a sent path that is exempt does not change if it is decoded a second time."""
    for path in ("/", "/health", "/public/page"):
        if covers(path, raw):
            once = unquote(raw.partition("?")[0])
            assert once == unquote(once)
            assert once.count("/") == raw.partition("?")[0].count("/")
            assert not set(once) & set("\\;#?\x00")
            assert not {".", ".."} & set(once.split("/"))


@pytest.mark.parametrize("slash", ["%2f", "%2F"])
def test_an_encoded_slash_in_either_case_is_not_exempt(slash: str) -> None:
    """A path with an encoded slash is not exempt, because a server may decode the slash."""
    assert covers("/public/a/b", "/public/a/b")
    assert not covers("/public/a/b", f"/public/a{slash}b")


def test_errors_name_the_parameter() -> None:
    """If no name of a setting is given, errors use the name `exempt_paths`."""
    with pytest.raises(ConfigurationError) as caught:
        ExemptPaths(["health"])
    assert [problem.setting for problem in caught.value.problems] == ["exempt_paths"]
