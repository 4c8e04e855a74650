"""`tools/deciding.py`: which modules decide."""

from __future__ import annotations

from pathlib import Path

import pytest

import arrcert
from tools.deciding import NOT_DECIDING, deciding_modules, is_deciding

INSTALLED = Path(arrcert.__file__).parents[1]


def test_a_new_module_decides() -> None:
    """A module decides unless the list of exceptions names it."""
    assert is_deciding("arrcert/brand_new.py")
    assert is_deciding("arrcert/trust/brand_new.py")
    assert is_deciding("arrcert_django/brand_new.py")


def test_a_folder_is_excepted_with_its_modules() -> None:
    """An exception is a whole path, so `arrcert/cli` does not except `arrcert/client.py`."""
    assert not is_deciding("arrcert/cli/commands.py")
    assert is_deciding("arrcert/client.py")
    assert not is_deciding("sample_sites/demo.py")


def test_real_modules() -> None:
    """The list contains the deciding modules of the core, of its folders, and of the adapters."""
    modules = deciding_modules(INSTALLED)
    assert {
        "arrcert/authorizer.py",
        "arrcert/forwarding/ingress.py",
        "arrcert/trust/revocation.py",
        "arrcert_flask/decorators.py",
        "arrcert_django/middleware.py",
    } <= set(modules)
    assert len(modules) == len(set(modules))
    assert deciding_modules(INSTALLED, ("arrcert",)) == [
        name for name in modules if name.startswith("arrcert/")
    ]


@pytest.mark.parametrize("name", NOT_DECIDING)
def test_exceptions_exist(name: str) -> None:
    """Each exception names an existing module or folder, and gives a reason."""
    assert (INSTALLED / name).exists()
    assert NOT_DECIDING[name].endswith(".")
