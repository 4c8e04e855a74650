"""Arrows point downward only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import arrcert
import arrcert_django
import arrcert_flask

CORE = Path(arrcert.__file__).parent
FLASK = Path(arrcert_flask.__file__).parent
DJANGO = Path(arrcert_django.__file__).parent

STOREYS = [
    "exceptions",
    "denials",
    "adapters",
    "forwarding.gunicorn",
    "forwarding.servers",
    "forwarding.encodings",
    "forwarding.front_ends",
    "forwarding.ingress",
    "forwarding.exempt_paths",
    "trust.pem",
    "certificate",
    "trust.name_constraints",
    "trust.crls",
    "trust.revocation",
    "trust.paths",
    "trust.files",
    "pins",
    "names",
    "policy",
    "settings.loading",
    "authorizer",
    "outbound",
]
"""The core's modules from the ground up: each may import those before it."""


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything that a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(folder: Path) -> set[str]:
    """Return the top-level names that a folder's modules import."""
    return {name.partition(".")[0] for path in folder.rglob("*.py") for name in imports(path)}


def test_core_imports_without_frameworks() -> None:
    """The core, its tests' PKI included, needs neither Flask, Django nor the dev tools."""
    program = (
        "import sys\n"
        "for name in ('flask', 'django', 'werkzeug', 'asgiref', 'click', 'cheroot', 'OpenSSL'):\n"
        "    sys.modules[name] = None\n"
        "import arrcert, arrcert.testing\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_core_leaves_outbound_to_those_who_call_out() -> None:
    """Who merely checks certificates does not pay for reading PKCS#12."""
    program = "import sys, arrcert; assert 'arrcert.outbound' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_core_needs_cryptography_alone() -> None:
    """What a deployed core imports is the standard library and cryptography."""
    for storey in STOREYS:
        found = {
            name.partition(".")[0] for name in imports(CORE / f"{storey.replace('.', '/')}.py")
        }
        assert found - set(sys.stdlib_module_names) <= {"cryptography", "arrcert"}, storey


@pytest.mark.parametrize("storey", STOREYS)
def test_arrows_point_downward(storey: str) -> None:
    """A module of the core imports only modules below it."""
    below = STOREYS[: STOREYS.index(storey)]
    for name in imports(CORE / f"{storey.replace('.', '/')}.py"):
        if name.startswith("arrcert.") and storey != "exceptions":
            assert any(f"{name}.".startswith(f"arrcert.{other}.") for other in below), (
                storey,
                name,
            )


def test_adapters_know_no_x509_and_not_each_other() -> None:
    """An adapter imports its framework and the core, never cryptography or the other adapter."""
    assert packages(FLASK) & {"cryptography", "OpenSSL", "django", "arrcert_django"} == set()
    assert packages(DJANGO) & {"cryptography", "OpenSSL", "flask", "arrcert_flask"} == set()
    assert packages(CORE) & {"flask", "django", "arrcert_flask", "arrcert_django"} == set()


def test_public_face_is_whole() -> None:
    """Every public name exists, is documented, and comes from one place."""
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


@pytest.mark.parametrize("folder", [CORE, FLASK, DJANGO])
def test_types_are_published(folder: Path) -> None:
    """Each package ships its types (PEP 561)."""
    assert (folder / "py.typed").exists()
