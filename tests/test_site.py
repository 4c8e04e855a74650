"""The documentation site has each page, builds without a warning, and is self-contained."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from arrcert import DenialReason

ROOT = Path(__file__).parent.parent
CONFIGURATION = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
CLICKS = 3
"""A newcomer finds each answer with at most so many clicks from the front page."""


def pages(entries: list[Any]) -> Iterator[str]:
    """Return each page of a part of `nav`, in order."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
            continue
        [value] = entry.values()
        yield from [value] if isinstance(value, str) else pages(value)


def test_each_page_is_in_the_navigation_once() -> None:
    """Every page of docs/ has one place in the navigation, and every entry has its file."""
    listed = list(pages(CONFIGURATION["nav"]))
    assert len(listed) == len(set(listed))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} == {
        page for page in listed if not page.startswith("repository/")
    }
    for page in listed:
        if page.startswith("repository/"):
            assert (ROOT / page.removeprefix("repository/")).is_file(), page


def test_each_picture_is_shown_and_described() -> None:
    """Each picture of docs/images is shown in a document, with an alternative text."""
    documents = [ROOT / "README.md", ROOT / "sample_sites/README.md", *(ROOT / "docs").glob("*.md")]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    shown = dict(re.findall(r"!\[([^\]]*)\]\([^)]*?images/([\w.-]+)\)", texts))
    assert set(shown.values()) == {path.name for path in (ROOT / "docs" / "images").iterdir()}
    assert all(len(description) > 30 for description in shown)


@pytest.mark.parametrize("picture", sorted((ROOT / "docs" / "images").glob("*.svg")))
def test_pictures_load_nothing(picture: Path) -> None:
    """No picture names another host, a script, or a font from elsewhere."""
    text = picture.read_text(encoding="utf-8")
    assert not re.search(r"(?:href|src)=|<script|<foreignObject|@import|url\((?!#)", text)


def test_picture_of_the_decision_has_each_reason() -> None:
    """The picture of the decision has exactly the reasons with which a policy denies."""
    picture = (ROOT / "docs" / "images" / "decision.svg").read_text(encoding="utf-8")
    shown = ", ".join(re.findall(r'class="code no">([^<]+)<', picture)).split(", ")
    assert sorted(shown) == sorted(set(DenialReason) - {DenialReason.MISCONFIGURED})


def test_no_paragraph_stands_twice() -> None:
    """No long paragraph, item or row of a table stands in two places."""
    seen: dict[str, str] = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        for paragraph in re.split(r"\n\n|\n(?=[-*|]|\d+\.)", text):
            words = " ".join(re.sub(r"\]\([^)]*\)", "]", paragraph).split())
            if len(words) < 120 or words.startswith(("![", "In a virtual environment (")):
                continue  # A picture may be shown twice, and each quick start must be complete.
            assert words not in seen, (path.name, seen[words], words)
            seen[words] = path.name


# The built site. ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it; a warning fails the build."""
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason="run: pip install --group docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


class Addresses(HTMLParser):
    """The addresses that a page loads, and those that it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the addresses of one element."""
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "link":
            if values.get("rel") not in ("canonical", "prev", "next"):
                self.loaded.append(values["href"])
        else:
            names = ("src", "srcset", "data", "poster", "action")
            self.loaded += [values[name] for name in names if name in values]


def test_site_loads_nothing_from_another_host(site: Path) -> None:
    """The site serves each script, style, font and picture from its own host."""
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert pages
    assert styles
    for path in pages:
        text = path.read_text(encoding="utf-8")
        for address in Addresses(text).loaded:
            parts = urlsplit(address)
            assert not parts.netloc, (path, address)
        # Material loads the program that draws Mermaid diagrams from another host.
        assert 'class="mermaid"' not in text, path
        assert "fonts.g" not in text
    for path in styles:
        addresses = re.findall(r"url\(([^)]*)\)", path.read_text(encoding="utf-8"))
        assert not [a for a in addresses if "//" in a and not a.strip("\"'").startswith("data:")]


def test_site_has_each_public_name(site: Path) -> None:
    """The API reference has an entry for each public name of each package."""
    import arrcert
    import arrcert_fastapi
    import arrcert_flask

    for name, module in (("api", arrcert), ("api-flask", arrcert_flask)):
        text = (site / name / "index.html").read_text(encoding="utf-8")
        for public in module.__all__:
            assert f'id="{module.__name__}.{public}"' in text, public
    others = (site / "api-more" / "index.html").read_text(encoding="utf-8")
    others += (site / "api" / "index.html").read_text(encoding="utf-8")
    modules = re.findall(r"`(arrcert\.\w+)`", arrcert.__doc__ or "")
    assert modules
    for name in modules:
        assert name == "arrcert.cli" or f'id="{name}"' in others, name
    text = (site / "api-fastapi" / "index.html").read_text(encoding="utf-8")
    assert all(f'id="arrcert_fastapi.{public}"' in text for public in arrcert_fastapi.__all__)


def linked_pages(path: Path) -> Iterator[Path]:
    """Return each page of the site that the text of a page links to."""
    article = path.read_text(encoding="utf-8").partition("<article")[2].partition("</article>")[0]
    for link in Addresses(article).links:
        parts = urlsplit(link)
        target = (path.parent / parts.path).resolve()
        if not parts.netloc and parts.path and target.is_dir():
            yield target / "index.html"


@pytest.mark.parametrize(
    ("question", "page", "words"),
    [
        ("protect one blueprint", "flask", "bp.before_request"),
        ("a DRF ViewSet", "drf", "HasClientCertificate"),
        ("a WebSocket", "channels", "ProtocolTypeRouter"),
        ("forty partners", "partners-file", "[[default]]"),
        ("why 403", "403", "Find the record"),
    ],
)
def test_questions_of_a_newcomer(site: Path, question: str, page: str, words: str) -> None:
    """The answer to each question is at most three links away from the text of the front page."""
    answer = (site / page / "index.html").resolve()
    text = re.sub(r"<[^>]+>", "", answer.read_text(encoding="utf-8"))
    assert words in text
    pages_so_far = {(site / "index.html").resolve()}
    for _ in range(CLICKS):
        pages_so_far |= {target for path in pages_so_far for target in linked_pages(path)}
        if answer in pages_so_far:
            return
    pytest.fail(f"{question}: {page} is more than {CLICKS} clicks away")
