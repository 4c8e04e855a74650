"""Trust stores from files: reading them at the start, and again when they change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import Certificate

from arrcert import ClientCertificate, ConfigurationError
from arrcert.exceptions import Finding
from arrcert.testing import CertificateAuthority, IssuedCertificate
from arrcert.trust import files as module
from arrcert.trust.files import ListOfPoint, TrustFiles, TrustFolder
from arrcert.trust.paths import TrustStore


def is_trusted(store: TrustStore, client: IssuedCertificate) -> bool:
    """Tell whether a path leads to a trust anchor of the store and nothing on it is revoked."""
    path = store.authenticate(client.certificate, datetime.now(UTC))
    return not isinstance(path, Finding) and not store.check_revocation(path, datetime.now(UTC))


def problems(make: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the problems that prevent the start."""
    with pytest.raises(ConfigurationError) as caught:
        make()
    return [tuple(problem) for problem in caught.value.problems]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every request poll the files."""
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)


def settled(files: TrustFiles) -> TrustStore:
    """Return the store after a change was noticed and read."""
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
    """Every PEM block of a file is a trust anchor, and other text around them is allowed."""
    path = tmp_path / "roots.pem"
    path.write_bytes(
        b"# ours\r\n" + authority.certificate_pem + b"and\n" + other_authority.certificate_pem
    )
    for source in (path, str(path), path.read_text()):
        files = TrustFiles([source])
        assert files.anchors() == [authority.x509, other_authority.x509]
        assert is_trusted(files.current(), alice)
        assert is_trusted(files.current(), impostor)


def test_bad_files_are_reported_together(
    tmp_path: Path, authority: CertificateAuthority, alice: IssuedCertificate
) -> None:
    """All files that cannot be used are reported together, each with its name and the reason.

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


def test_unreadable_name_is_reported(tmp_path: Path, alice: IssuedCertificate) -> None:
    """A certificate whose subject cannot be decoded is reported without its name."""
    path = tmp_path / "leaf.der"
    path.write_bytes(alice.certificate.der.replace(b"alice", b"\xfflice"))
    [(_, message)] = problems(lambda: TrustFiles([], [path]))
    assert message.startswith(f"the certificate without a name in the file '{path}' ")


def test_impossible_path_is_reported() -> None:
    """A path that no file can have is reported like a missing file."""
    [(setting, message)] = problems(lambda: TrustFiles(["a\x00b"]))
    assert setting == "trust_anchors"
    assert "cannot be read" in message


def test_pasted_certificate_is_no_path(authority: CertificateAuthority) -> None:
    """Base64 without the lines around it is recognized instead of reported as a missing file."""
    body = "".join(authority.certificate_pem.decode().splitlines()[1:-1])
    [(_, message)] = problems(lambda: TrustFiles([body]))
    assert "is not the path of a file" in message


def test_folder_of_lists_is_read_whole(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Every file of a folder is read, except those whose name begins with a dot."""
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


# --- after a change ------------------------------------------------------------------------------


@pytest.mark.usefixtures("looks")
def test_changed_file_is_a_new_store(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """A changed file leads to a new store; without a change the store stays the same object."""
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


def test_looks_are_limited(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request uses the file system between two polls."""
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
    """A broken or missing file keeps its last content, and is logged once for each change."""
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
    assert "the old content stays in use" in record.getMessage()
    path.write_bytes(CertificateAuthority("New").certificate_pem)
    assert not is_trusted(settled(files), alice)


@pytest.mark.usefixtures("looks")
def test_new_and_removed_lists(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A new list in a folder counts, and a removed list stays in use."""
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


def point(*urls: str, **limits: bool) -> tuple[x509.ExtensionType, bool]:
    """Make an issuing distribution point. An absent argument is no limit."""
    kinds = ("only_contains_user_certs", "only_contains_ca_certs", "only_contains_attribute_certs")
    facts: dict[str, Any] = dict.fromkeys((*kinds, "indirect_crl"), False)
    facts |= {"full_name": [x509.UniformResourceIdentifier(url) for url in urls] or None}
    facts |= {"relative_name": None, "only_some_reasons": None}
    return x509.IssuingDistributionPoint(**{**facts, **limits}), True


def issued_for(ca: CertificateAuthority, url: str) -> IssuedCertificate:
    """Issue a client's certificate that names a distribution point."""
    named = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return ca.issue("client", extensions=[(x509.CRLDistributionPoints([named]), False)])


@pytest.mark.usefixtures("looks")
def test_partitions_in_a_folder(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Each partition in a folder is kept, and a missing list denies only its own certificates."""
    urls = [f"https://ca.example/{number}.crl" for number in range(4)]
    clients = [issued_for(authority, url) for url in urls]
    for number, url in enumerate(urls[:3]):
        data = authority.revocation_list(number=number, extensions=[point(url)])
        (tmp_path / f"{number}.crl").write_bytes(data)
    files = TrustFiles([authority.certificate_pem.decode()], (), [tmp_path])
    assert [is_trusted(files.current(), one) for one in clients] == [True, True, True, False]
    data = authority.revocation_list(clients[1], number=9, extensions=[point(urls[1])])
    (tmp_path / "1.crl").write_bytes(data)
    (tmp_path / "3.crl").write_bytes(authority.revocation_list(extensions=[point(urls[3])]))
    assert [is_trusted(settled(files), one) for one in clients] == [True, False, True, True]


@pytest.mark.usefixtures("looks")
def test_stated_distribution_point(
    tmp_path: Path, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """The stated point is compared with each content of the file, and another point is refused."""
    url, path = "https://ca.example/1.0/crl", tmp_path / "ca.crl"
    client = authority.issue("client")
    path.write_bytes(authority.revocation_list(number=1, extensions=[point(url)]))
    anchors = [authority.certificate_pem.decode()]
    assert not is_trusted(TrustFiles(anchors, (), [path]).current(), client)
    files = TrustFiles(anchors, (), [ListOfPoint(path, url)])
    assert is_trusted(files.current(), client)
    path.write_bytes(authority.revocation_list(number=2, extensions=[point(f"{url}/2")]))
    assert is_trusted(settled(files), client)
    assert f"holds the list for the distribution point '{url}/2', not for '{url}'" in caplog.text
    path.write_bytes(authority.revocation_list(client, number=3, extensions=[point(url)]))
    assert not is_trusted(settled(files), client)


def test_statements_that_do_not_fit(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A stated point for a folder, several lists, or a list of another point is an error."""
    url = "https://ca.example/1.0/crl"
    scoped = authority.revocation_list(extensions=[point(url)])
    for name, data in (
        ("several", scoped * 2),
        ("whole", authority.revocation_list()),
        ("other", authority.revocation_list(extensions=[point(f"{url}/2")])),
        ("none", None),
    ):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        entry = ListOfPoint(tmp_path / name, url)
        [(setting, text)] = problems(
            lambda entry=entry: TrustFiles([authority.certificate_pem.decode()], (), [entry])
        )
        assert setting == "crls"
        assert text.startswith(f"the file '{tmp_path / name}' ")
    [(_, text)] = problems(
        lambda: TrustFiles(
            [authority.certificate_pem.decode()], (), [ListOfPoint(str(tmp_path), url)]
        )
    )
    assert "is a folder, and distribution_point is for one list" in text


@pytest.mark.usefixtures("looks")
def test_earlier_list_of_another_scope_does_not_count(
    tmp_path: Path, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier list of another scope does not replace a list, because it may lack its entries."""
    client, now = authority.issue("client"), datetime.now(UTC).replace(microsecond=0)
    path, hour = tmp_path / "ca.crl", timedelta(hours=1)
    for_clients = point(only_contains_user_certs=True)
    path.write_bytes(
        authority.revocation_list(client, last_update=now - hour, extensions=[for_clients])
    )
    files = TrustFiles([authority.certificate_pem.decode()], (), [path])
    path.write_bytes(authority.revocation_list(number=9, last_update=now - 2 * hour))
    assert not is_trusted(settled(files), client)
    assert "is earlier than the list for certificates that are no CA that was there" in caplog.text
    # A later list of another scope does: the CA publishes it now. So does a list of another CA.
    path.write_bytes(authority.revocation_list(number=1, last_update=now - hour))
    assert is_trusted(settled(files), client)
    other = authority.revocation_list(last_update=now - 2 * hour, extensions=[for_clients])
    path.write_bytes(other + authority.revocation_list(number=2, last_update=now - hour))
    assert is_trusted(settled(files), client)


@pytest.mark.usefixtures("looks")
def test_list_of_another_scope_may_come_beside_a_newer_list(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    """An earlier list of another scope does not matter if the old list has a newer one."""
    client, now = authority.issue("client"), datetime.now(UTC).replace(microsecond=0)
    path, hour = tmp_path / "ca.crl", timedelta(hours=1)
    for_cas = point(only_contains_ca_certs=True)
    path.write_bytes(authority.revocation_list(number=1, last_update=now - hour))
    files = TrustFiles([authority.certificate_pem.decode()], (), [path])
    assert is_trusted(settled(files), client)
    path.write_bytes(
        authority.revocation_list(client, number=2, last_update=now)
        + authority.revocation_list(last_update=now - 2 * hour, extensions=[for_cas])
    )
    assert not is_trusted(settled(files), client)


def test_lists_without_effect_are_warnings(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A list for attribute certificates does not stop the start, but is a warning."""
    path = tmp_path / "attributes.crl"
    extension = point(only_contains_attribute_certs=True)
    path.write_bytes(authority.revocation_list(extensions=[extension]))
    files = TrustFiles([authority.certificate_pem.decode()], (), [path])
    [warning] = files.warnings()
    assert warning.setting == "crls"
    assert "'" + str(path) + "' is only for attribute certificates" in warning.message


@pytest.mark.usefixtures("looks")
def test_older_list_does_not_count(
    tmp_path: Path, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that is older than the one in use does not replace it, and is logged."""
    client = authority.issue("alice")
    path = tmp_path / "ca.crl"
    path.write_bytes(authority.revocation_list(client, number=6))
    files = TrustFiles([authority.certificate_pem.decode()], (), [path])
    path.write_bytes(authority.revocation_list(number=5))
    assert not is_trusted(settled(files), client)
    assert "is older than the list of its CA that is in use" in caplog.text


@pytest.mark.usefixtures("looks")
def test_lists_are_verified_anew_under_new_anchors(
    tmp_path: Path,
    authority: CertificateAuthority,
    other_authority: CertificateAuthority,
    alice: IssuedCertificate,
    impostor: IssuedCertificate,
) -> None:
    """If the trust anchors change, the signatures of the lists are verified again."""
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
    """During a slow reload, requests use the old store, and no second reload starts."""
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
    assert len(settled(files).anchors) == 2


@pytest.mark.usefixtures("looks")
def test_unexpected_fault_while_reading_keeps_the_old_store(
    tmp_path: Path,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unexpected exception during a reload keeps the old store and is logged once."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()

    def broken(data: bytes, where: str) -> list[Certificate]:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "parse_certificates", broken)
    path.write_bytes(b"changed")
    for _ in range(2):
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
    """A file that cannot be read for a while is logged once, and is read at a later poll."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    before = files.current()

    def without_a_handle(*_: object) -> object:
        raise OSError(24, "Too many open files")

    path.write_bytes(CertificateAuthority("Another").certificate_pem)
    with monkeypatch.context() as patch:
        patch.setattr(module, "open", without_a_handle, raising=False)
        for _ in range(3):
            settled(files)
    assert is_trusted(files._store, authority.issue("alice"))
    [record] = caplog.records
    assert "cannot be read (Too many open files; the full path is" in record.getMessage()
    after = settled(files)
    assert after is not before
    assert not is_trusted(after, authority.issue("alice"))


@pytest.mark.usefixtures("looks")
def test_without_a_thread_the_change_is_seen_later(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If no thread can be started, the change is noticed again at the next poll."""
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


def test_forked_process_has_a_new_lock(authority: CertificateAuthority) -> None:
    """A lock that a thread held during a fork is free in the child process."""
    files = TrustFiles([authority.certificate_pem.decode()])
    files._starting.acquire()
    module._replace_locks()
    assert files._starting.acquire(timeout=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fork_replaces_the_lock(authority: CertificateAuthority) -> None:
    """A child process has a free lock, because a request would wait for the held one forever."""
    files = TrustFiles([authority.certificate_pem.decode()])
    with files._starting:
        child = os.fork()
        if child == 0:
            os._exit(0 if files._starting.acquire(blocking=False) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- warnings ------------------------------------------------------------------------------------


def test_expired_content_is_a_warning(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Each expired trust anchor, intermediate and revocation list is a warning with its name."""
    now = datetime.now(UTC)
    yesterday = now - timedelta(days=1)
    old = CertificateAuthority("Old", not_after=yesterday)
    between = CertificateAuthority("Between", issuer=authority, not_after=yesterday)
    crl = tmp_path / "ca.crl"
    crl.write_bytes(
        authority.revocation_list(
            last_update=now - timedelta(days=9), next_update=now - timedelta(days=2)
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
    assert files.warnings(now - timedelta(days=3)) == []


def test_leaf_as_trust_anchor(authority: CertificateAuthority) -> None:
    """A client's own certificate as trust anchor allows only that certificate."""
    client = authority.issue("alice")
    other = authority.issue("alice")
    store = TrustFiles([client.certificate_pem.decode()]).current()
    assert is_trusted(store, client)
    assert not is_trusted(store, other)
    assert isinstance(client.certificate, ClientCertificate)


@pytest.mark.usefixtures("looks")
def test_intermediates_are_followed(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A changed file of intermediates is read again, as a changed file of trust anchors is."""
    first, second = (CertificateAuthority(name, issuer=authority) for name in ("First", "Second"))
    path = tmp_path / "intermediates.pem"
    path.write_bytes(first.certificate_pem)
    files = TrustFiles([authority.certificate_pem.decode()], [path])
    assert is_trusted(settled(files), first.issue("alice"))
    path.write_bytes(second.certificate_pem)
    assert is_trusted(settled(files), second.issue("alice"))
    assert not is_trusted(settled(files), first.issue("alice"))


@pytest.mark.usefixtures("looks")
def test_a_bad_file_is_logged_on_our_logger(
    tmp_path: Path, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be used is logged on the logger `arrcert`."""
    path = tmp_path / "roots.pem"
    path.write_bytes(authority.certificate_pem)
    files = TrustFiles([path])
    path.write_bytes(b"broken")
    settled(files)
    assert [record.name for record in caplog.records] == ["arrcert"]


def test_the_last_moment_is_no_warning() -> None:
    """A certificate or list in its last valid second is no warning (RFC 5280)."""
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    ca = CertificateAuthority("CA", not_after=end)
    files = TrustFiles(
        [ca.certificate_pem.decode()], (), [ca.revocation_list(next_update=end).decode()]
    )
    assert files.warnings(end) == []
    late = files.warnings(end + timedelta(seconds=1))
    assert [problem.setting for problem in late] == ["trust_anchors", "crls"]


@pytest.mark.usefixtures("looks")
def test_one_unreadable_file_among_several_is_read_again(
    tmp_path: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that could not be read is read at the next poll, even beside good files."""
    path, other = tmp_path / "roots.pem", tmp_path / "others.pem"
    path.write_bytes(authority.certificate_pem)
    other.write_bytes(CertificateAuthority("Other").certificate_pem)
    files = TrustFiles([path, other])
    path.write_bytes(CertificateAuthority("Another").certificate_pem)

    def without_a_handle(*_: object) -> object:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("builtins.open", without_a_handle)
    assert is_trusted(settled(files), authority.issue("alice"))
    monkeypatch.undo()
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.0)
    assert not is_trusted(settled(files), authority.issue("alice"))


# --- the folder of a configuration ---------------------------------------------------------------


def test_folder_places_paths(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Relative paths are relative to the folder, and absolute paths and PEM texts are unchanged."""
    pem = authority.certificate_pem.decode()
    folder = TrustFolder(str(tmp_path))
    assert folder.place("ca.pem") == str(tmp_path / "ca.pem")
    assert folder.place(Path("ca.pem")) == str(tmp_path / "ca.pem")
    assert folder.place("/etc/ca.pem") == "/etc/ca.pem"
    assert folder.place(pem) == pem
    assert TrustFolder().place("ca.pem") == "ca.pem"


def test_folder_opens_equal_sources_once(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Equal sources share one object, which the next configuration takes over."""
    path = tmp_path / "ca.pem"
    path.write_bytes(authority.certificate_pem)
    first = TrustFolder(str(tmp_path))
    files = first.open([str(path)])
    assert first.open([str(path)]) is files
    assert first.open([str(path)], [str(path)]) is not files
    second = TrustFolder(str(tmp_path), first)
    assert second.open([str(path)]) is files
    third = TrustFolder(str(tmp_path), first)
    third.forget_before()
    assert third.open([str(path)]) is not files
    assert TrustFolder().open([str(path)]) is not TrustFolder().open([str(path)])
