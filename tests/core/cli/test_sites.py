"""The settings of a site come from the environment, a TOML file or an app."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click import ClickException

from arrcert.cli.sites import Site, site_of_app, site_of_environment, site_of_file
from arrcert.settings.contents import sealed

PIN = "AB" * 32


def error_of(site: Callable[[], Site]) -> str:
    """Return the error with which reading a site ends."""
    with pytest.raises(ClickException) as caught:
        site()
    assert caught.value.exit_code == 2
    return caught.value.message


@pytest.fixture
def _modules() -> Iterator[None]:
    """Forget what a test imported."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("site_"):
            del sys.modules[name]


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies are JSON or flat variables, and their text is kept for suggestions."""
    assert "ARRCERT: is not set" in error_of(site_of_environment)
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", PIN)
    monkeypatch.setenv("ARRCERT_FRONT_END", "envoy")
    site = site_of_environment()
    assert (site.language, site.written) == ("flat", {"default": {"fingerprints": [PIN]}})
    assert (list(site.policies), site.front_end.name) == (["default"], "envoy")
    monkeypatch.delenv("ARRCERT_FINGERPRINTS")
    written = {"partners": [{"fingerprints": [PIN]}]}
    monkeypatch.setenv("ARRCERT", json.dumps(written))
    site = site_of_environment()
    assert (site.language, site.written) == ("json", written)


def test_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in a file are relative to it, and the policies in the environment are ignored."""
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", PIN)
    monkeypatch.setenv("ARRCERT_FRONT_END", "nginx")
    (folder / "etc").mkdir()
    (folder / "ca.pem").rename(folder / "etc" / "ca.pem")
    file = folder / "etc" / "partners.toml"
    file.write_text(
        f'[[default]]\nfingerprints = [{{ fingerprint = "{PIN}", not_after = 2027-01-31 }}]\n'
        '[[default]]\ntrust_anchors = "ca.pem"\ncommon_names = ["alice"]\n'
        '[one]\ntrust_anchors = ["ca.pem"]\n'
    )
    site = site_of_file(file)
    assert (site.language, site.folder, site.front_end.name) == ("toml", file.parent, "nginx")
    assert [len(alternatives) for alternatives in site.policies.values()] == [2, 1]
    assert site.policies["default"][1].trust_store() is not None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("default = [", "is not TOML: "),
        ("default = 1", "is neither a policy nor a list of alternatives"),
        ('[default]\nfingerprint = ["x"]', "did you mean fingerprints?"),
        ("[default]\ntrust_anchors = 1", "is neither a PEM or DER file's path nor PEM text"),
    ],
)
def test_file_with_mistakes(folder: Path, text: str, error: str) -> None:
    """A file that cannot be used is an error that says why."""
    file = folder / "partners.toml"
    file.write_text(text)
    assert error in error_of(lambda: site_of_file(file))


@pytest.mark.parametrize("front_end", ["apache", "", "{"])
def test_file_beside_a_front_end_with_mistakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, front_end: str
) -> None:
    """The front end from the environment is validated even if the policies come from a file."""
    monkeypatch.setenv("ARRCERT_FRONT_END", front_end)
    file = folder / "partners.toml"
    file.write_text(f'[default]\nfingerprints = ["{PIN}"]\n')
    assert error_of(lambda: site_of_file(file)).startswith("ARRCERT_FRONT_END: ")


def test_missing_file(folder: Path) -> None:
    """A missing file is an error."""
    assert "--file: cannot read" in error_of(lambda: site_of_file(folder / "no.toml"))


@pytest.mark.usefixtures("_modules")
class TestApps:
    def test_flask(
        self, make_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Flask app has its settings in its config or in the environment."""
        name = make_module(
            f"""
            from flask import Flask
            from arrcert_flask import Arrcert
            app, plain, bare = Flask("a"), Flask("b"), Flask("c")
            app.config["ARRCERT"] = {{"default": {{"fingerprints": ["{PIN}"]}}}}
            Arrcert(app)
            def create_app():
                Arrcert(plain)
                return plain
            """
        )
        site = site_of_app(f"{name}:app")
        assert (list(site.policies), site.language) == (["default"], "python")
        assert site.written == {"default": {"fingerprints": [PIN]}}
        assert "ARRCERT: is not set" in error_of(lambda: site_of_app(f"{name}:create_app()"))
        monkeypatch.setenv("ARRCERT_FINGERPRINTS", PIN)
        assert site_of_app(f"{name}:create_app()").language == "flat"
        assert "is not configured with arrcert" in error_of(lambda: site_of_app(f"{name}:bare"))
        assert "has no 'other'" in error_of(lambda: site_of_app(f"{name}:other"))

    def test_flask_without_policies(
        self, make_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A Flask app that denies every request because it has no policies is an error."""
        monkeypatch.setenv("FLASK_RUN_FROM_CLI", "true")
        name = make_module(
            "from flask import Flask\nfrom arrcert_flask import Arrcert\n"
            "app = Flask('a')\nArrcert(app)\n"
        )
        assert "the app has no policies" in error_of(lambda: site_of_app(f"{name}:app"))

    def test_fastapi(
        self, make_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A FastAPI app has its settings in a mapping, in the environment, or in a file."""
        name = make_module(
            f"""
            from fastapi import FastAPI
            from arrcert_fastapi import Arrcert
            app, bare = FastAPI(), FastAPI()
            Arrcert(app, {{"ARRCERT": {{"default": {{"fingerprints": ["{PIN}"]}}}}}})
            class Wrapper:
                def __init__(self, app): self.app = app
                async def __call__(self, scope, receive, send): ...
            wrapped = Wrapper(app)
            def create_app():
                made = FastAPI()
                Arrcert(made)
                return made
            """
        )
        for app in ("app", "wrapped"):
            site = site_of_app(f"{name}:{app}")
            assert (list(site.policies), site.language) == (["default"], "python")
            assert site.written == {"default": {"fingerprints": [PIN]}}
        assert "is not configured with arrcert" in error_of(lambda: site_of_app(f"{name}:bare"))
        assert "ARRCERT: is not set" in error_of(lambda: site_of_app(f"{name}:create_app()"))
        monkeypatch.setenv("ARRCERT_FINGERPRINTS", PIN)
        assert site_of_app(f"{name}:create_app()").language == "flat"
        monkeypatch.delenv("ARRCERT_FINGERPRINTS")
        file = tmp_path / "partners.toml"
        file.write_bytes(sealed(f'[[default]]\nfingerprints = ["{PIN}"]\n'.encode()))
        file.chmod(0o600)
        monkeypatch.setenv("ARRCERT_FILE", str(file))
        site = site_of_app(f"{name}:create_app()")
        assert (site.language, site.folder) == ("toml", tmp_path)

    def test_middleware(self, make_module: Callable[[str], str]) -> None:
        """The authorizer of a plain middleware is found, also below other wrappers."""
        name = make_module(
            f"""
            from arrcert import Authorizer, Policy
            from arrcert.asgi import ClientCertificateMiddleware as Asgi
            from arrcert.wsgi import ClientCertificateMiddleware as Wsgi
            authorizer = Authorizer({{"partners": Policy(fingerprints=["{PIN}"])}})
            def app(environ, start_response): ...
            class Wrapper:
                def __init__(self, app): self.app = app
                def __call__(self, environ, start_response): ...
            wsgi = Wrapper(Wsgi(app, authorizer, policy=None))
            async def other(scope, receive, send): ...
            asgi = Asgi(other, lambda: authorizer, policy=None)
            broken = Asgi(other, lambda: None, policy=None)
            """
        )
        for app in ("wsgi", "asgi"):
            site = site_of_app(f"{name}:{app}")
            assert (list(site.policies), site.written) == (["partners"], None)

    def test_settings_module_of_django(self, make_module: Callable[[str], str]) -> None:
        """The settings module of a Django site is read as Django reads it."""
        name = make_module(
            f"ARRCERT = {{'default': {{'fingerprints': ['{PIN}']}}}}\narrcert_x = 1\nDEBUG = True\n"
        )
        site = site_of_app(name)
        assert (list(site.policies), site.language) == (["default"], "python")
        wrong = make_module("ARRCERT_PROTECT = True")
        assert "there is no such setting" in error_of(lambda: site_of_app(wrong))
        assert "no module named" in error_of(lambda: site_of_app("site_that_is_not_there"))

    def test_flask_with_a_file(
        self, make_module: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """An app that follows a file has the policies of the file."""
        file = tmp_path / "etc" / "partners.toml"
        file.parent.mkdir(mode=0o700)
        file.write_bytes(sealed(f'[[default]]\nfingerprints = ["{PIN}"]\n'.encode()))
        monkeypatch.setenv("ARRCERT_FILE", str(file))
        name = make_module(
            "from flask import Flask\nfrom arrcert_flask import Arrcert\n"
            "app = Flask('a')\nArrcert(app)\n"
        )
        for site in (site_of_app(f"{name}:app"), site_of_environment()):
            assert (site.language, site.folder) == ("toml", file.parent)
            assert site.written == {"default": [{"fingerprints": [PIN]}]}
            assert list(site.policies) == ["default"]
