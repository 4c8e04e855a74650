"""Imports go in one direction, and the public names are complete."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import arrcert
import arrcert_django
import arrcert_flask

CORE = Path(arrcert.__file__).parent
FLASK = Path(arrcert_flask.__file__).parent
DJANGO = Path(arrcert_django.__file__).parent
# FastAPI itself is not imported here, because it is an extra.
FASTAPI = CORE.parent / "arrcert_fastapi"
# pytest's plugin is not imported either, because this run has already loaded it.
PYTEST = CORE.parent / "arrcert_pytest"

ORDER = [
    "key_vault",
    "moments",
    "notation",
    "invisible",
    "exceptions",
    "denials",
    "adapters",
    "inspection",
    "keys",
    "certificate",
    "names",
    "identity",
    "access",
    "shared_identities",
    "pins",
    "forwarding",
    "forwarding.gunicorn",
    "forwarding.servers",
    "forwarding.encodings",
    "forwarding.front_ends",
    "forwarding.proxies",
    "forwarding.peers",
    "forwarding.cross_site",
    "forwarding.ingress",
    "forwarding.exempt_paths",
    "trust",
    "trust.pem",
    "trust.name_constraints",
    "trust.scopes",
    "trust.crls",
    "trust.revocation",
    "trust.locations",
    "trust.paths",
    "trust.files",
    "presented",
    "expiry",
    "rules",
    "policy",
    "memory",
    "alternatives",
    "explanation",
    "telemetry",
    "settings.options",
    "settings.names",
    "settings.environment",
    "settings.contents",
    "settings.policies",
    "settings.file",
    "settings.validation",
    "settings",
    "authorizer",
    "layers",
    "engine_io",
    "gate",
    "wsgi",
    "asgi",
    "terminal",
    "routes",
    "surroundings",
    "gunicorn",
    "outbound",
    "testing",
]
"""Every module of the core except the command. Each may import those before it."""

PUBLIC = {"arrcert", "arrcert.cli", "arrcert.gunicorn", "arrcert.outbound", "arrcert.settings"}
PUBLIC |= {"arrcert.asgi", "arrcert.explanation", "arrcert.testing", "arrcert.wsgi"}
"""The modules whose names are kept between versions. They are those that define `__all__`."""


def path_of(module: str) -> Path:
    """Return the file of a module of the core."""
    path = CORE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Return the dotted name of everything that a module imports when it runs."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(folder: Path) -> set[str]:
    """Return the top-level names that a folder's modules import."""
    return {name.partition(".")[0] for path in folder.rglob("*.py") for name in imports(path)}


def test_every_module_has_its_place() -> None:
    """Each module of the core has its place in the order of imports."""
    modules = {
        ".".join(path.relative_to(CORE).with_suffix("").parts).removesuffix(".__init__")
        for path in CORE.rglob("*.py")
        if "cli" not in path.relative_to(CORE).parts
    }
    assert modules - {"__init__"} == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", ORDER)
def test_imports_go_in_one_direction(module: str) -> None:
    """A module of the core imports only modules before it, so there is no circle."""
    before = ORDER[: ORDER.index(module)]
    for name in imports(path_of(module)):
        if name.startswith("arrcert."):
            assert any(f"{name}.".startswith(f"arrcert.{other}.") for other in before), name


@pytest.mark.parametrize("module", ORDER)
def test_core_needs_cryptography_alone(module: str) -> None:
    """A deployed core imports the standard library and cryptography; `telemetry` needs an extra."""
    found = {name.partition(".")[0] for name in imports(path_of(module))}
    extra = {"opentelemetry"} if module == "telemetry" else set()
    assert found - set(sys.stdlib_module_names) <= {"cryptography", "arrcert"} | extra


@cache
def modules_imported_by(module: str) -> set[str]:
    """Return the modules of the core that a module imports, directly or through others."""
    direct = {
        other
        for other in ORDER
        for name in imports(path_of(module))
        # `from arrcert.pins import Pin` names the module and then something in it.
        if name == f"arrcert.{other}" or name.rpartition(".")[0] == f"arrcert.{other}"
    }
    return direct.union(*map(modules_imported_by, direct))


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("policy", "settings.validation"),
        ("outbound", "policy"),
        ("outbound", "rules"),
        ("denials", "policy"),
        ("adapters", "authorizer"),
        ("exceptions", "certificate"),
    ],
)
def test_modules_that_need_not_know_each_other(module: str, other: str) -> None:
    """Some modules must not import another one, directly or through a third.

    An import under `if TYPE_CHECKING` does not count, and `exceptions` has one.
    """
    assert {module, other} <= set(ORDER)
    assert other not in modules_imported_by(module)


def test_imports_through_other_modules_are_found() -> None:
    """The search finds an import through a third module: the authorizer imports the rules."""
    assert "policy" in modules_imported_by("authorizer")
    assert "arrcert.rules.KEYS" not in set(imports(path_of("authorizer")))
    assert "rules" in modules_imported_by("authorizer")


def test_core_imports_without_frameworks() -> None:
    """The core and its certificates for tests need neither Flask, Django nor the dev tools."""
    program = (
        "import sys\n"
        "for name in ('flask', 'django', 'werkzeug', 'asgiref', 'click', 'cheroot', 'OpenSSL'):\n"
        "    sys.modules[name] = None\n"
        "import arrcert, arrcert.testing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "module", ["outbound", "settings", "testing", "cli", "wsgi", "asgi", "telemetry"]
)
def test_import_of_the_core_is_small(module: str) -> None:
    """`import arrcert` does not import what only some sites need."""
    program = f"import sys, arrcert; assert 'arrcert.{module}' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_adapters_know_no_x509_and_not_each_other() -> None:
    """An adapter imports its framework and the core, but not cryptography or another adapter."""
    adapters = {FLASK: "flask", DJANGO: "django", FASTAPI: "fastapi"}
    for adapter, framework in adapters.items():
        others = {other for other in adapters.values() if other != framework}
        forbidden = {"cryptography", "OpenSSL", *others, *(f"arrcert_{other}" for other in others)}
        assert framework in packages(adapter)
        assert packages(adapter) & forbidden == set()
        assert packages(CORE) & {framework, f"arrcert_{framework}"} == set()


def test_plugin_of_pytest_imports_nothing_when_it_is_loaded() -> None:
    """The plugin imports only pytest at its top, because pytest loads it in every project."""
    for path in (PYTEST / "__init__.py", PYTEST / "plugin.py"):
        top = ast.parse(path.read_text(encoding="utf-8")).body
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) <= {
            "pytest"
        }
    assert "arrcert_pytest" not in packages(CORE) | packages(FLASK) | packages(DJANGO)


def test_public_modules_can_be_recognized() -> None:
    """Each public module defines `__all__`, and the docstring of its package lists it."""
    defining = {
        ".".join(("arrcert", *path.relative_to(CORE).with_suffix("").parts)).removesuffix(
            ".__init__"
        )
        for path in CORE.rglob("*.py")
        if "\n__all__ = " in path.read_text(encoding="utf-8")
    }
    assert defining == PUBLIC
    for module in PUBLIC - {"arrcert"}:
        assert f"`{module}`" in (arrcert.__doc__ or "")


def test_public_face_is_whole() -> None:
    """Every public name exists, has a docstring, and is listed in order."""
    for package in (arrcert, arrcert_flask):
        assert sorted(package.__all__) == package.__all__
        for name in package.__all__:
            assert getattr(package, name).__doc__
    assert {
        "Authorizer",
        "CertificateDenied",
        "ClientCertificate",
        "ConfigurationError",
        "DenialReason",
        "Policy",
    } <= set(arrcert.__all__)


def test_core_exports_its_public_face_alone() -> None:
    """The public names of `arrcert` are its modules and the names of `__all__`."""
    names = {
        name
        for name, value in vars(arrcert).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert names == set(arrcert.__all__)


@pytest.mark.parametrize("folder", [CORE, FLASK, DJANGO, FASTAPI, PYTEST])
def test_types_are_published(folder: Path) -> None:
    """Each package ships its types (PEP 561)."""
    assert (folder / "py.typed").exists()
