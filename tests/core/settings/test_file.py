"""The file of policies: what the start accepts, and when a change takes effect."""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from arrcert import Authorizer, CertificateDenied, ConfigurationError, DenialReason
from arrcert.settings import Served, file, load
from arrcert.settings.contents import sealed
from arrcert.settings.file import PolicyFile
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

ALICE, BOB = self_signed("alice"), self_signed("bob")


def policies(*clients: IssuedCertificate, name: str = "default") -> bytes:
    """Return TOML with one alternative for each client."""
    return "".join(
        f'[[{name}]]\nfingerprints = ["{client.certificate.sha256_fingerprint}"]\n'
        for client in clients
    ).encode()


class Site:
    """An authorizer that follows a file, and reads it only when the test calls `look`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = load({"ARRCERT_FILE": str(path)}, {})
        self.authorizer = Authorizer.from_settings(self.settings)
        assert self.settings.file is not None
        self.file = self.settings.file

    def replace(self, data: bytes) -> None:
        """Replace the file in one step."""
        new = self.path.with_name("new")
        new.write_bytes(data)
        new.replace(self.path)

    def look(self, seconds: float = 0) -> None:
        """Poll the file, some seconds after the last poll."""
        self.file._seen_at -= seconds
        self.file.look()

    def verdict(self, client: IssuedCertificate, policy: str = "default") -> str:
        """Return the reason of a denial, or "accepted"."""
        try:
            self.authorizer.authorize(client.header_value, policy)
        except CertificateDenied as denied:
            return denied.reason
        return "accepted"

    def verdicts(self) -> tuple[bool, bool]:
        """Return whether Alice and Bob enter."""
        return self.verdict(ALICE) == "accepted", self.verdict(BOB) == "accepted"


@pytest.fixture(autouse=True)
def _by_hand(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Start no thread, so that the test polls by hand, except with the marker usefixtures."""
    if "threads" not in request.fixturenames:
        monkeypatch.setattr(PolicyFile, "_start", lambda self: None)
        monkeypatch.setattr(file.time, "sleep", lambda _: None)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let threads poll the file, twenty times a second."""
    monkeypatch.setattr(file, "SECONDS_BETWEEN_LOOKS", 0.05)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sealed file that accepts Alice and Bob."""
    path = tmp_path / "partners.toml"
    path.write_bytes(sealed(policies(ALICE, BOB)))
    return path


@pytest.fixture
def site(path: Path) -> Site:
    """A site that follows the file."""
    return Site(path)


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The errors in the log."""

    class Errors(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    found: list[str] = []
    handler, logger = Errors(logging.ERROR), logging.getLogger("arrcert")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def problems(**settings: Any) -> list[str]:
    """Return the mistakes that stop the start."""
    with pytest.raises(ConfigurationError) as caught:
        load(settings, {})
    return [str(problem) for problem in caught.value.problems]


# --- the start -----------------------------------------------------------------------------------


def test_policies_come_from_the_file(site: Site) -> None:
    """The policies of the file decide, and all other clients are denied."""
    assert site.verdicts() == (True, True)
    assert site.verdict(self_signed("alice")) == "fingerprint_not_allowed"
    assert list(site.settings.policies) == ["default"]


def test_environment_names_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ARRCERT_FILE` counts in the environment too; the path may be relative."""
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("ARRCERT_FILE", "partners.toml")
    authorizer = Authorizer.from_environment()
    monkeypatch.chdir("/")
    assert authorizer._file is not None
    assert authorizer._file.path == str(path)
    assert authorizer.authorize(ALICE.header_value) == ALICE.certificate


def test_path_object_names_the_file(path: Path) -> None:
    """A framework's setting may be a `pathlib.Path`."""
    assert load({"ARRCERT_FILE": path}, {}).file is not None


@pytest.mark.parametrize("value", [1, "", ["a"], True])
def test_value_that_is_no_path(value: object) -> None:
    """A value that is not a path is refused."""
    [said] = problems(ARRCERT_FILE=value)
    assert said.startswith("ARRCERT_FILE: ")
    assert "is not the path of a file" in said


def test_none_and_empty_text_are_refused() -> None:
    """None in the settings, and an empty variable, are mistakes."""
    assert problems(ARRCERT_FILE=None) == ["ARRCERT_FILE: is None; write a value, or leave it out"]
    with pytest.raises(ConfigurationError, match="ARRCERT_FILE: the environment variable is empty"):
        load({}, {"ARRCERT_FILE": " "})


@pytest.mark.parametrize(
    ("framework", "environ"),
    [
        ({"ARRCERT": {}, "ARRCERT_FILE": "a"}, {}),
        ({"ARRCERT_FILE": "a"}, {"ARRCERT_FILE": "a"}),
        ({"ARRCERT_FILE": "a"}, {"ARRCERT": "{}"}),
        ({}, {"ARRCERT": "{}", "ARRCERT_FILE": "a"}),
        ({}, {"ARRCERT_FINGERPRINTS": "A", "ARRCERT_FILE": "a"}),
    ],
)
def test_policies_have_one_source(framework: dict[str, Any], environ: dict[str, str]) -> None:
    """A file beside any other source of policies is a mistake that names both."""
    with pytest.raises(ConfigurationError, match=r"more than one source: .*ARRCERT_FILE"):
        load(framework, environ)


def test_bad_file_stops_the_start(tmp_path: Path) -> None:
    """A missing, empty or broken file stops the start, and the error names it."""
    path = tmp_path / "partners.toml"
    assert "cannot be read (No such file" in problems(ARRCERT_FILE=str(path))[0]
    path.write_bytes(b"[[default]\n")
    [said] = problems(ARRCERT_FILE=str(path))
    assert said.startswith(f"ARRCERT_FILE: '{path}' is not TOML: ")
    path.write_bytes(b"")
    assert "is not a mapping of policies" in problems(ARRCERT_FILE=str(path))[0]
    path.write_bytes(sealed(policies(ALICE))[:-10])
    assert "does not match the checksum" in problems(ARRCERT_FILE=str(path))[0]


def test_front_end_proves_no_names_in_a_file(path: Path) -> None:
    """`names_proven_by_front_end` is refused in a file."""
    path.write_bytes(b'[default]\nnames_proven_by_front_end = true\ncommon_names = ["a"]\n')
    [said] = problems(ARRCERT_FILE=str(path))
    assert 'ARRCERT_FILE["default"]["names_proven_by_front_end"]: is not allowed in a file' in said


def test_protect_all_needs_a_default_policy(path: Path) -> None:
    """A file without the policy `default` stops the start if the whole site is protected."""
    path.write_bytes(sealed(policies(ALICE, name="partners")))
    [said] = problems(ARRCERT_FILE=str(path), ARRCERT_PROTECT_ALL=True)
    assert said.startswith('ARRCERT_FILE: there is no policy "default"')


def test_unsafe_place_stops_the_start(path: Path) -> None:
    """A file that others may write, or that the site serves, stops the start."""
    path.chmod(0o666)
    [said] = problems(ARRCERT_FILE=str(path))
    assert "may be written by its group or by others (mode 0666)" in said
    load({"ARRCERT_FILE": str(path), "ARRCERT_FILE_IGNORE_MODE": True}, {})
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="is below STATIC_ROOT"):
        load({"ARRCERT_FILE": str(path)}, {}, served=[Served("STATIC_ROOT", str(path.parent))])


def test_start_waits_for_a_file_without_a_checksum(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start reads a file without a checksum twice, and accepts it if it did not change."""
    path.write_bytes(policies(ALICE, BOB))
    waits: list[float] = []

    def write_more(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            path.write_bytes(policies(ALICE))

    monkeypatch.setattr(file.time, "sleep", write_more)
    site = Site(path)
    assert waits == [file.SECONDS_BETWEEN_LOOKS] * 2
    assert site.verdicts() == (True, False)
    Site(path)
    assert len(waits) == 2


def test_start_does_not_wait_for_a_sealed_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start reads a sealed file once, because its checksum shows that it is complete."""
    monkeypatch.setattr(file.time, "sleep", lambda _: pytest.fail("it waits"))
    Site(path)


def test_file_that_is_broken_for_a_moment_does_not_stop_the_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts while the file is being written waits for the next poll."""
    data = path.read_bytes()
    path.write_bytes(b"")
    monkeypatch.setattr(file.time, "sleep", lambda _: path.write_bytes(data))
    assert Site(path).verdicts() == (True, True)
    path.unlink()
    assert Site(path).verdicts() == (True, True)


def test_file_that_never_rests_stops_the_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes at every poll stops the start."""
    path.write_bytes(policies(ALICE))

    def write_more(_: float) -> None:
        with path.open("ab") as growing:
            growing.write(b"#\n")

    monkeypatch.setattr(file.time, "sleep", write_more)
    assert "changes all the time" in problems(ARRCERT_FILE=str(path))[0]


# --- a change ------------------------------------------------------------------------------------


def test_sealed_change_counts_at_the_first_look(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A sealed change takes effect after one poll, for added and removed partners."""
    caplog.set_level(logging.INFO, "arrcert")
    assert site.verdicts() == (True, True)
    site.replace(sealed(policies(ALICE)))
    assert site.verdicts() == (True, True)
    site.look()
    assert site.verdicts() == (True, False)
    checksum = sealed(policies(ALICE)).split(b"\n")[0].partition(b"=")[2].decode()
    assert f"is in use (1 policies, SHA-256 {checksum})" in caplog.text
    site.replace(sealed(policies(BOB, ALICE)))
    site.look()
    assert site.verdicts() == (True, True)


def test_memory_ends_with_the_generation(site: Site) -> None:
    """Each new content of the file starts with an empty memory."""
    site.verdicts()
    before = site.authorizer._current()
    assert len(before.candidates["default"].memory()._accepted) == 2
    site.replace(sealed(policies(BOB, ALICE)))
    site.look()
    after = site.authorizer._current()
    assert after is not before
    assert not after.candidates["default"].memory()._accepted
    assert site.authorizer.identify(BOB.header_value).alternative == 0
    assert site.authorizer._current() is after


def test_change_of_identity_or_roles_counts_at_once(site: Site) -> None:
    """A changed name or role takes effect at once, even for a remembered client."""
    for line, name, roles in (
        ('identity = "fabrikam"\nroles = ["orders"]', "fabrikam", {"orders"}),
        ('identity = "fabrikam"\nroles = ["invoices"]', "fabrikam", {"invoices"}),
        ('identity = "contoso"', "contoso", set()),
    ):
        site.replace(sealed(policies(ALICE) + line.encode()))
        site.look()
        for _ in range(2):
            identity = site.authorizer.identify(ALICE.header_value)
            assert (identity.name, identity.roles) == (name, roles)


def test_change_without_a_checksum_counts_at_the_second_look(site: Site) -> None:
    """A change without a checksum takes effect when the same bytes are there two seconds later."""
    site.replace(policies(ALICE))
    site.look()
    assert site.verdicts() == (True, True)
    site.look(file.SECONDS_BETWEEN_LOOKS - 0.5)
    assert site.verdicts() == (True, True)
    site.look(file.SECONDS_BETWEEN_LOOKS)
    assert site.verdicts() == (True, False)


def test_bytes_that_change_between_looks_do_not_count(site: Site) -> None:
    """Each write of the file starts the two seconds again, even with the same bytes."""
    for number in range(5):
        site.path.write_bytes(policies(ALICE))
        os.utime(site.path, (number, number))
        site.look(file.SECONDS_BETWEEN_LOOKS)
        assert site.verdicts() == (True, True)
    site.look(file.SECONDS_BETWEEN_LOOKS)
    assert site.verdicts() == (True, False)


def test_every_truncation_of_a_file_admits_nobody_new(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    """A file that is cut after `trust_anchors` is valid TOML and accepts every client of that CA.

    It never counts at one look, and with a checksum it never counts at all.
    """
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    text = b'[[default]]\ntrust_anchors = "ca.pem"\ncommon_names = ["gateway"]\n'
    path = tmp_path / "partners.toml"
    path.write_bytes(sealed(text))
    site = Site(path)
    stranger, gateway = authority.issue("stranger"), authority.issue("gateway")
    assert site.verdict(stranger) == "common_name_not_allowed"
    for whole, looks in ((sealed(text), 3), (text + b"# changed\n", 1)):
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            for _ in range(looks):
                site.look(file.SECONDS_BETWEEN_LOOKS if looks > 1 else 0)
            assert site.verdict(stranger) == "common_name_not_allowed"
            assert site.verdict(gateway) == "accepted"


def test_broken_file_keeps_the_last_good_one(site: Site, errors: list[str]) -> None:
    """A broken change logs one error with its place, and the last good content stays in use."""
    site.replace(sealed(policies(ALICE) + b'[[default]]\nfingerprints = ["12:34"]\n'))
    for _ in range(3):
        site.look(file.SECONDS_BETWEEN_LOOKS)
    assert site.verdicts() == (True, True)
    [said] = errors
    assert said.startswith('ARRCERT_FILE["default"][1]["fingerprints"]: \'12:34\' has 4 hex')
    assert said.endswith(f"; the last good content of '{site.path}' stays in use")
    site.replace(sealed(policies(ALICE)))
    site.look()
    assert site.verdicts() == (True, False)


@pytest.mark.parametrize("data", [None, b"[[default]\n", b"", sealed(b"a = 1\n") + b"#"])
def test_file_that_vanishes_or_breaks(
    site: Site, data: bytes | None, errors: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A file that is missing, empty, not TOML, or changed below its checksum is a bad file."""
    caplog.set_level(logging.INFO, "arrcert")
    good = site.path.read_bytes()
    if data is None:
        site.path.unlink()
    else:
        site.replace(data)
    for _ in range(3):
        site.look(file.SECONDS_BETWEEN_LOOKS)
    assert site.verdicts() == (True, True)
    assert len(errors) == 1
    assert "the last good content" in errors[0]
    site.replace(good)
    site.look()
    assert "can be used again" in caplog.text
    assert len(errors) == 1


def test_file_that_is_missing_at_one_look_is_no_error(site: Site, errors: list[str]) -> None:
    """A file that is missing at one poll is no error: some programs remove and rewrite it."""
    data = site.path.read_bytes()
    site.path.unlink()
    site.look()
    site.path.write_bytes(data)
    site.look()
    assert errors == []


def test_place_that_becomes_unsafe(site: Site, errors: list[str]) -> None:
    """If others may write the file from now on, an error is logged and its changes are ignored."""
    site.replace(sealed(policies(ALICE)))
    site.path.chmod(0o666)
    for _ in range(2):
        site.look(file.SECONDS_BETWEEN_LOOKS)
    assert site.verdicts() == (True, True)
    assert "(mode 0666)" in errors[0]
    site.path.chmod(0o644)
    site.look()
    assert site.verdicts() == (True, False)


def test_policy_that_vanishes_denies(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A request under a policy that the file no longer holds is denied as `misconfigured`."""
    site.replace(sealed(policies(ALICE, name="partners")))
    site.look()
    assert site.verdict(ALICE) == DenialReason.MISCONFIGURED
    assert site.verdict(ALICE, "partners") == "accepted"
    assert site.authorizer.policy_names == ("partners",)
    assert "has no policy 'default'; requests under it are denied as misconfigured" in caplog.text


def test_new_warnings_are_logged_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A change that is probably a mistake logs one warning."""
    pin = ALICE.certificate.sha256_fingerprint
    retired = f'[default]\nfingerprints = [{{fingerprint = "{pin}", not_after = 2020-01-01}}]\n'
    for comment in ("", "#\n"):
        site.replace(sealed((retired + comment).encode()))
        site.look()
        assert caplog.text.count("configuration: ARRCERT_FILE") == 1
    assert caplog.text.count("configuration: ARRCERT_FILE") == 1
    assert "expired at 2020-01-01" in caplog.text


def test_unexpected_fault_keeps_the_last_good_one(
    site: Site, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    """An unexpected exception is logged once, and the next poll tries again."""
    site.replace(sealed(policies(ALICE)))

    def broken(*_: object, **__: object) -> object:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(file, "read_content", broken)
        site.look()
        assert len(errors) == 1
        site.look()
    assert errors == ["ARRCERT_FILE: the last good content stays in use"]
    site.look()
    assert site.verdicts() == (True, False)


# --- the files beside it -------------------------------------------------------------------------


def generation(folder: Path, authority: CertificateAuthority) -> None:
    """Write a folder with a CA and the policy that names it."""
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.certificate_pem)
    (folder / "partners.toml").write_bytes(sealed(b'[default]\ntrust_anchors = "ca.pem"\n'))


def test_siblings_belong_to_the_same_generation(
    tmp_path: Path, authority: CertificateAuthority, other_authority: CertificateAuthority
) -> None:
    """Links are resolved once, so replacing a whole folder is one change."""
    generation(tmp_path / "1", authority)
    generation(tmp_path / "2", other_authority)
    (tmp_path / "data").symlink_to("1")
    (tmp_path / "partners.toml").symlink_to("data/partners.toml")
    site = Site(tmp_path / "partners.toml")
    old, new = authority.issue("a"), other_authority.issue("a")
    assert (site.verdict(old), site.verdict(new)) == ("accepted", "untrusted")
    (tmp_path / "link").symlink_to("2")
    (tmp_path / "link").replace(tmp_path / "data")
    assert (site.verdict(old), site.verdict(new)) == ("accepted", "untrusted")
    site.look()
    assert (site.verdict(old), site.verdict(new)) == ("untrusted", "accepted")


def test_file_that_comes_later_completes_a_change(
    tmp_path: Path, authority: CertificateAuthority, errors: list[str]
) -> None:
    """A change that names a missing file is an error until that file exists."""
    generation(tmp_path / "site", authority)
    site = Site(tmp_path / "site" / "partners.toml")
    site.replace(sealed(b'[default]\ntrust_anchors = "new.pem"\n'))
    site.look()
    client = authority.issue("a")
    assert site.verdict(client) == "accepted"
    assert 'ARRCERT_FILE["default"]["trust_anchors"]' in errors[0]
    (tmp_path / "site" / "new.pem").write_bytes(CertificateAuthority("New").certificate_pem)
    site.look()
    assert site.verdict(client) == "untrusted"


def test_trust_files_are_taken_over(tmp_path: Path, authority: CertificateAuthority) -> None:
    """A change of the policies takes effect even if a file that they name is broken now.

    The last good content of that file stays in use, and is held once for all policies.
    """
    generation(tmp_path / "site", authority)
    site = Site(tmp_path / "site" / "partners.toml")
    client = authority.issue("a")
    (tmp_path / "site" / "ca.pem").write_bytes(b"broken")
    alternative = b'[[default]]\ntrust_anchors = "ca.pem"\ncommon_names = ["%s"]\n'
    site.replace(sealed(alternative % b"a" + alternative % b"b"))
    site.look()
    assert site.verdict(client) == "accepted"
    assert site.verdict(authority.issue("c")) == "common_name_not_allowed"
    one, two = site.file.current().policies["default"]
    assert one.trust_store() is two.trust_store()


# --- the thread ----------------------------------------------------------------------------------


def eventually(site: Site, expected: tuple[bool, bool]) -> bool:
    """Tell whether a verdict comes within ten seconds, without a request in between."""
    deadline = time.monotonic() + 10
    before = site.file._generation
    while site.file._generation is before and time.monotonic() < deadline:
        time.sleep(0.02)
    return site.verdicts() == expected


@pytest.mark.usefixtures("threads")
def test_thread_follows_the_file_without_requests(path: Path) -> None:
    """The thread reads the new content even in a worker that gets no requests."""
    site = Site(path)
    site.replace(policies(ALICE))
    assert eventually(site, (True, False))


@pytest.mark.usefixtures("threads")
def test_thread_ends_with_its_file(path: Path) -> None:
    """The thread ends when its configuration is garbage."""
    site = Site(path)
    thread = site.file._thread
    assert thread is not None
    assert thread.is_alive()
    del site
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.usefixtures("threads")
def test_forked_process_follows_the_file(path: Path) -> None:
    """After a fork the first request starts the thread of the child process."""
    site = Site(path)
    old = site.file._thread
    site.file._looking.acquire()
    file._after_fork()
    site.file._thread = None
    site.replace(sealed(policies(ALICE)))
    site.verdicts()
    assert site.file._thread is not None
    assert site.file._thread is not old
    assert site.verdicts() == (True, False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fork_replaces_the_locks(site: Site) -> None:
    """A child process has free locks, and its first request looks at the file."""
    with site.file._looking, site.file._starting:
        child = os.fork()
        if child == 0:
            locks = (site.file._looking, site.file._starting)
            are_free = all(lock.acquire(blocking=False) for lock in locks)
            os._exit(0 if are_free and site.file._overdue_at == 0.0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_late_look_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits a moment for an overdue poll, at most once in two seconds."""
    waits: list[float] = []

    class Looked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            return True

    site.file._looked = Looked()
    site.file._overdue_at = 0
    site.verdicts()
    assert waits == [file.SECONDS_TO_WAIT]


def test_without_a_thread_the_request_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, the request polls the file itself."""

    def none_left(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(PolicyFile, "_start", none_left)
    site.replace(sealed(policies(ALICE)))
    site.file._overdue_at = 0
    assert site.verdicts() == (True, False)


def test_share_that_does_not_answer_is_an_error(site: Site, errors: list[str]) -> None:
    """If no poll ends within a minute, the log says so once."""
    site.file._thread = threading.current_thread()
    for _ in range(2):
        site.file._looked_at = time.monotonic() - file.SECONDS_WITHOUT_A_LOOK - 1
        site.file._overdue_at = 0
        site.verdicts()
    [said] = errors
    assert f"'{site.path}' could not be read for 61 seconds" in said


def test_look_at_the_same_content_changes_nothing(site: Site) -> None:
    """The policies of a file that did not change are not built again."""
    generation = site.file.current()
    site.look()
    assert site.file.current() is generation


@pytest.mark.usefixtures("threads")
def test_thread_that_ended_is_started_again(path: Path) -> None:
    """If the thread is not alive, the next request that is late starts another one."""
    site = Site(path)
    ended = threading.Thread(target=time.monotonic)
    ended.start()
    ended.join()
    site.file._thread = ended
    site.file._overdue_at = 0
    site.verdicts()
    assert site.file._thread is not ended
    assert site.file._thread.is_alive()


def test_late_look_of_some_seconds_is_no_error(site: Site, errors: list[str]) -> None:
    """The log says nothing if no look ended for less than a minute."""
    site.file._thread = threading.current_thread()
    site.file._looked_at = time.monotonic() - 5
    site.file._overdue_at = 0
    site.verdicts()
    assert errors == []


def test_modes_are_checked_unless_they_are_to_be_ignored(path: Path) -> None:
    """A file that others may write is refused by default."""
    path.chmod(0o666)
    with pytest.raises(ConfigurationError, match="mode 0666"):
        PolicyFile(str(path))
    PolicyFile(str(path), ignore_mode=True)
