"""The modules that decide: the one list for branch coverage and for mutation testing.

Every module of these packages decides unless `NOT_DECIDING` names it. A new module is on the
list from its first line.
"""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("arrcert", "arrcert_flask", "arrcert_django", "arrcert_fastapi", "arrcert_pytest")

NOT_DECIDING = {
    "arrcert/cli": "It contains the `arrcert` command. No site imports it.",
    "arrcert/access.py": "It logs entries after they are decided.",
    "arrcert/denials.py": "It logs denials after they are decided.",
    "arrcert/engine_io.py": "It logs servers of Socket.IO that offer long polling.",
    "arrcert/explanation.py": "It explains a decision, to an operator. It admits no client.",
    "arrcert/inspection.py": "It is a part of the route audit, which no request meets.",
    "arrcert/expiry.py": "It warns of what ends, after it was accepted.",
    "arrcert/outbound.py": "It presents a certificate to other servers. It admits no client.",
    "arrcert/routes.py": "It is the report of the route audit, which no request meets.",
    "arrcert/surroundings.py": "It is a part of the route audit, which no request meets.",
    "arrcert/telemetry.py": "It counts what is decided.",
    "arrcert/terminal.py": "It measures the terminal for the commands.",
    "arrcert/testing.py": "It makes certificates for tests.",
    "arrcert_django/apps.py": "It registers the system checks.",
    "arrcert_django/checks.py": "It reports mistakes at start-up. The middleware does not ask it.",
    "arrcert_django/management": "It contains the command of the route audit.",
    "arrcert_django/routes.py": "It is a part of the route audit, which no request meets.",
    "arrcert_django/openapi.py": "It describes the authentication in OpenAPI schemas.",
    "arrcert_django/signals.py": "It declares signals.",
    "arrcert_django/user_checks.py": "It reports mistakes at start-up. No request asks it.",
    "arrcert_django/unguarded.py": "It reports what answers before the check. It denies nothing.",
    "arrcert_fastapi/audit.py": "It is a part of the route audit, which no request meets.",
    "arrcert_fastapi/middlewares.py": "It reports what answers before the gate. It denies nothing.",
    "arrcert_flask/commands.py": "It contains the command of the route audit.",
    "arrcert_flask/routes.py": "It is a part of the route audit, which no request meets.",
    "arrcert_flask/signals.py": "It declares signals.",
    "arrcert_pytest": "It makes certificates and clients for tests.",
}
"""The modules and folders that do not decide about requests, each with the reason."""


def deciding_modules(root: Path, packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """Return the path of each deciding module, relative to the root: `arrcert/trust/pem.py`.

    Args:
        root: the folder that holds the packages.
        packages: the packages to look at. One that is not there has no modules.
    """
    return [
        name
        for package in packages
        for name in sorted(
            path.relative_to(root).as_posix() for path in (root / package).rglob("*.py")
        )
        if is_deciding(name)
    ]


def is_deciding(name: str) -> bool:
    """Tell whether a module decides.

    Args:
        name: its path relative to the root. A package that is not in `PACKAGES` has no deciding
            modules.
    """
    package = name.partition("/")[0]
    return package in PACKAGES and not any(
        f"{name}/".startswith(f"{excluded}/") for excluded in NOT_DECIDING
    )
