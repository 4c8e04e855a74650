"""The names of settings and keys, and what to write instead of a wrong one."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from arrcert.policy import PARAMETERS
from arrcert.settings.names import (
    FLAT,
    POLICIES,
    SETTINGS,
    closest,
    example_of_key,
    hint,
    misspelt,
    stray_key,
)


def test_every_key_has_a_flat_variable() -> None:
    """The environment variable of a key is the key in capital letters behind ARRCERT_."""
    assert set(FLAT.values()) == set(PARAMETERS)
    assert FLAT["ARRCERT_FINGERPRINTS"] == "fingerprints"
    assert FLAT["ARRCERT_NAMES_PROVEN_BY_FRONT_END"] == "names_proven_by_front_end"


def test_settings_and_flat_variables_have_different_names() -> None:
    """No name stands for a setting and for a key of the default policy."""
    assert POLICIES in SETTINGS
    assert not set(SETTINGS) & set(FLAT)


# --- closest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("comon_names", "common_names"),
        ("Fingerprint", "fingerprints"),
        ("issuer", "issuers"),
        ("thumbprints", "fingerprints"),
        ("THUMBPRINTS", "fingerprints"),
        ("pins", "fingerprints"),
        ("spki", "public_keys"),
        ("subject", "common_names"),
        ("san", "dns_names"),
        ("emails", "email_addresses"),
        ("chain", "intermediates"),
        ("user", "identity"),
        ("groups", "roles"),
        *((name, "trust_anchors") for name in ("ca", "cas", "ca_certs", "roots", "root", "trust")),
        ("colour", None),
        ("", None),
        (7, None),
        (None, None),
    ],
)
def test_closest_key(name: object, meant: str | None) -> None:
    """The suggestion for a misspelt key, or for another software's name of it, is the right key."""
    assert closest(name, PARAMETERS) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ARRCERT_FRONTEND", "ARRCERT_FRONT_END"),
        ("ARRCERT_EXEMPT_PATH", "ARRCERT_EXEMPT_PATHS"),
        ("ARRCERT_PROXY", "ARRCERT_FRONT_END"),
        ("ARRCERT_PUBLIC_PATHS", "ARRCERT_EXEMPT_PATHS"),
        ("ARRCERT_PROTECT", "ARRCERT_PROTECT_ALL"),
        ("ARRCERT_POLICIES", "ARRCERT"),
        ("ARRCERTS", "ARRCERT"),
        ("ARRCERT_COLOUR", None),
    ],
)
def test_closest_setting(name: str, meant: str | None) -> None:
    """The prefix that all settings share does not count as a similarity."""
    assert closest(name, SETTINGS) == meant


def test_closest_name_is_a_known_one() -> None:
    """A synonym suggests only names that are in the list of known names."""
    assert closest("thumbprints", ["issuers"]) is None
    assert closest("thumbprints", []) is None


# --- hint, stray_key, example_of_key -------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("thumbprint", "did you mean fingerprints?"),
        ("exempt_paths", "write the setting ARRCERT_EXEMPT_PATHS next to ARRCERT"),
        ("header", "write the setting ARRCERT_FRONT_END next to ARRCERT"),
        ("colour", f"write one of {', '.join(PARAMETERS)}"),
        (7, f"write one of {', '.join(PARAMETERS)}"),
    ],
)
def test_hint_says_what_to_write(key: object, text: str) -> None:
    """The hint names the intended key or setting, or else lists every key."""
    assert hint(key) == text


@pytest.mark.parametrize(
    ("name", "held", "found"),
    [
        ("fingerprints", ["AB"], "fingerprints"),
        ("thumbprints", ["AB"], "fingerprints"),
        ("clock_skew", 5, "clock_skew"),
        ("exempt_paths", ["/health"], "ARRCERT_EXEMPT_PATHS"),
        ("protect_all", True, "ARRCERT_PROTECT_ALL"),
        ("fingerprints", [{"fingerprint": "AB"}], "fingerprints"),
        ("thumbprints", [{"fingerprint": "AB"}], None),
        ("thumbprints", ({"fingerprint": "AB"},), None),
        ("thumbprints", [{"fingerprint": "AB"}, "CD"], None),
        ("fingerprints", {"fingerprints": ["AB"]}, None),
        ("partners", [{"fingerprints": ["AB"]}], None),
        ("partners", [], None),
        ("colour", "red", None),
        (7, "red", None),
        (7, [{}], None),
    ],
)
def test_stray_key_is_not_a_name_of_a_policy(name: object, held: Any, found: str | None) -> None:
    """A key in the place of a policy's name is recognized by its name and its value."""
    assert stray_key(name, held) == found


@pytest.mark.parametrize(
    ("key", "example"),
    [
        ("fingerprints", '{"fingerprints": [...]}'),
        ("issuers", '{"issuers": [...]}'),
        ("clock_skew", '{"clock_skew": ...}'),
        ("revocation", '{"revocation": ...}'),
    ],
)
def test_example_shows_whether_the_key_holds_a_list(key: str, example: str) -> None:
    """The example of a key has brackets only if the key holds a list."""
    assert example_of_key(key) == example


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ARCCERT_FILE", "ARRCERT_FILE"),
        ("ARCERT_FINGERPRINTS", "ARRCERT_FINGERPRINTS"),
        ("ARR_CERT", "ARRCERT"),
        ("arrcert_file", "ARRCERT_FILE"),
        ("ACCERT_TRUST_ANCHORS", "ARRCERT_TRUST_ANCHORS"),
    ],
)
def test_misspelt_prefix(name: str, meant: str) -> None:
    """A name whose prefix is misspelt is recognized."""
    assert misspelt([name]) == {name: meant}


def test_other_names_are_not_misspelt() -> None:
    """Names of other software are no misspelt settings, and neither are reserved names."""
    names = ["CERT_FILE", "SSL_CERT_FILE", "ALLOWED_HOSTS", "APP_ROLES", "ADMINS", "PATH", "A", ""]
    assert misspelt([*names, "ARRCERT", "ARRCERT_FILES", "WEBSITE_SITE_NAME"]) == {}
    from django.conf import global_settings

    assert misspelt(dir(global_settings)) == {}
    assert misspelt(Flask("app").config) == {}
