"""Imports go in one direction only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import arrcert
import arrcert_django
import arrcert_flask

CORE = Path(arrcert.__file__).parent
FLASK = Path(arrcert_flask.__file__).parent
DJANGO = Path(arrcert_django.__file__).parent

STOREYS = [
    "exceptions",
    "moments",
    "notation",
    "key_vault",
    "names",
    "keys",
    "certificate",
    "pins",
    "denials",
    "adapters",
    "forwarding.gunicorn",
    "forwarding.servers",
    "forwarding.encodings",
    "forwarding.front_ends",
    "forwarding.proxies",
    "forwarding.ingress",
    "forwarding.exempt_paths",
    "gunicorn",
    "trust.pem",
    "trust.name_constraints",
    "trust.crls",
    "trust.revocation",
    "trust.paths",
    "trust.files",
    "rules",
    "policy",
    "memory",
    "alternatives",
    "authorizer",
    "settings.environment",
    "settings.options",
    "settings.names",
    "settings.validation",
    "settings",
    "outbound",
    "testing",
    "cli.downloads",
    "cli.front_end",
    "cli.apps",
    "cli.commands",
    "cli",
    "cli.__main__",
]
"""The core's modules from the ground up: each may import only those before it."""


def path_of(storey: str) -> Path:
    """Return the file of a module of the core."""
    module = CORE / storey.replace(".", "/")
    return module / "__init__.py" if module.is_dir() else module.with_suffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports at run time."""
    tree = ast.parse(path.read_text())
    only_for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in only_for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def storeys_of(storey: str) -> set[str]:
    """Return the modules of the core that a module imports."""
    found = set()
    for name in imports(path_of(storey)):
        if not name.startswith("arrcert."):
            assert name.partition(".")[0] != "arrcert", f"{storey} imports the public face"
            continue
        parts = name.split(".")[1:]
        # A name in a module, or the module itself.
        module = ".".join(parts) if ".".join(parts) in STOREYS else ".".join(parts[:-1])
        assert module in STOREYS, f"{storey} imports {name}"
        found.add(module)
    return found


def packages(folder: Path) -> set[str]:
    """Return the top-level packages that the modules of a folder import."""
    return {name.partition(".")[0] for path in folder.rglob("*.py") for name in imports(path)}


def test_core_imports_without_frameworks() -> None:
    """The core and `arrcert.testing` need neither Flask, Django nor the development tools."""
    program = (
        "import sys\n"
        "for name in ('flask', 'django', 'werkzeug', 'asgiref', 'click', 'cheroot', 'OpenSSL'):\n"
        "    sys.modules[name] = None\n"
        "import arrcert, arrcert.testing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("module", ["outbound", "settings", "testing", "cli"])
def test_import_of_the_core_is_small(module: str) -> None:
    """`import arrcert` does not import what only some apps need."""
    program = f"import sys, arrcert; assert 'arrcert.{module}' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("storey", [name for name in STOREYS if not name.startswith("cli")])
def test_core_needs_cryptography_alone(storey: str) -> None:
    """A module of the core imports the standard library, cryptography and the core."""
    found = {name.partition(".")[0] for name in imports(path_of(storey))}
    assert found - set(sys.stdlib_module_names) <= {"cryptography", "arrcert"}


def test_every_module_has_its_place() -> None:
    """The list above holds each module of the core once, so that nothing escapes these tests."""
    found = {
        ".".join(path.relative_to(CORE).with_suffix("").parts).removesuffix(".__init__")
        for path in CORE.rglob("*.py")
        if path.name != "__init__.py" or list(imports(path))
    }
    assert found == {*STOREYS, "__init__"}
    assert len(STOREYS) == len(set(STOREYS))


@pytest.mark.parametrize("storey", STOREYS)
def test_arrows_point_downward(storey: str) -> None:
    """A module of the core imports only modules below it, so that there is no circle."""
    assert storeys_of(storey) <= set(STOREYS[: STOREYS.index(storey)])


def test_imports_for_types_alone_do_not_count() -> None:
    """An import under `if TYPE_CHECKING` is none at run time."""
    assert "arrcert.certificate" in path_of("exceptions").read_text()
    assert storeys_of("exceptions") == set()


def reached(storey: str) -> set[str]:
    """Return the modules of the core that a module imports, directly or not."""
    direct = storeys_of(storey)
    return direct.union(*map(reached, direct))


@pytest.mark.parametrize(
    ("storey", "other"),
    [
        ("authorizer", "settings"),
        ("authorizer", "settings.validation"),
        ("outbound", "policy"),
        ("outbound", "rules"),
        ("adapters", "authorizer"),
        ("policy", "authorizer"),
        ("denials", "certificate"),
    ],
)
def test_modules_that_do_not_know_each_other(storey: str, other: str) -> None:
    """Some modules import others neither directly nor through a third."""
    assert {storey, other} <= set(STOREYS)
    assert other not in reached(storey)


def test_adapters_know_no_x509_and_not_each_other() -> None:
    """An adapter imports its framework and the core, and neither cryptography nor another one."""
    assert packages(FLASK) & {"cryptography", "OpenSSL", "django", "arrcert_django"} == set()
    assert packages(DJANGO) & {"cryptography", "OpenSSL", "flask", "arrcert_flask"} == set()
    assert packages(CORE) & {"flask", "django", "arrcert_flask", "arrcert_django"} == set()


def test_public_face_is_whole() -> None:
    """Every public name exists and is documented, and the list of names is sorted."""
    for package in (arrcert, arrcert_flask):
        assert sorted(package.__all__) == package.__all__
        for name in package.__all__:
            assert getattr(package, name).__doc__
    assert arrcert.__all__ == [
        "ArrcertError",
        "Authorizer",
        "CertificateDenied",
        "ClientCertificate",
        "ConfigurationError",
        "DenialReason",
        "Policy",
        "Problem",
    ]


def test_core_exports_its_public_face_alone() -> None:
    """Beside its submodules, `arrcert` has no other public names than those of `__all__`."""
    names = {
        name
        for name, value in vars(arrcert).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert names == set(arrcert.__all__)


@pytest.mark.parametrize("folder", [CORE, FLASK, DJANGO])
def test_types_are_published(folder: Path) -> None:
    """Each package ships its types (PEP 561)."""
    assert (folder / "py.typed").exists()
