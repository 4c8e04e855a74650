"""The route audit of a Flask app: what checks each endpoint, and the layers around the app."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from arrcert import ConfigurationError
from arrcert.adapters import is_exempt_view, requirement_named_by
from arrcert.inspection import hides_policy, mentions, questions
from arrcert.routes import (
    ANY_OTHER_PATH,
    OPEN,
    Check,
    Decision,
    Report,
    Route,
    Shape,
    Verdict,
    by_role,
    exact_entries,
    merged,
    rows,
)
from arrcert.settings import NOT_CONFIGURED
from arrcert.surroundings import check_of, describe_all, ends, layers_around, on_purpose
from arrcert_flask.authorization import (
    ClientCertificateForbidden,
    Extension,
    authorize,
    authorize_request,
)
from arrcert_flask.examination import methods_of, unprotected
from arrcert_flask.wrappers import Refusal, is_of_flask

_CALLS = Decision(
    Verdict.UNKNOWN, (), "authorize_request, called by the view or a hook that the audit cannot run"
)
_HIDDEN = Decision(Verdict.UNKNOWN, (), "a wrapper hides the decorator below it")
_SITE_DENIES = Decision(Verdict.UNKNOWN, (), "is_accessible of the site, which arrcert cannot see")
_IS_ACCESSIBLE = "is_accessible of Flask-Admin"


def report(app: Flask, around: Sequence[object] = ()) -> Report:
    """Return the route audit of an app.

    Args:
        app: the app.
        around: the layers around the app object, the outermost first.

    Raises:
        ConfigurationError: the app refuses to serve, or denies every request.

    It sends no request and runs no view. It calls `is_accessible` of Flask-Admin for a request
    without a certificate. It does not see checks inside views.
    """
    extension: Extension | None = app.extensions.get("arrcert")
    settings = extension.settings if extension else None
    if extension is not None and settings is None:
        raise ConfigurationError([NOT_CONFIGURED])
    if extension is not None:
        _refuse(app)
    wrappers = [*around, *_wrappers(app)]
    checks, layers = describe_all("WSGI", wrappers)
    if settings is not None and settings.protect_all:
        checks.append(
            Check("gate", ("default",), settings.exempt_paths, "ARRCERT_EXEMPT_PATHS", True)
        )
    routes = [*_mounts(wrappers), *_routes(app, checks)]
    if settings is None:
        return Report(routes, layers, [], [])
    return Report(routes, layers, on_purpose(settings), ends(settings))


def _refuse(app: Flask) -> None:
    """Raise an error if the app refuses to serve.

    Raises:
        ConfigurationError: the app refuses to serve; the error says why.
    """
    try:
        problems = list(unprotected(app, {}))
    except Exception:
        return  # The table says which view cannot be read.
    if problems:
        raise ConfigurationError(problems)


def _wrappers(app: Flask) -> list[object]:
    """Return the layers around `app.wsgi_app`, the outermost first."""
    found = []
    for layer in layers_around(app.wsgi_app):
        if is_of_flask(layer, app):
            break
        if not isinstance(layer, Refusal):
            found.append(layer)
    return found


def _routes(app: Flask, checks: Sequence[Check]) -> Iterator[Route]:
    """Yield the rows of an app."""
    exempt = _exempt_paths_by_rule(app, checks)
    for rule in app.url_map.iter_rules():
        try:
            yield from merged(_rows(app, rule, checks, exempt.get(id(rule), [])))
        except Exception as error:
            failed = Decision(Verdict.UNKNOWN, (), f"reading the view failed: {_type(error)}")
            yield Route(str(rule.rule), (), str(rule.endpoint), failed)
    hook = _of_hooks(app, None)
    if hook is not None or checks:
        other = Shape(ANY_OTHER_PATH, "", True)
        yield from rows(other, (), "", hook or OPEN, checks)


def _rows(
    app: Flask, rule: Rule, checks: Sequence[Check], exempt: Iterable[str]
) -> Iterator[Route]:
    """Yield the rows of a rule: one for each decision, with its methods."""
    endpoint, view = rule.endpoint, app.view_functions.get(rule.endpoint)
    host = rule.host or rule.subdomain
    text = f"{f'//{host}' if host else ''}{rule.rule}"
    literal, variable, _ = rule.rule.partition("<")
    shape = Shape(text, literal, not variable)
    methods = ["WEBSOCKET"] if rule.websocket else sorted(rule.methods or [])
    asked = _answer_of_flask_admin(app, rule.rule, view)
    by_decision: dict[Decision, list[str]] = {}
    for method in methods or [""]:
        decision = _decision(app, rule, view, method)
        # Flask's automatic OPTIONS response does not call the view.
        if decision is OPEN and asked is not None and not _is_automatic(rule, method):
            decision = asked
        by_decision.setdefault(decision, []).append(method)
    for decision, decided in by_decision.items():
        yield from rows(shape, filter(None, decided), endpoint, decision, checks, exempt)


def _decision(app: Flask, rule: Rule, view: Callable[..., Any] | None, method: str) -> Decision:
    """Return the decision for a view and a method, without the checks of every path."""
    # Without the extension, only a hook can check a request before Flask's automatic response.
    has_gate = "arrcert" in app.extensions
    is_automatic = _is_automatic(rule, method)
    named: dict[str, str] = {}
    if view is not None and (has_gate or not is_automatic):
        for handler, by in ((view, "decorator"), *_handlers(view, method, has_gate)):
            requirement = requirement_named_by(handler)
            if requirement is not None:
                named.setdefault(requirement.policy, by_role(by, requirement.role))
    hook = _of_hooks(app, rule.endpoint)
    if hook is not None:
        for policy in hook.policies:
            named.setdefault(policy, hook.decided_by)
    if named:
        by = " + ".join(dict.fromkeys(named.values()))
        return Decision(Verdict.PROTECTED, tuple(named), by)
    if is_exempt_view(view):
        return Decision(Verdict.EXEMPT, (), "certificate_exempt")
    if is_automatic:
        return OPEN
    inside = [view, *(handler for handler, _ in _handlers(view, method, has_gate))]
    inside.append(getattr(getattr(view, "view_class", None), "dispatch_request", None))
    inside += [hook for _, hook in _hooks(app, rule.endpoint)]
    if any(mentions(one, (authorize_request, authorize)) for one in inside):
        return _CALLS
    return _HIDDEN if any(map(hides_policy, inside)) else OPEN


def _is_automatic(rule: Rule, method: str) -> bool:
    """Return whether Flask answers a method itself, without the view."""
    return method == "OPTIONS" and getattr(rule, "provide_automatic_options", False)


def _handlers(view: Any, method: str, has_gate: bool) -> list[tuple[Any, str]]:
    """Return the methods of a class-based view that run for an HTTP method."""
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return []
    handler = getattr(view_class, method.lower(), None)
    if handler is None and method == "HEAD":
        handler = getattr(view_class, "get", None)
    if handler is None and method == "OPTIONS" and has_gate:
        # The gate checks the policies of all methods.
        return [(one, "decorator of a method") for one in methods_of(view)]
    return [(handler, "decorator of a method")]


def _of_hooks(app: Flask, endpoint: str | None) -> Decision | None:
    """Return what the `before_request` hooks decide for an endpoint, or None."""
    named: dict[str, str] = {}
    for name, hook in _hooks(app, endpoint):
        requirement = requirement_named_by(hook)
        if requirement is not None:
            by = "hook of the app" if name is None else f"hook of the blueprint {name}"
            named.setdefault(requirement.policy, by_role(by, requirement.role))
    if named:
        by = " + ".join(dict.fromkeys(named.values()))
        return Decision(Verdict.PROTECTED, tuple(named), by)
    return None


def _hooks(app: Flask, endpoint: str | None) -> Iterator[tuple[str | None, Callable[..., Any]]]:
    """Yield the `before_request` hooks that run for an endpoint, with their blueprint's name."""
    names: list[str | None] = [None]
    parts = (endpoint or "").split(".")[:-1]
    names += [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    for name in names:
        for hook in app.before_request_funcs.get(name, ()):
            yield name, hook


def _answer_of_flask_admin(app: Flask, path: str, view: Any) -> Decision | None:
    """Return what `is_accessible` of a Flask-Admin view decides, or None if it is not called."""
    flask_admin = sys.modules.get("flask_admin")
    admin_view = getattr(view, "__self__", None)
    if flask_admin is None or not isinstance(admin_view, flask_admin.BaseView):
        return None
    kind, base = type(admin_view), flask_admin.BaseView
    if not getattr(view, "_wrapped", False) or kind._handle_view is not base._handle_view:
        return None
    if kind.is_accessible is base.is_accessible:
        return None
    with questions() as policies, app.test_request_context(path):
        try:
            accessible = kind.is_accessible(admin_view)
        except ClientCertificateForbidden:
            return Decision(Verdict.PROTECTED, tuple(policies), _IS_ACCESSIBLE)
        except Exception as error:
            return Decision(Verdict.UNKNOWN, (), f"{_IS_ACCESSIBLE} failed: {_type(error)}")
    return None if accessible else _SITE_DENIES


def _mounts(wrappers: Iterable[object]) -> Iterator[Route]:
    """Yield a row for each app to which `DispatcherMiddleware` passes paths."""
    checks: list[Check] = []
    for layer in wrappers:
        check = check_of(layer)
        checks += [] if check is None else [check]
        mounts = getattr(layer, "mounts", None)
        if isinstance(mounts, Mapping):
            for path, mounted in mounts.items():
                inside, layers = describe_all("WSGI", layers_around(mounted))
                shape = Shape(f"{path}/*", f"{path}/", False)
                yield from rows(shape, (), layers[-1].name, OPEN, [*checks, *inside])


def _exempt_paths_by_rule(app: Flask, checks: Iterable[Check]) -> dict[int, list[str]]:
    """Return the exempt paths that lead to each rule with a variable part."""
    found: dict[int, list[str]] = {}
    matcher = app.url_map.bind(app.config.get("SERVER_NAME") or "localhost")
    for entry in exact_entries(checks):
        for method in ("GET", "POST", "PUT", "DELETE"):
            try:
                rule, _ = matcher.match(entry, method=method, return_rule=True)
            # The entry leads to no rule for this method, or a converter of the site has failed.
            except Exception:  # noqa: S112
                continue
            if rule.rule != entry:
                paths = found.setdefault(id(rule), [])
                paths += [entry] if entry not in paths else []
    return found


def _type(error: Exception) -> str:
    return type(error).__name__
