"""The mapping of policies as it is written in TOML; test_validation.py has the other notations."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from arrcert.notation import Notation
from arrcert.settings.policies import Place, PolicyReader
from arrcert.testing import CertificateAuthority
from arrcert.trust.files import TrustFolder

PIN = "A" * 64


def read(text: str, **options: Any) -> PolicyReader:
    """Return the reader of a TOML text, after it has read the text."""
    reader = PolicyReader("ARRCERT_FILE", Notation.TOML, **options)
    reader.read(tomllib.loads(text))
    return reader


def test_tables_and_lists_of_tables() -> None:
    """`[name]` is one policy, and `[[name]]` is one of several alternatives."""
    reader = PolicyReader("ARRCERT_FILE", Notation.TOML)
    policies = reader.read(
        tomllib.loads(
            f"[default]\nfingerprints = ['{PIN}']\n"
            f"[[partners]]\nfingerprints = ['{PIN}']\n[[partners]]\npublic_keys = ['{PIN}']\n"
        )
    )
    assert reader.problems == []
    assert [place.where for place, _ in reader.places] == [
        'ARRCERT_FILE["default"]',
        'ARRCERT_FILE["partners"][0]',
        'ARRCERT_FILE["partners"][1]',
    ]
    assert {name: len(held) for name, held in policies.items()} == {"default": 1, "partners": 2}


@pytest.mark.parametrize(
    ("date", "last"),
    [
        ("2027-01-31", "2027-01-31T23:59:59+00:00"),
        ("2027-01-31T12:00:00+02:00", "2027-01-31T10:00:00+00:00"),
        ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00+00:00"),
        ("'2027-01-31'", "2027-01-31T23:59:59+00:00"),
    ],
)
def test_dates_of_toml(date: str, last: str) -> None:
    """`not_after` may be a local date or an offset date-time of TOML, or text."""
    reader = read(f"[default]\nfingerprints = [{{fingerprint = '{PIN}', not_after = {date}}}]\n")
    assert reader.problems == []
    [(_, policy)] = reader.places
    [problem] = policy.warnings(datetime(2028, 1, 1, tzinfo=UTC))
    assert f"expired at {datetime.fromisoformat(last)}" in problem.message


@pytest.mark.parametrize("date", ["2027-01-31T12:00:00", "12:00:00", "2027"])
def test_other_dates_of_toml_are_refused(date: str) -> None:
    """A local date-time has no zone, and a time or a number is no date."""
    reader = read(f"[default]\nfingerprints = [{{fingerprint = '{PIN}', not_after = {date}}}]\n")
    [problem] = reader.problems
    assert problem.setting == 'ARRCERT_FILE["default"]["fingerprints"]'
    assert 'has the "not_after"' in problem.message


@pytest.mark.parametrize(
    ("text", "setting", "message"),
    [
        ("", "ARRCERT_FILE", "is not a mapping of policies; write [[default]]"),
        ("'' = {}", "ARRCERT_FILE", "is not a policy's name; write [[default]]"),
        ("default = []", 'ARRCERT_FILE["default"]', "neither a policy nor a list of alternatives"),
        ("default = [1]", 'ARRCERT_FILE["default"][0]', "'1' is not a policy; write [[default]]"),
        ("fingerprints = []", "ARRCERT_FILE", "not a policy's name; write [[default]] on a line"),
        ("ARRCERT_PROTECT_ALL = true", "ARRCERT_FILE", "write the setting ARRCERT_PROTECT_ALL"),
        ("[default]\nfingerprint = 1", 'ARRCERT_FILE["default"]["fingerprint"]', "did you mean"),
        ("[default]", 'ARRCERT_FILE["default"]', "no condition"),
    ],
)
def test_mistakes_name_their_place(text: str, setting: str, message: str) -> None:
    """Every mistake names policy, alternative and key, and what to write in TOML."""
    [problem] = read(text).problems
    assert problem.setting == setting
    assert message in problem.message


def test_bad_entry_is_named() -> None:
    """A mistake in a list names policy, alternative, key and entry."""
    text = f"[[default]]\nfingerprints = ['{PIN}']\n[[default]]\nfingerprints = ['{PIN}', '12:34']"
    [problem] = read(text).problems
    assert problem.setting == 'ARRCERT_FILE["default"][1]["fingerprints"]'
    assert problem.message.startswith("'12:34' has 4 hex digits")


def test_refused_key() -> None:
    """A key that is not allowed in TOML is a mistake that says why."""
    text = "[default]\nnames_proven_by_front_end = true\ncommon_names = ['a']"
    [problem] = read(text, refused={"names_proven_by_front_end": "is not allowed"}).problems
    assert problem == ('ARRCERT_FILE["default"]["names_proven_by_front_end"]', "is not allowed")


def test_paths_are_relative_to_the_folder(tmp_path: Path, authority: CertificateAuthority) -> None:
    """Relative paths of every key are relative to the given folder; PEM text stays text."""
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    (tmp_path / "crls").mkdir()
    (tmp_path / "crls" / "ca.crl").write_bytes(authority.revocation_list())
    pem = authority.certificate_pem.decode()
    text = (
        "[[default]]\ntrust_anchors = 'ca.pem'\ncrls = 'crls'\n"
        f"[[default]]\ntrust_anchors = '''{pem}'''\n[[default]]\ntrust_anchors = 'b.pem'\n"
    )
    [problem] = read(text, trust_folder=TrustFolder(str(tmp_path))).problems
    assert problem.setting == 'ARRCERT_FILE["default"][2]["trust_anchors"]'
    assert f"the file '{tmp_path}/b.pem' cannot be read" in problem.message
    stated = "[{file = 'absent.crl', distribution_point = 'https://ca.example/1'}]"
    text = f"[default]\ntrust_anchors = 'ca.pem'\ncrls = {stated}\n"
    [problem] = read(text, trust_folder=TrustFolder(str(tmp_path))).problems
    assert problem.setting == 'ARRCERT_FILE["default"]["crls"]'
    assert f"the file '{tmp_path}/absent.crl' cannot be read" in problem.message


def test_place_of_the_flat_variables() -> None:
    """Without a place, a key is called by its environment variable, and the policy ARRCERT."""
    place = Place("", Notation.PYTHON)
    assert (place.setting(), place.setting("issuers")) == ("ARRCERT", "ARRCERT_ISSUERS")


def test_refused_key_does_not_hide_another_mistake() -> None:
    """Beside a key that may not stand here, the mistakes of the other keys are reported."""
    text = "[default]\nnames_proven_by_front_end = true\nclock_skew = -1"
    found = read(text, refused={"names_proven_by_front_end": "is not allowed"}).problems
    assert [problem.setting for problem in found] == [
        'ARRCERT_FILE["default"]["names_proven_by_front_end"]',
        'ARRCERT_FILE["default"]["clock_skew"]',
    ]


def test_stray_key_does_not_hide_another_mistake() -> None:
    """Beside a key in place of a policy's name, the mistakes of the policies are reported."""
    found = read("clock_skew = 5\n[partners]\ncolour = 1").problems
    assert [problem.setting for problem in found] == [
        "ARRCERT_FILE",
        'ARRCERT_FILE["partners"]["colour"]',
    ]


def test_alternatives_may_be_a_tuple() -> None:
    """In a framework's settings, alternatives may stand in a tuple."""
    reader = PolicyReader("ARRCERT", Notation.PYTHON)
    policies = reader.read({"default": ({"fingerprints": [PIN]}, {"public_keys": [PIN]})})
    assert reader.problems == []
    assert len(policies["default"]) == 2


def test_policy_without_a_condition_is_a_mistake() -> None:
    """A policy that is whole and has no condition is reported at its own place."""
    reader = PolicyReader("ARRCERT", Notation.PYTHON)
    assert reader.build('ARRCERT["default"]', {"clock_skew": 5}) is None
    assert [problem.setting for problem in reader.problems] == ['ARRCERT["default"]']
