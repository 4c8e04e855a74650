"""What the WSGI and the ASGI middleware share: their arguments, and the denial.

The framework adapters also use `private` and `SHARED_CACHES`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from arrcert.adapters import deny_misconfigured, deny_unconfigured, require_policy_name
from arrcert.authorizer import Authorizer
from arrcert.exceptions import ConfigurationError, Problem, quote
from arrcert.forwarding.exempt_paths import ExemptPaths
from arrcert.identity import ClientIdentity
from arrcert.settings import load_environment

IDENTITY = "arrcert.identity"
"""The key of a WSGI environ and of an ASGI scope that holds the `ClientIdentity`; None on exempt
paths. Clients cannot set it."""

FORBIDDEN = b"Forbidden\n"
"""The body of every denial."""

FORBIDDEN_TYPE = "text/plain; charset=utf-8"
"""The `Content-Type` of every denial."""

PRIVATE = "private"
"""The `Cache-Control` of a response to an authorized request, if the app does not set one."""

SHARED_CACHES = ("-cache-control", "surrogate-control", "edge-control", "x-accel-expires")
"""How the names of the response headers end, in lower case, by which an app addresses only shared
caches. A cache that knows such a header ignores `Cache-Control` (RFC 9213 section 2.2). So a
response to an authorized request is sent without them. The names in RFC 9213 end in
`-Cache-Control`; the other three are those of surrogates (Edge Architecture Specification), Akamai
and nginx."""

# A comma inside a quoted text separates nothing (RFC 9110 section 5.6.4).
_DIRECTIVE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')

_EXEMPT_PATHS = "ARRCERT_EXEMPT_PATHS"


class Gate:
    """The check of a plain middleware.

    Args:
        authorizer: an `Authorizer`, a callable that returns the current one, or None for the one
            that the environment describes.
        policy: the name of the policy; None for any policy, `default` first.
        exempt_paths: paths that are not checked, as in `ARRCERT_EXEMPT_PATHS`. None means no path;
            if `authorizer` is None, it means the paths in the environment.

    Raises:
        ConfigurationError: the environment, the exempt paths or the policy's name are wrong.
        TypeError: `authorizer` or `policy` is of another type.

    Attributes:
        exempt_paths: the paths that are not checked.
        policy: the name of the policy; None for any policy.
    """

    def __init__(
        self,
        authorizer: Authorizer | Callable[[], Authorizer] | None,
        policy: str | None,
        exempt_paths: Collection[str] | None,
    ) -> None:
        if policy is not None:
            require_policy_name(policy)
        self.exempt_paths = ExemptPaths(() if exempt_paths is None else exempt_paths)
        if authorizer is None:
            settings = load_environment()
            authorizer = Authorizer.from_settings(settings)
            if exempt_paths is None:
                self.exempt_paths = settings.exempt_paths
            elif _EXEMPT_PATHS in os.environ:
                raise ConfigurationError(
                    [
                        Problem(
                            _EXEMPT_PATHS,
                            "is set in the environment, and the middleware has the argument"
                            " exempt_paths: two sources; keep one of the two",
                        )
                    ]
                )
        if isinstance(authorizer, Authorizer):
            known = authorizer.policy_names
            # An app that is not configured has no policies, and denies every request.
            if policy is not None and known and policy not in known:
                raise ConfigurationError([_unknown_policy(policy, known)])
        elif not callable(authorizer):
            raise TypeError(
                f"authorizer is {authorizer!r}; write an Authorizer, a callable that returns one,"
                " or None for the environment"
            )
        self._authorizer = authorizer
        self._fixed = authorizer if isinstance(authorizer, Authorizer) else None
        self.policy = policy

    def identify_wsgi(self, environ: Mapping[str, Any]) -> ClientIdentity:
        """Decide on a WSGI request (PEP 3333).

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
        """
        authorizer = self._fixed
        if authorizer is None:
            authorizer = self.current(environ=environ)
        return authorizer.identify_wsgi(environ, self.policy)

    def identify_asgi(self, scope: Mapping[str, Any]) -> ClientIdentity:
        """Decide on an ASGI request or WebSocket handshake.

        Raises:
            CertificateDenied: the request is denied. The denial is already logged.
        """
        authorizer = self._fixed
        if authorizer is None:
            authorizer = self.current(scope=scope)
        return authorizer.identify_asgi(scope, self.policy)

    def current(
        self,
        *,
        environ: Mapping[str, Any] | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> Authorizer:
        """Return the current authorizer.

        Raises:
            CertificateDenied: the callable that returns it failed; the denial is logged.
        """
        if isinstance(self._authorizer, Authorizer):
            return self._authorizer
        name = self.policy or "default"
        cause: Exception | None = None
        try:
            current = self._authorizer()
            if isinstance(current, Authorizer):
                return current
            why = f"the callable returned {quote(current)}, which is not an Authorizer"
        except ConfigurationError as error:
            raise deny_unconfigured(error, name, environ=environ, scope=scope) from error
        # The callable is the site's own, and may raise any exception. Then the request is denied.
        except Exception as error:
            cause = error
            why = f"the callable that returns the authorizer failed: {quote(error)}"
        raise deny_misconfigured(why, name, environ=environ, scope=scope) from cause


def forbidden_headers(
    body: bytes = FORBIDDEN, content_type: str = FORBIDDEN_TYPE
) -> list[tuple[str, str]]:
    """Return the headers of a denial.

    Args:
        body: its body.
        content_type: the type of the body.
    """
    return [
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]


def private(cache_control: Sequence[str]) -> str | None:
    """Return the `Cache-Control` that keeps a response out of shared caches (RFC 9111).

    Args:
        cache_control: the values of the response's own header, in order.

    Returns:
        The value to send, or None if the response does not need another one. `no-store` is enough,
        except together with `must-understand`, which tells caches to ignore it (section 5.2.2.3).

    It does not affect caches inside the app. The caller removes the headers of `SHARED_CACHES`.
    """
    if not cache_control:
        return PRIVATE
    directives = [found.strip() for value in cache_control for found in _DIRECTIVE.findall(value)]
    words = [directive.lower() for directive in directives]
    if "no-store" in words and "must-understand" not in words:
        return None
    if "private" in words and "public" not in words:
        return None
    kept = [text for text, word in zip(directives, words, strict=True) if word and word != "public"]
    return ", ".join(kept if "private" in words else [*kept, "private"])


def _unknown_policy(policy: str, known: Iterable[str]) -> Problem:
    return Problem(
        "policy",
        f"no policy is called {quote(policy)}; write one of {', '.join(map(quote, known))}",
    )
