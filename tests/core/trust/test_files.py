"""Files that hold trust: read at the start, followed afterwards, never half."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.x509 import Certificate

from arrcert import CertificateDenied, ClientCertificate, ConfigurationError
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust import files as module
from arrcert.trust.files import TrustFiles
from arrcert.trust.paths import TrustStore

NOW = datetime.now(UTC)


def is_trusted(store: TrustStore, client: IssuedCertificate) -> bool:
    """Tell whether a path leads to the store's anchors and nothing on it is revoked."""
    try:
        path = store.authenticate(client.certificate, datetime.now(UTC))
        store.check_revocation(client.certificate, path, datetime.now(UTC))
    except CertificateDenied:
        return False
    return True


def problems(make: Callable[[], object]) -> list[tuple[str, str]]:
    """Return what stops the start."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    return [tuple(problem) for problem in caught.value.problems]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request looks at the files."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)


def settled(files: TrustFiles) -> TrustStore:
    """Return the store after a change was seen and read."""
    files.current()
    if files._thread is not None:
        files._thread.join(10)
    return files.current()


# --- at the start --------------------------------------------------------------------------------


def test_file_may_hold_several(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """Every block of a file is an anchor, and text around them is allowed."""
    path = tmp_path / "roots.pem"
    path.write_bytes(
        b"# ours\r\n" + authority.certificate_pem + b"and\n" + other_authority.certificate_pem
    )
    for source in (path, str(path), path.read_text()):
        files = TrustFiles([source])
        assert files.anchors() == [authority.x509, other_authority.x509]
        assert is_trusted(files.current(), alice)
        assert is_trusted(files.current(), impostor)


def test_bad_files_are_told_together(
    tmp_path: Path, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """What cannot be used says which file and why.

    (Caddy CVE-2026-27586, Keycloak #20663: a missing trust store.)
    """
    broken, leaf = tmp_path / "broken.pem", tmp_path / "leaf.pem"
    broken.write_bytes(authority.certificate_pem[:100])
    leaf.write_bytes(alice.certificate_pem)
    empty = tmp_path / "empty"
    empty.mkdir()
    other = CertificateAuthority("Other")
    foreign = tmp_path / "foreign.crl"
    foreign.write_bytes(other.revocation_list())
    found = problems(
        lambda: TrustFiles(
            [tmp_path / "absent.pem", tmp_path, broken, authority.certificate_pem.decode()],
            [leaf],
            [empty, foreign],
        )
    )
    assert [setting for setting, _ in found] == [
        *["trust_anchors"] * 3,
        "intermediates",
        *["crls"] * 2,
    ]
    texts = [message for _, message in found]
    assert "absent.pem" in texts[0]
    assert "No such file" in texts[0]
    assert "directory" in texts[1]
    assert "broken.pem" in texts[2]
    assert "leaf.pem" in texts[3]
    assert "is not a CA" in texts[3]
    assert "empty" in texts[4]
    assert "holds no revocation list" in texts[4]
    assert "foreign.crl" in texts[5]
    assert "CN=Other" in texts[5]


def test_impossible_path_is_a_sentence() -> None:
    """A path that no file can have is told like any other."""
    [(setting, message)] = problems(lambda: TrustFiles(["a\x00b"]))
    assert setting == "trust_anchors"
    assert "cannot be read" in message


def test_pasted_certificate_is_no_path(authority: CertificateAuthority) -> None:
    """Base64 that lost its armour is told so, instead of being looked for as a file."""
    body = "".join(authority.certificate_pem.decode().splitlines()[1:-1])
    [(_, message)] = problems(lambda: TrustFiles([body]))
    assert "is no file's path" in message


def test_folder_of_lists_is_read_whole(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Each file of a folder is a list; names that begin with a dot are downloads in progress."""
    issuing = CertificateAuthority("Issuing", issuer=authority)
    good, bad = issuing.issue("good"), issuing.issue("bad")
    (tmp_path / "root.crl").write_bytes(authority.revocation_list())
    (tmp_path / "issuing.crl").write_bytes(issuing.revocation_list(bad))
    (tmp_path / ".issuing.crl.part").write_bytes(b"half")
    (tmp_path / "folder").mkdir()
    anchors = [authority.certificate_pem.decode()]
    store = TrustFiles(anchors, [issuing.certificate_pem.decode()], [tmp_path]).current()
    assert is_trusted(store, good)
    assert not is_trusted(store, bad)


# --- afterwards ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("looks")
def test_files_are_followed(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """A replaced file is a new store, an untouched one the same object."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = settled(files)
    assert settled(files) is before
    path.write_bytes(other_authority.certificate_pem)
    after = settled(files)
    assert after is not before
    assert (is_trusted(after, alice), is_trusted(after, impostor)) == (False, True)
    assert is_trusted(before, alice)


def test_files_are_looked_at_now_and_then(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks no request touches the file system."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    looked: list[object] = []
    monkeypatch.setattr(files, "_reload_if_changed", lambda: looked.append(None))
    now = files._next_look - 0.001
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    files.current()
    assert not looked
    now += 0.001
    files.current()
    files.current()
    assert len(looked) == 1


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("content", [b"half", None])
def test_bad_file_keeps_what_it_held(
    content: bytes | None,
    tmp_path: Path,
    authority: CertificateAuthority,
    alice: IssuedCertificate,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that is broken or gone keeps its last content, and the log says so once a change."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    for _ in range(3):
        assert is_trusted(settled(files), alice)
    [record] = caplog.records
    assert "roots.pem" in record.getMessage()
    assert "the old content holds" in record.getMessage()
    path.write_bytes(CertificateAuthority("New").certificate_pem)
    assert not is_trusted(settled(files), alice)


@pytest.mark.usefixtures("looks")
def test_lists_are_followed(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A new list in a folder counts, an older one does not, a vanished one holds."""
    client = authority.issue("alice")
    anchors = [authority.certificate_pem.decode()]
    path = tmp_path / "ca.crl"
    path.write_bytes(authority.revocation_list(number=5))
    files = TrustFiles(anchors, (), [tmp_path])
    assert is_trusted(settled(files), client)
    (tmp_path / "newer.crl").write_bytes(authority.revocation_list(client, number=6))
    assert not is_trusted(settled(files), client)
    (tmp_path / "newer.crl").unlink()
    assert not is_trusted(settled(files), client)
    os.rename(tmp_path, tmp_path.with_name("moved"))
    assert not is_trusted(settled(files), client)


@pytest.mark.usefixtures("looks")
def test_older_list_does_not_pardon(
    tmp_path: Path, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """A list older than the one that is held does not count, and the log says so."""
    client = authority.issue("alice")
    path = tmp_path / "ca.crl"
    path.write_bytes(authority.revocation_list(client, number=6))
    files = TrustFiles([authority.certificate_pem.decode()], (), [path])
    path.write_bytes(authority.revocation_list(number=5))
    assert not is_trusted(settled(files), client)
    assert "older than the list that is held" in caplog.text


@pytest.mark.usefixtures("looks")
def test_lists_are_verified_anew_under_new_anchors(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """A list that no anchor has signed any more does not speak for the new one of its name."""
    anchor, crl = tmp_path / "ca.pem", tmp_path / "ca.crl"
    anchor.write_bytes(authority.certificate_pem)
    crl.write_bytes(authority.revocation_list())
    files = TrustFiles([anchor], (), [crl])
    assert is_trusted(settled(files), alice)
    anchor.write_bytes(other_authority.certificate_pem)
    assert not is_trusted(settled(files), impostor)
    crl.write_bytes(other_authority.revocation_list())
    assert is_trusted(settled(files), impostor)


@pytest.mark.usefixtures("looks")
def test_requests_keep_the_old_store_while_a_file_is_read(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading happens on one short-lived thread; nobody waits for it, and none starts a second."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()
    reading, go_on = threading.Event(), threading.Event()
    parse = module.parse_certificates

    def slow(data: bytes, where: str) -> list[Certificate]:
        reading.set()
        assert go_on.wait(10)
        return parse(data, where)

    monkeypatch.setattr(module, "parse_certificates", slow)
    path.write_bytes(other_authority.certificate_pem)
    assert files.current() is before
    assert reading.wait(10)
    first = files._thread
    path.write_bytes(other_authority.certificate_pem + authority.certificate_pem)
    assert files.current() is before
    assert files._thread is first
    go_on.set()
    assert first is not None
    first.join(10)
    assert len(settled(files)._anchors) == 2


@pytest.mark.usefixtures("looks")
def test_unexpected_fault_while_reading_keeps_the_old_store(
    tmp_path: Path,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever goes wrong on the thread, the old store holds and the log shows where."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()

    def broken(data: bytes, where: str) -> list[Certificate]:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "parse_certificates", broken)
    path.write_bytes(b"changed")
    assert settled(files) is before
    [record] = caplog.records
    assert record.exc_info is not None


@pytest.mark.usefixtures("looks")
def test_a_passing_fault_is_not_the_end(
    tmp_path: Path,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A file that could not be read for a moment is read at the next look, and told of once."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()
    read = module._File._read

    def without_a_handle(_: object) -> bytes:
        try:
            raise OSError(24, "Too many open files")
        except OSError as error:
            raise ValueError("the file cannot be read (Too many open files)") from error

    monkeypatch.setattr(module._File, "_read", without_a_handle)
    path.write_bytes(CertificateAuthority("Another").certificate_pem)
    for _ in range(3):
        settled(files)
    assert is_trusted(files._store, authority.issue("alice"))
    assert len(caplog.records) == 1
    monkeypatch.setattr(module._File, "_read", read)
    after = settled(files)
    assert after is not before
    assert not is_trusted(after, authority.issue("alice"))


@pytest.mark.usefixtures("looks")
def test_without_a_thread_the_change_is_seen_later(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, the change is still there at the next look."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()
    path.write_bytes(CertificateAuthority("Another").certificate_pem)
    start = threading.Thread.start

    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError):
        files.current()
    monkeypatch.setattr(threading.Thread, "start", start)
    assert settled(files) is not before


def test_a_forked_process_waits_for_nobody(authority: CertificateAuthority) -> None:
    """A lock that another thread held at the fork is not held in the child for ever."""
    files = TrustFiles([authority.certificate_pem.decode()])
    files._starting.acquire()
    module._unlock_all()
    assert files._starting.acquire(timeout=1)


# --- warnings ------------------------------------------------------------------------------------


def test_what_has_ended_is_warned_of(tmp_path: Path, authority: CertificateAuthority) -> None:
    """An expired anchor, intermediate or list denies people, and is named before it does."""
    yesterday = NOW - timedelta(days=1)
    old = CertificateAuthority("Old", not_after=yesterday)
    between = CertificateAuthority("Between", issuer=authority, not_after=yesterday)
    crl = tmp_path / "ca.crl"
    crl.write_bytes(
        authority.revocation_list(
            last_update=NOW - timedelta(days=9), next_update=NOW - timedelta(days=2)
        )
    )
    files = TrustFiles(
        [authority.certificate_pem.decode(), old.certificate_pem.decode()],
        [between.certificate_pem.decode()],
        [crl],
    )
    found = files.warnings()
    assert [problem.setting for problem in found] == ["trust_anchors", "intermediates", "crls"]
    assert "'CN=Old'" in found[0].message
    assert "'CN=Between'" in found[1].message
    assert "ca.crl" in found[2].message
    assert files.warnings(NOW - timedelta(days=3)) == []


def test_content_of_a_certificate_is_what_is_trusted(authority: CertificateAuthority) -> None:
    """An anchor that is a client's own certificate admits it alone."""
    client = authority.issue("alice")
    other = authority.issue("alice")
    store = TrustFiles([client.certificate_pem.decode()]).current()
    assert is_trusted(store, client)
    assert not is_trusted(store, other)
    assert isinstance(client.certificate, ClientCertificate)
