"""`arrcert explain`: what it prints, its JSON, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from arrcert import Policy
from arrcert.cli.commands import main
from arrcert.moments import whole_second
from arrcert.testing import CertificateAuthority, IssuedCertificate, self_signed

PIN = "AB" * 32
DAY = timedelta(days=1)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    """Run the command in this process."""
    return CliRunner(env={"COLUMNS": "80"}).invoke(main, ["explain", *arguments], input=stdin)


def told(*arguments: str) -> Any:
    """Return the JSON that the command prints."""
    return json.loads(run(*arguments, "--json").stdout)


def words(result: Result) -> str:
    """Return what the command printed, with one space between words."""
    return " ".join(result.stdout.split())


@pytest.fixture(autouse=True)
def _folder(folder: Path, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with Alice's certificate. The environment has the pin of another one."""
    (folder / "alice.pem").write_bytes(alice.certificate_pem)
    monkeypatch.setenv("ARRCERT", json.dumps({"default": {"fingerprints": [PIN]}}))


def test_exit_codes(alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is 0 if the certificate may enter, 1 if not, and 2 if there is no verdict."""
    assert run("alice.pem").exit_code == 1
    assert run("missing.pem").exit_code == 2
    assert run("ca.pem", "--policy", "other").exit_code == 2
    assert run().exit_code == 2
    assert run("alice.pem", "--all", ".").exit_code == 2
    assert run("alice.pem", "--app", "a:b", "--file", "c").exit_code == 2
    assert run("alice.pem", "--at", "tomorrow").exit_code == 2
    assert run("alice.pem", "--at", "2027-01-31T12:00:00").exit_code == 2
    monkeypatch.setenv("ARRCERT", "{}")
    assert run("alice.pem").exit_code == 2
    monkeypatch.delenv("ARRCERT")
    assert run("alice.pem").exit_code == 2
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", alice.certificate.sha256_fingerprint)
    assert run("alice.pem").exit_code == 0


def test_every_rule_is_printed() -> None:
    """The output shows the certificate, each rule, the verdict, and what to write."""
    result = run("alice.pem")
    text = words(result)
    assert "subject 'CN=alice' issuer 'CN=Contoso Issuing CA,O=Contoso'" in text
    assert "Policy 'default': DENIED, fingerprint_not_allowed" in text
    assert "ok validity valid from " in text
    assert "FAILS fingerprints fingerprint_not_allowed: it is none of the 1 pinned" in text
    assert f"wanted:'{PIN}'" in text.replace(" ", "")
    assert "1. Pin this one certificate" in text
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert not any(line.endswith(" ") for line in result.stdout.splitlines())
    assert "\x1b" not in result.stdout


def test_nothing_is_wrapped_in_a_pipe(
    folder: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal, no word of the output is broken."""
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "gateway-of-a-partner-in-another-country"
    (folder / f"{name}.pem").write_bytes(authority.issue(name).certificate_pem)
    invoked = CliRunner().invoke(main, ["explain", "--all", "."])
    [row] = [line for line in invoked.stdout.splitlines() if f"{name}.pem" in line]
    assert row.split()[2:] == [f"{name}.pem", name, "fingerprint_not_allowed"]
    invoked = CliRunner().invoke(main, ["explain", f"{name}.pem"])
    assert f"wanted: '{PIN}'\n" in invoked.stdout
    assert not any(line.endswith(" ") for line in invoked.stdout.splitlines())


def test_json_is_what_the_decision_says(alice: IssuedCertificate) -> None:
    """The JSON holds the certificate, the rules and a suggestion, and the suggestion accepts it."""
    answer = told("alice.pem")
    assert answer["certificate"]["sha256_fingerprint"] == alice.certificate.sha256_fingerprint
    policy = answer["policies"]["default"]
    assert policy["accepted"] is False
    rules = {rule["key"]: rule for rule in policy["alternatives"][0]["rules"]}
    assert (rules["fingerprints"]["holds"], rules["clock_skew"]["holds"]) == (False, True)
    assert rules["fingerprints"]["reason"] == "fingerprint_not_allowed"
    whole = answer["paste"]["ARRCERT"]["default"]
    assert whole[0] == {"fingerprints": [PIN]}
    Policy(**whole[1]).check(alice.certificate)


def test_what_is_pasted_lets_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the suggested settings, the command says that the certificate may enter."""
    printed = run("alice.pem").stdout
    value = printed[printed.index("the value of ARRCERT is:") :].partition("\n")[2]
    monkeypatch.setenv("ARRCERT", value.partition("  Another way")[0])
    assert run("alice.pem").exit_code == 0
    assert told("alice.pem")["paste"] is None


def test_what_is_pasted_for_flat_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suggested pin goes into the variable of pins. Other suggested keys go into ARRCERT."""
    monkeypatch.delenv("ARRCERT")
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", PIN)
    printed = run("alice.pem").stdout
    [line] = [line.strip() for line in printed.splitlines() if "ARRCERT_FINGERPRINTS=" in line]
    name, _, value = line.partition("=")
    monkeypatch.setenv(name, value)
    assert run("alice.pem").exit_code == 0
    monkeypatch.setenv("ARRCERT_FINGERPRINTS", json.dumps([{"fingerprint": PIN, "note": "x"}]))
    printed = run("alice.pem").stdout
    assert "ARRCERT replaces the variables of the keys" in printed
    assert '"note": "x"' in printed


def test_toml_file(folder: Path, alice: IssuedCertificate) -> None:
    """The suggestions for a file are TOML, with paths relative to the file."""
    (folder / "etc").mkdir()
    file = folder / "etc" / "partners.toml"
    file.write_text('[[default]]\ntrust_anchors = "../ca.pem"\ncommon_names = ["bob"]\n')
    result = run("alice.pem", "--file", "etc/partners.toml")
    assert result.exit_code == 1
    lines = [line.strip() for line in result.stdout.splitlines()]
    at = [number for number, line in enumerate(lines) if line == "[[default]]"]
    assert lines[at[0] + 1] == f'fingerprints = ["{alice.certificate.sha256_fingerprint}"]'
    assert lines[at[1] + 1 : at[1] + 3] == [
        'trust_anchors = ["../ca.pem"]',
        'common_names = ["alice"]',
    ]
    for start in at:
        (folder / "etc" / "new.toml").write_text(
            file.read_text() + "\n".join(lines[start : start + 3]).partition("2.")[0]
        )
        assert run("alice.pem", "--file", "etc/new.toml").exit_code == 0


def test_long_settings_are_not_printed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a long list of partners only the new alternative is printed."""
    many = {f"p{number}": {"fingerprints": [PIN]} for number in range(40)}
    monkeypatch.setenv("ARRCERT", json.dumps({"default": {"fingerprints": [PIN]}, **many}))
    text = words(run("alice.pem", "--policy", "default"))
    assert "Add it to the list of alternatives of policy 'default'." in text
    assert "'p1'" not in text


def test_path_that_breaks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output shows where the path breaks, and which certificate is missing."""
    root = CertificateAuthority("Root")
    issuing = CertificateAuthority("Issuing", issuer=root)
    (folder / "root.pem").write_bytes(root.certificate_pem)
    client = issuing.issue("carol")
    (folder / "carol.pem").write_bytes(client.certificate_pem)
    (folder / "chain.pem").write_bytes(client.certificate_pem + issuing.certificate_pem)
    (folder / "stranger.pem").write_bytes(self_signed("carol").certificate_pem)
    monkeypatch.setenv("ARRCERT", json.dumps({"default": {"trust_anchors": "root.pem"}}))
    text = words(run("carol.pem"))
    assert "Where the path breaks: 1. client 'CN=carol'" in text
    assert "MISSING the certificate of the CA 'CN=Issuing' with the key identifier" in text
    assert "- revocation not judged: there is no path" in text
    text = words(run("chain.pem"))
    assert "Note: other certificates in the file: 1; the site does not get them" in text
    assert "2. in CERT, not configured 'CN=Issuing'" in text
    assert "ends here the certificate above is self-signed" in words(run("stranger.pem"))
    (folder / "ca-of-all.pem").write_bytes(root.certificate_pem + issuing.certificate_pem)
    monkeypatch.setenv("ARRCERT", json.dumps({"default": {"trust_anchors": "ca-of-all.pem"}}))
    result = run("carol.pem")
    assert result.exit_code == 0
    assert "The path: 1. client 'CN=carol'" in words(result)
    assert "This holds until " in words(result)


def test_expired_certificate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired certificate gets no suggestion, and its path is checked within its validity."""
    now = whole_second()
    old = CertificateAuthority("Old", not_before=now - 90 * DAY)
    (folder / "old.pem").write_bytes(old.certificate_pem)
    expired = old.issue("carol", not_before=now - 9 * DAY, not_after=now - 2 * DAY)
    (folder / "carol.pem").write_bytes(expired.certificate_pem)
    monkeypatch.setenv("ARRCERT", json.dumps({"default": {"trust_anchors": "old.pem"}}))
    result = run("carol.pem")
    assert (result.exit_code, told("carol.pem")["paste"]) == (1, None)
    text = words(result)
    assert "The path within the validity of the certificate, at " in text
    assert "Nothing: it has expired at " in text
    assert "fingerprints" not in text
    young = CertificateAuthority("Young")
    (folder / "old.pem").write_bytes(young.certificate_pem)
    expired = young.issue("carol", not_before=now - 9 * DAY, not_after=now - 2 * DAY)
    (folder / "carol.pem").write_bytes(expired.certificate_pem)
    assert "The path by its signatures, which is not valid:" in words(run("carol.pem"))


def test_another_day(folder: Path, alice: IssuedCertificate) -> None:
    """--at decides for another day in UTC, or for a moment with its zone."""
    answer = told("alice.pem", "--at", "2150-01-31")
    assert answer["at"] == "2150-01-31T00:00:00Z"
    assert answer["policies"]["default"]["reason"] == "expired"
    assert any("at that time there may be newer ones" in note for note in answer["notes"])
    assert not any("revocation" in note for note in answer["notes"])
    answer = told("alice.pem", "--at", "2020-01-31T12:00:00+02:00")
    assert answer["at"] == "2020-01-31T10:00:00Z"
    assert answer["policies"]["default"]["reason"] == "not_yet_valid"


def test_policies(monkeypatch: pytest.MonkeyPatch, alice: IssuedCertificate) -> None:
    """All policies are shown. One that accepts is enough, unless --policy names another."""
    pinned = {"fingerprint": alice.certificate.sha256_fingerprint, "note": "Fabrikam\x1b[1m"}
    policies = {
        "default": {"fingerprints": [PIN]},
        "partners": [{"fingerprints": [PIN]}, {"fingerprints": [pinned]}],
    }
    monkeypatch.setenv("ARRCERT", json.dumps(policies))
    result = run("alice.pem")
    assert result.exit_code == 0
    text = words(result)
    assert "Policy 'default': DENIED" in text
    assert "Policy 'partners': accepted" in text
    assert "note of the pin: 'Fabrikam\\x1b[1m'" in text
    assert "Alternative 1: denies" in text
    assert "Alternative 2: accepts" in text
    result = run("alice.pem", "--policy", "partners")
    assert (result.exit_code, "'default'" in result.stdout) == (0, False)
    assert run("alice.pem", "--policy", "default").exit_code == 1
    assert (
        "write one of 'default', 'partners' after --policy"
        in run("alice.pem", "--policy", "p").stderr
    )
    monkeypatch.setenv("ARRCERT", json.dumps({"partners": {"fingerprints": [PIN]}}))
    assert "so that policy 'partners' accepts it" in words(run("alice.pem"))


class TestSeveralPolicies:
    def test_a_client_of_one_policy_is_not_suggested_for_another(
        self, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If a policy accepts the certificate, nothing is suggested for the policy `default`."""
        fingerprint = alice.certificate.sha256_fingerprint
        policies = {
            "default": {"fingerprints": [PIN]},
            "partners": {"fingerprints": [fingerprint]},
        }
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        text = words(run("alice.pem"))
        assert "enters under the policy 'partners'; there is nothing to write" in text
        assert "What to write" not in text
        assert '"fingerprints"' not in text
        answer = told("alice.pem")
        assert (answer["accepted_by"], answer["paste"]) == (["partners"], None)
        # The operator may still ask for the other policy, and is warned.
        warning = (
            "Warning: the certificate enters under the policy 'partners' already; do this only"
        )
        assert warning in words(run("alice.pem", "--policy", "default"))
        assert (
            "everywhere where 'default'" in told("alice.pem", "--policy", "default")["warnings"][0]
        )
        policies["default"]["fingerprints"].append(fingerprint)
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        assert "under the policies 'default', 'partners'; there is" in words(run("alice.pem"))

    def test_the_operator_names_the_policy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If no policy accepts it, a suggestion needs --policy, and is for that policy only."""
        policies = {"default": {"fingerprints": [PIN]}, "our partners": {"fingerprints": [PIN]}}
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        result = run("alice.pem")
        assert result.exit_code == 1
        text = words(result)
        assert "None of the 2 policies accepts it: 'default', 'our partners'." in text
        assert "name the policy of the log line of the denial, for example: --policy 'our" in text
        assert "What to write" not in text
        assert '"fingerprints"' not in text
        answer = told("alice.pem")
        assert (answer["accepted_by"], answer["paste"]) == ([], None)
        assert "--policy 'our partners'" in answer["warnings"][0]
        text = words(run("alice.pem", "--policy", "our partners"))
        assert "What to write, so that policy 'our partners' accepts it" in text
        assert "enters under" not in text
        pasted = told("alice.pem", "--policy", "our partners")["paste"]["ARRCERT"]
        assert pasted["default"] == {"fingerprints": [PIN]}
        assert len(pasted["our partners"]) == 2

    def test_no_policy_may_accept_it(
        self, folder: Path, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reason to suggest nothing is printed, and no policy needs to be named."""
        old = authority.issue("carol", not_after=whole_second() - DAY)
        (folder / "carol.pem").write_bytes(old.certificate_pem)
        policies = {"default": {"fingerprints": [PIN]}, "partners": {"fingerprints": [PIN]}}
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        text = words(run("carol.pem"))
        assert "so that a policy accepts it - Nothing: it has expired at " in text
        assert "--policy" not in text


def test_hostile_certificate(folder: Path) -> None:
    """Terminal escapes, bidirectional marks and markup in a certificate are shown as text."""
    name = "\x1b[31m[bold red]x[/] :smile: \u202egnp\x07\r\nPolicy 'default': accepted"
    (folder / "hostile.pem").write_bytes(self_signed(name[:60]).certificate_pem)
    for arguments in (("hostile.pem",), ("--all", ".")):
        printed = run(*arguments).stdout
        assert all(character.isprintable() or character == "\n" for character in printed)
        assert "\\x1b[31m[bold" in printed
        assert ":smile:" in printed
    text = run("hostile.pem", "--json").stdout
    assert text.isascii()
    assert json.loads(text)["certificate"]["common_name"] == name[:60]


def test_password(folder: Path, alice: IssuedCertificate) -> None:
    """A .p12 is opened with a password that is typed, or that --password-file holds."""
    bundle = pkcs12.serialize_key_and_certificates(
        None, alice.private_key, alice.certificate.x509, None, BestAvailableEncryption(b"secret")
    )
    (folder / "alice.p12").write_bytes(bundle)
    (folder / "password").write_bytes(b"secret\n")
    assert run("alice.p12", "--password-file", "password").exit_code == 1
    typed = run("alice.p12", stdin=b"secret\n")
    assert (typed.exit_code, "secret" in typed.output) == (1, False)
    wrong = run("alice.p12", stdin=b"other\n")
    assert (wrong.exit_code, "cannot be opened" in wrong.stderr) == (2, True)
    for arguments, stdin in ((("alice.p12",), b""), (("-",), bundle)):
        result = run(*arguments, stdin=stdin)
        assert (result.exit_code, "write --password-file" in result.stderr) == (2, True)
    assert run("alice.p12", "--password-file", "no").exit_code == 2


def test_value_of_another_front_end(alice: IssuedCertificate) -> None:
    """A value in another encoding than the front end's is explained, and the output says so."""
    notes = told(f":{alice.header_value}:")["notes"]
    assert any(
        "the value is rfc9440, but the site reads X-ARR-ClientCert" in note for note in notes
    )
    assert told(alice.header_value)["notes"] == []


class TestFolder:
    def test_table(
        self, folder: Path, alice: IssuedCertificate, authority: CertificateAuthority
    ) -> None:
        """Each certificate of a folder is a line, with its verdict and the days left."""
        bob = authority.issue("bob", not_after=whole_second() + 10 * DAY + timedelta(hours=1))
        (folder / "bob.pem").write_bytes(bob.certificate_pem)
        (folder / "bob.key").write_bytes(bob.private_key_pem)
        (folder / ".hidden").write_text("x")
        (folder / "deeper").mkdir()
        result = run("--all", ".")
        assert result.exit_code == 1
        lines = [line.split() for line in result.stdout.splitlines()]
        assert lines[2][:4] == ["DENIED", "10", "bob.pem", "bob"]
        assert lines[-1] == ["0", "of", "3", "accepted"]
        answer = told("--all", ".")
        first, *others = [row["file"] for row in answer["certificates"]]
        assert (first, set(others)) == ("bob.pem", {"alice.pem", "ca.pem"})
        assert answer["certificates"][0]["certificate"]["days_left"] == 10

    def test_all_accepted(
        self, folder: Path, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The exit code is 0 if all are accepted, and the table names the alternatives."""
        (folder / "ca.pem").rename(folder / ".ca.pem")
        pin = {"fingerprint": alice.certificate.sha256_fingerprint, "note": "old gateway"}
        policies = [{"trust_anchors": ".ca.pem", "common_names": ["bob"]}, {"fingerprints": [pin]}]
        monkeypatch.setenv("ARRCERT", json.dumps({"default": policies}))
        result = run("--all", ".")
        assert result.exit_code == 0
        assert "alternative 2: fingerprints (old gateway)" in words(result)

    def test_several_policies(
        self,
        folder: Path,
        alice: IssuedCertificate,
        authority: CertificateAuthority,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A certificate is denied only if no policy accepts it. A column names those that do."""
        (folder / "ca.pem").rename(folder / ".ca.pem")
        for name in ("bob", "carol"):
            (folder / f"{name}.pem").write_bytes(authority.issue(name).certificate_pem)
        pin = {"fingerprint": alice.certificate.sha256_fingerprint, "note": "gateway"}
        by_name = {"trust_anchors": ".ca.pem", "common_names": ["alice", "bob"]}
        policies = {"default": by_name, "partners": {"fingerprints": [pin]}}
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        result = run("--all", ".")
        assert result.exit_code == 1
        assert result.stdout.startswith("2 policies at ")
        text = words(result)
        assert "bob.pem bob default trust_anchors" in text
        assert "alice.pem alice default, default: trust_anchors; partners partners:" in text
        assert "fingerprints (gateway)" in text
        assert "carol.pem carol - default:" in text
        assert "2 of 3 accepted" in text
        answer = told("--all", ".")
        assert answer["policy"] is None
        rows = {row["file"]: row for row in answer["certificates"]}
        assert rows["alice.pem"]["accepted_by"] == ["default", "partners"]
        assert (rows["bob.pem"]["accepted"], rows["carol.pem"]["accepted"]) == (True, False)
        (folder / "carol.pem").unlink()
        (folder / "notes.txt").write_text("hello")
        assert "none - notes.txt - - no certificate: " in words(run("--all", "."))
        (folder / "notes.txt").unlink()
        assert run("--all", ".").exit_code == 0
        result = run("--all", ".", "--policy", "partners")
        assert (result.exit_code, "accepted by" in result.stdout) == (1, False)
        assert told("--all", ".", "--policy", "partners")["policy"] == "partners"

    def test_reason_of_all_policies(
        self, folder: Path, alice: IssuedCertificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If all policies deny a certificate for the same reason, it is written once."""
        policies = {"default": {"fingerprints": [PIN]}, "partners": {"fingerprints": [PIN]}}
        monkeypatch.setenv("ARRCERT", json.dumps(policies))
        assert "alice - fingerprint_not_allowed" in words(run("--all", "."))

    def test_todays_lists_count_for_a_later_day(
        self,
        folder: Path,
        alice: IssuedCertificate,
        authority: CertificateAuthority,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """For a later day, a list that is current today counts as current; the output says so."""
        bob = authority.issue("bob")
        (folder / "ca.pem").rename(folder / ".ca.pem")
        (folder / "bob.pem").write_bytes(bob.certificate_pem)
        now = whole_second()
        crl = authority.revocation_list(bob, next_update=now + DAY)
        (folder / ".ca.crl").write_bytes(crl)
        policy = {"trust_anchors": ".ca.pem", "common_names": ["carol"], "crls": ".ca.crl"}
        monkeypatch.setenv("ARRCERT", json.dumps({"default": policy}))
        day = (now + 20 * DAY).date().isoformat()
        # Another name is suggested, as today.
        text = words(run("alice.pem", "--at", day))
        assert "ok revocation not revoked" in text
        assert "Allow the name in certificates of a CA" in text
        policy["common_names"] = ["alice", "bob"]
        monkeypatch.setenv("ARRCERT", json.dumps({"default": policy}))
        assert "known until" in words(run("alice.pem"))
        result = run("alice.pem", "--at", day)
        assert result.exit_code == 0
        assert "known until" not in words(result)
        assert "Note: revocation is judged by today's revocation lists: " in words(result)
        result = run("--all", ".", "--at", day)
        text = words(result)
        assert re.search(r"accepted \d+ alice.pem", text)
        assert re.search(r"DENIED \d+ bob.pem bob revoked", text)
        assert "Note: revocation is judged by today's revocation lists: " in text
        assert "today's revocation lists" in told("--all", ".", "--at", day)["notes"][0]
        assert "revocation lists" not in run("--all", ".").stdout
        crl = authority.revocation_list(last_update=now - 9 * DAY, next_update=now - DAY)
        (folder / ".ca.crl").write_bytes(crl)
        assert "alice revocation_unknown" in words(run("--all", ".", "--at", day))

    def test_within(
        self, folder: Path, alice: IssuedCertificate, authority: CertificateAuthority
    ) -> None:
        """--within shows what expires in that number of days, and exits with 1 if anything does."""
        (folder / "ca.pem").rename(folder / ".ca.pem")
        bob = authority.issue("bob", not_after=whole_second() + 10 * DAY + timedelta(hours=1))
        (folder / "bob.pem").write_bytes(bob.certificate_pem)
        result = run("--all", ".", "--within", "11")
        assert result.exit_code == 1
        assert "bob.pem" in result.stdout
        assert "alice.pem" not in result.stdout
        assert "1 of 2 expire within 11 days or have expired" in words(result)
        [row] = told("--all", ".", "--within", "11")["certificates"]
        assert row["file"] == "bob.pem"
        result = run("--all", ".", "--within", "1")
        assert (result.exit_code, "0 of 2 expire within 1 day or" in words(result)) == (0, True)
        assert "verdict" not in result.stdout
        (folder / "notes.txt").write_text("hello")
        result = run("--all", ".", "--within", "1")
        assert (result.exit_code, "files that cannot be read: 1" in words(result)) == (1, True)
        assert run("alice.pem", "--within", "1").exit_code == 2

    def test_files_without_a_certificate(self, folder: Path, alice: IssuedCertificate) -> None:
        """A file without a certificate is not accepted, and a folder without any is exit code 2."""
        bundle = pkcs12.serialize_key_and_certificates(
            None, alice.private_key, alice.certificate.x509, None, BestAvailableEncryption(b"x")
        )
        (folder / "alice.p12").write_bytes(bundle)
        (folder / "notes.txt").write_text("hello")
        result = run("--all", ".")
        assert result.exit_code == 1
        assert "no certificate: has a password; write --password-file" in words(result)
        answer = told("--all", ".")
        problems = {row["file"]: row["problem"] for row in answer["certificates"]}
        assert "holds no certificate" in problems["notes.txt"]
        (folder / "empty").mkdir()
        assert run("--all", "empty").exit_code == 2
        assert run("--all", "missing").exit_code == 2
        assert run("--all", ".", "--policy", "other").exit_code == 2


def test_app_without_an_authorizer(make_module: Callable[[str], str]) -> None:
    """A middleware whose callable fails is an error, not a verdict."""
    name = make_module(
        "from arrcert.wsgi import ClientCertificateMiddleware\n"
        "app = ClientCertificateMiddleware(lambda e, s: [], lambda: None)\n"
    )
    result = run("alice.pem", "--app", f"{name}:app")
    assert result.exit_code == 2
    assert "has no settings: the callable returned 'None'" in result.stderr


def test_without_rich(folder: Path) -> None:
    """Without rich the command says what to install, and JSON works."""
    program = (
        "import sys; sys.modules['rich'] = None\nfrom arrcert.cli import main\nmain(sys.argv[1:])\n"
    )
    line = [sys.executable, "-c", program, "explain", "alice.pem"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs rich; run: pip install 'arrcert[dev]', or write --json" in done.stderr
    done = subprocess.run([*line, "--json"], capture_output=True, text=True, check=False)
    assert (done.returncode, json.loads(done.stdout)["policies"]["default"]["accepted"]) == (
        1,
        False,
    )
