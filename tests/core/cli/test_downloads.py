"""Downloads of revocation lists: when a file is replaced, and when it is not."""

from __future__ import annotations

import itertools
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arrcert.cli import downloads
from arrcert.cli.downloads import (
    NotFetchedError,
    fetch_revocation_lists,
    file_name_of,
    why_not_web_address,
    without_secrets,
)
from arrcert.testing import CertificateAuthority, IssuedCertificate


@pytest.fixture
def fetch(crl_server: Any, folder: Path, authority: CertificateAuthority) -> Callable[..., str]:
    """A function that downloads an answer of the server into `ca.crl`."""

    def fetch(
        body: bytes = b"",
        *,
        status: int = 200,
        headers: dict[str, str] | None = None,
        max_bytes: int = 1_000_000,
    ) -> str:
        crl_server.answers["/ca.crl"] = (status, headers or {}, body)
        return fetch_revocation_lists(
            f"{crl_server.url}/ca.crl",
            Path("ca.crl"),
            [authority.x509],
            timeout=10,
            max_bytes=max_bytes,
        )

    return fetch


@pytest.fixture
def fails(fetch: Any, folder: Path) -> Callable[..., str]:
    """A function that downloads an answer, which must fail without a change in the folder."""

    def fails(*arguments: Any, **options: Any) -> str:
        target = folder / "ca.crl"
        before = target.read_bytes() if target.is_file() else None
        names = sorted(os.listdir(folder))
        with pytest.raises(NotFetchedError) as caught:
            fetch(*arguments, **options)
        assert (target.read_bytes() if target.is_file() else None) == before
        assert sorted(os.listdir(folder)) == names
        message = str(caught.value)
        assert "\n" not in message
        return message

    return fails


def test_good_list_replaces_the_file(
    fetch: Any, folder: Path, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """A good list, in PEM or DER, replaces the file unchanged, and every user can read the file."""
    until = datetime(2199, 1, 1, tzinfo=UTC)
    first = authority.revocation_list(number=1, next_update=until)
    second = x509.load_pem_x509_crl(
        authority.revocation_list(alice, number=2, next_update=until)
    ).public_bytes(Encoding.DER)
    for body, outcome in (
        (first, "ok: 0 entries"),
        (first, "unchanged: 0 entries"),
        (second, "ok: 1 entry"),
    ):
        assert fetch(body) == f"{outcome}, next update 2199-01-01T00:00:00Z"
        assert (folder / "ca.crl").read_bytes() == body
        assert stat.S_IMODE((folder / "ca.crl").stat().st_mode) == 0o644
        assert sorted(os.listdir(folder)) == ["ca.crl", "ca.pem"]


def test_file_is_replaced_in_one_step(
    fetch: Any, folder: Path, authority: CertificateAuthority
) -> None:
    """A program that has the old file open reads all of the old content."""
    old, new = (authority.revocation_list(number=number) for number in (1, 2))
    fetch(old)
    with (folder / "ca.crl").open("rb") as opened:
        fetch(new)
        assert opened.read() == old
    assert (folder / "ca.crl").read_bytes() == new


def test_symbolic_link_is_kept(fetch: Any, folder: Path, authority: CertificateAuthority) -> None:
    """If the file is a symbolic link, the file that it points to is replaced."""
    (folder / "elsewhere").mkdir()
    (folder / "ca.crl").symlink_to("elsewhere/real.crl")
    body = authority.revocation_list()
    fetch(body)
    assert (folder / "ca.crl").is_symlink()
    assert (folder / "elsewhere" / "real.crl").read_bytes() == body


def test_list_of_another_ca(
    fails: Any,
    fetch: Any,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
) -> None:
    """A list that no issuer signed never replaces the file, whatever name it claims."""
    fetch(authority.revocation_list())
    assert "its signature does not match" in fails(other_authority.revocation_list(number=2))
    stranger = CertificateAuthority("Stranger")
    assert "no configured CA certificate" in fails(stranger.revocation_list())


def test_list_that_is_not_current(fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
    """A list that has expired, or is not valid yet, does not replace the file."""
    fetch(authority.revocation_list())
    hour, now = timedelta(hours=1), datetime.now(UTC)
    expired = authority.revocation_list(number=2, next_update=now - hour)
    assert "/ca.crl expired at 20" in fails(expired)
    early = authority.revocation_list(number=2, last_update=now + hour, next_update=now + 2 * hour)
    assert "/ca.crl is valid only from 20" in fails(early)


def test_older_list(fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
    """A list that is older than the list in the file does not replace it."""
    fetch(authority.revocation_list(number=2))
    assert "is older than the list in the file" in fails(authority.revocation_list(number=1))


def test_broken_file_is_replaced(fetch: Any, folder: Path, authority: CertificateAuthority) -> None:
    """A good list replaces a file that holds no usable list."""
    (folder / "ca.crl").write_bytes(b"half a li")
    assert fetch(authority.revocation_list()).startswith("ok: ")


@pytest.mark.parametrize("status", [403, 404, 500, 304])
def test_status_of_the_answer(fails: Any, status: int) -> None:
    """If the server answers with an error, the message contains the HTTP status."""
    assert f"/ca.crl answered {status} " in fails(status=status)


def test_web_page_instead_of_a_list(fails: Any) -> None:
    """A web page and an empty answer are recognized."""
    assert "looks like a web page" in fails(b"<html>Please sign in</html>")
    assert "it is empty" in fails(b"", status=204)


def test_redirects(
    crl_server: Any, fetch: Any, fails: Any, folder: Path, authority: CertificateAuthority
) -> None:
    """A redirect is followed on the same host and port; the message names any other target."""
    (folder / "local.crl").write_bytes(authority.revocation_list())
    port = crl_server.server_address[1]
    for target, why in (
        (f"file://{folder}/local.crl", "'file:///"),
        ("data:,x", "'data:,x', which is not an http:// or https:// URL"),
        ("http://[/x", "'the URL', which is not an http:// or https:// URL"),
        (f"http://localhost:{port}/x?sig=hush", f"'http://localhost:{port}/x', which is another"),
        ("http://127.0.0.1:9/x", "'http://127.0.0.1:9/x', which is another host or port"),
        (f"http://me:hush@127.0.0.1:{port}/x", f"'http://127.0.0.1:{port}/x', which holds a user"),
        ("https://127.0.0.1:9/x", "'https://127.0.0.1:9/x', which is another host or port"),
        ("//127.0.0.2/x", "'http://127.0.0.2/x', which is another host or port"),
    ):
        error = fails(status=302, headers={"Location": target})
        assert f"{crl_server.url}/ca.crl redirects to {why}" in error
        assert "it is not followed" in error
        assert "hush" not in error
    assert set(crl_server.requested) == {"/ca.crl"}
    assert "redirects more than 5 times" in fails(status=302, headers={"Location": "/ca.crl"})
    assert "answered 302" in fails(status=302)
    crl_server.answers["/moved"] = (200, {}, authority.revocation_list())
    for target in ("/moved", f"http://127.0.0.1:{port}/moved"):
        assert fetch(status=301, headers={"Location": target}).split(":")[0] in {"ok", "unchanged"}


@pytest.mark.parametrize(
    ("url", "target", "why"),
    [
        ("http://a.example/1", "https://a.example/2", None),
        ("https://a.example/1", "https://a.example:443/2", None),
        ("http://a.example:80/1", "http://A.example/2", None),
        ("https://a.example/1", "http://a.example/2", "not encrypted"),
        ("http://a.example:8080/1", "https://a.example/2", "another host or port"),
        ("http://a.example/1", "https://a.example:8443/2", "another host or port"),
        ("http://a.example/1", "http://a.example.evil.example/2", "another host or port"),
    ],
)
def test_where_a_redirect_may_lead(url: str, target: str, why: str | None) -> None:
    """A redirect may change the scheme only from http to https, on the default ports."""
    if why is None:
        downloads._require_same_host(url, target)
    else:
        with pytest.raises(NotFetchedError, match=why):
            downloads._require_same_host(url, target)


def test_truncated_body(fails: Any, authority: CertificateAuthority) -> None:
    """A download that ends too early fails, with and without a Content-Length."""
    body = authority.revocation_list()
    length = {"Content-Length": str(len(body))}
    assert f"ended after 100 of {len(body)} bytes" in fails(body[:100], headers=length)
    assert "ends within a revocation list" in fails(body[:100])
    chunked = {"Transfer-Encoding": "chunked"}
    assert "/ca.crl failed ('" in fails(b"ff\r\nabc", headers=chunked)


def test_largest_download(fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
    """A download of more than `max_bytes` fails, with and without a Content-Length."""
    body = authority.revocation_list()
    limit = len(body) - 1
    for headers in ({"Content-Length": str(len(body))}, {}):
        assert f"is larger than {limit} bytes" in fails(body, max_bytes=limit, headers=headers)
    assert fetch(body, max_bytes=len(body)).startswith("ok: ")


def test_server_that_does_not_answer(folder: Path, authority: CertificateAuthority) -> None:
    """A server that does not answer within the timeout is an error."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(NotFetchedError, match=r"did not finish within 0\.1 seconds"):
            fetch_revocation_lists(url, Path("a"), [authority.x509], timeout=0.1, max_bytes=1)


@pytest.fixture
def dripping_server() -> Iterator[Callable[[bytes], str]]:
    """A function that starts a server which sends an answer byte by byte, and returns its URL."""
    stop = threading.Event()
    threads = []

    def serve(server: socket.socket, answer: bytes) -> None:
        with server, server.accept()[0] as connection:
            connection.recv(65536)
            for byte in answer * 100:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return
                if stop.wait(0.02):
                    return

    def start(answer: bytes) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        threads.append(threading.Thread(target=serve, args=(server, answer)))
        threads[-1].start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/a?sig=hush"

    yield start
    stop.set()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\r\nX: 1\r\n", b"HTTP/1.0 200 " + b"O" * 99, b"HTTP/1.0 200 OK\r\n\r\n0"],
    ids=["header", "status line", "body"],
)
def test_dripped_bytes_do_not_extend_the_download(
    dripping_server: Callable[[bytes], str],
    folder: Path,
    authority: CertificateAuthority,
    answer: bytes,
) -> None:
    """The timeout is for the whole download, even if the server sends a byte from time to time."""
    url = dripping_server(answer)
    begin = time.monotonic()
    with pytest.raises(NotFetchedError, match=r"/a did not finish within 0\.3 seconds"):
        fetch_revocation_lists(url, Path("a"), [authority.x509], timeout=0.3, max_bytes=10**6)
    assert time.monotonic() - begin < 5
    assert not (folder / "a").exists()


def test_server_that_cannot_be_reached(folder: Path, authority: CertificateAuthority) -> None:
    """A server that cannot be reached is an error."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with pytest.raises(NotFetchedError, match=f"{url} cannot be reached"):
        fetch_revocation_lists(url, Path("a"), [authority.x509], timeout=10, max_bytes=1)


def test_file_that_cannot_be_replaced(
    fails: Any, folder: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder instead of the file, a full disk and a missing folder are errors."""
    body = authority.revocation_list()
    (folder / "ca.crl").mkdir()
    assert "it cannot be read: Is a directory" in fails(body)
    (folder / "ca.crl").rmdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space")))
        assert "it cannot be written: No space" in fails(body)
    (folder / "ca.crl").symlink_to("absent/ca.crl")
    assert "it cannot be written: No such file" in fails(body)


def test_progress_on_a_terminal(
    fetch: Any, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal a long download shows its progress, and the line is cleared at the end."""
    moments = itertools.count()
    monkeypatch.setattr(downloads.time, "monotonic", lambda: float(next(moments)))
    shown: list[str] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            shown.append(text)

        def flush(self) -> None: ...

    class System:
        stderr = Terminal()

    monkeypatch.setattr(downloads, "sys", System)
    body = authority.revocation_list()
    fetch(body)
    fetch(body, headers={"Content-Length": str(len(body))})
    assert "/ca.crl: 0.0 MB\x1b[K" in shown[0]
    assert "/ca.crl: 0.0 of 0.0 MB" in "".join(shown)
    assert shown[-1] == "\r\x1b[K"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://a.example/b", None),
        ("https://a.example", None),
        ("https://a.example:8443/b?c=d", None),
        ("ftp://a.example/b", "is not an http:// or https:// URL"),
        ("file:///b", "is not an http:// or https:// URL"),
        ("http://[", "is not an http:// or https:// URL"),
        ("http:///b", "is not an http:// or https:// URL"),
        ("http://a.example:port/b", "is not an http:// or https:// URL"),
        ("http://a.example/b c", "is not an http:// or https:// URL"),
        ("http://a.example/b\n", "is not an http:// or https:// URL"),
        ("b.crl", "is not an http:// or https:// URL"),
        ("http://me:hush@a.example/b", "holds a user or a password"),
        ("http://me@a.example/b", "holds a user or a password"),
        ("http://@a.example/b", "holds a user or a password"),
    ],
)
def test_web_addresses(url: str, why: str | None) -> None:
    """A web address is an absolute http or https URL without a user or a password."""
    found = why_not_web_address(url)
    assert found is None if why is None else (found or "").startswith(why)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:hush@a.example/b?c#d", "https://a.example/b"),
        ("https://a.example:8443/b?sig=hush", "https://a.example:8443/b"),
        ("http://[", "the URL"),
        ("https://me:hu/sh@a.example/b", "the URL"),
        ("https://me:hu#sh@a.example/b", "the URL"),
        ("http:/me:hush@a.example/b", "the URL"),
        ("me:hush@a.example/b", "the URL"),
        ("https://me/hush@a.example/b", "https://me/..."),
        ("ftp://a.example/b?sig=hush", "ftp://a.example/b"),
    ],
)
def test_url_for_a_log(url: str, expected: str) -> None:
    """A URL in a log has no user, password, query or fragment, in any form of the URL."""
    assert without_secrets(url) == expected


def test_file_names() -> None:
    """Each URL has its own file name, which is safe in a folder of `crls`."""
    urls = [
        "http://ca.example/crl/1.crl",
        "http://ca.example/other/1.crl",
        "http://ca.example/search.cgi?partition=1",
        "http://ca.example/search.cgi?partition=2",
        "http://ca.example/..",
        "http://ca.example/.hidden%2f..",
        "http://ca.example",
        "http://ca.example/" + "x" * 300,
    ]
    names = [file_name_of(url) for url in urls]
    assert len(set(names)) == len(urls)
    assert names[0].startswith("1-crl-")
    for name in names:
        assert len(name) < 70
        assert not name.startswith(".")
        assert Path(name).name == name
        assert name == file_name_of(urls[names.index(name)])


def test_list_of_another_scope(fails: Any, fetch: Any, authority: CertificateAuthority) -> None:
    """A list for other certificates does not replace the list in a file, however new it is."""

    def partition(number: int) -> bytes:
        point = x509.IssuingDistributionPoint(
            full_name=[x509.UniformResourceIdentifier(f"http://ca.example/{number}.crl")],
            relative_name=None,
            only_contains_user_certs=False,
            only_contains_ca_certs=False,
            only_some_reasons=None,
            indirect_crl=False,
            only_contains_attribute_certs=False,
        )
        return authority.revocation_list(number=number, extensions=[(point, True)])

    fetch(partition(1))
    for other in (partition(2), authority.revocation_list(number=9)):
        assert "if the CA changed the scope of this list, remove the file" in fails(other)
    assert fetch(partition(1)).startswith("ok: ")
