"""Pages of the documentation site for files outside of `docs/`: a hook of MkDocs.

Pages in `docs/` link to the README of a sample, to its code, and to other files of the repository,
as relative links that work in the repository. The site has a page for each such file, under
`repository/`, so that a link there leads to the same version. Code is shown with its colours.

https://www.mkdocs.org/user-guide/configuration/#hooks
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
FOLDER = "repository"
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
LANGUAGES = {".bicep": "bicep", ".kql": "kusto", ".sh": "sh", ".yaml": "yaml", ".json": "json"}
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
"""Files with a page of their own even if no page links to them."""


def page_of(path: str) -> str:
    """Return the page of a file of the repository.

    Args:
        path: The file, relative to the repository.
    """
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # MkDocs leaves hidden files and folders out.
    path = "/".join(part.lstrip(".") for part in path.split("/"))
    return f"{FOLDER}/{path}" if path.endswith(".md") else f"{FOLDER}/{path}.md"


def with_links(text: str, path: str, found: set[str]) -> str:
    """Return a document whose links lead to pages of the site.

    Args:
        text: The document, in Markdown.
        path: The document's file, relative to the repository.
        found: Gets the files outside of `docs/` that the document links to.
    """
    page = page_of(path)

    def target(match: re.Match[str]) -> str:
        linked = posixpath.normpath(posixpath.join(posixpath.dirname(path), match[2]))
        if linked.startswith("..") or not (ROOT / linked).is_file():
            return match[0]  # MkDocs reports it.
        if linked.startswith("docs/") and path.startswith("docs/"):
            return match[0]
        if not linked.startswith("docs/") and linked != "README.md":
            found.add(linked)
        address = os.path.relpath(page_of(linked), posixpath.dirname(page) or ".")
        return f"{match[1]}{address}{match[3]}"

    return LINK.sub(target, text)


def content_of(path: str, found: set[str]) -> str:
    """Return the page of a file outside of `docs/`, in Markdown.

    Args:
        path: The file, relative to the repository.
        found: Gets the files outside of `docs/` that it links to.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return with_links(text, path, found)
    suffix = Path(path).suffix
    language = LANGUAGES.get(suffix, suffix.removeprefix("."))
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n``````{language}\n{text}``````\n"


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of the files that are linked, and of those that these link to."""
    waiting = set(ALWAYS)
    for file in files.documentation_pages():
        with_links(file.content_string, f"docs/{file.src_uri}", waiting)
    done: set[str] = set()
    while waiting - done:
        path = min(waiting - done)
        done.add(path)
        content = content_of(path, waiting)
        files.append(File.generated(config, page_of(path), content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Make the links of a page in `docs/` lead to pages of the site."""
    uri = page.file.src_uri
    if uri.startswith(f"{FOLDER}/"):
        return markdown
    return with_links(markdown, f"docs/{uri}", set())
