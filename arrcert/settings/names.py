"""The names of settings and policy keys, and what to write instead of a wrong one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from arrcert.notation import Form
from arrcert.policy import PARAMETERS
from arrcert.rules import KEYS
from arrcert.settings.options import OPTIONS

POLICIES = "ARRCERT"
"""The setting that holds the policies, and the environment variable that holds them as JSON."""

FILE = "ARRCERT_FILE"
"""The setting, and the environment variable, that names the file of policies."""

FLAT = {f"ARRCERT_{key.upper()}": key for key in PARAMETERS}
"""The environment variables of the default policy, one for each policy key."""

POLICY_VARIABLES = (POLICIES, FILE, *FLAT)
"""Every environment variable that holds policies, or names the file with them."""

PYTEST_VARIABLE = "PYTEST_ARRCERT"
"""An environment variable with the same value as `ARRCERT`, if the pytest plugin has set that. Only
the text of an error depends on it."""

SETTINGS = (POLICIES, FILE, *OPTIONS)
"""Every setting of a framework."""

EXAMPLE = '{"default": {"fingerprints": ["..."]}}'
"""An example of the value of `ARRCERT`."""

_SYNONYMS = {
    synonym: name
    for name, synonyms in {
        "arrcert": "policies policy config",
        "front_end": "header proxy",
        "exempt_paths": "exclude excluded_paths exempt public_paths",
        "protect_all": "protect require_all",
        "fingerprints": "thumbprints thumbprint allowed_thumbprints pins pin sha256 sha1",
        "public_keys": "spki spki_pins pubkeys",
        "common_names": "subject subjects cn cns allowed_common_names",
        "dns_names": "san sans hosts",
        "email_addresses": "emails email",
        "trust_anchors": "ca cas ca_cert ca_certs ca_certificates ca_file roots root anchors trust",
        "intermediates": "chain",
        "identity": "identities user username",
        "roles": "role groups permissions",
    }.items()
    for synonym in synonyms.split()
}
"""Names that other software uses for the same things as arrcert's settings and keys."""


def closest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, None if there is none.

    Args:
        name: a name that is not known.
        known: the known names.
    """
    # It is imported here, because a start without mistakes does not need it.
    from difflib import get_close_matches

    # Compare without the prefix `ARRCERT_`, which makes all names similar.
    by_word = {known_name.removeprefix("ARRCERT_").lower(): known_name for known_name in known}
    word = str(name).removeprefix("ARRCERT_").lower()
    close = [_SYNONYMS.get(word), *get_close_matches(word, by_word, n=1, cutoff=0.8)]
    return next((by_word[word] for word in close if word in by_word), None)


def misspelt(names: Iterable[str]) -> dict[str, str]:
    """Return the names that are probably misspelt settings, each with the setting that was meant.

    Args:
        names: names of any settings or environment variables. Those that begin with `ARRCERT` are
            left out.
    """
    # It is imported here, because a start without mistakes does not need it.
    from difflib import get_close_matches

    meant = {}
    for name in names:
        # Without the first letter, CERT_FILE would be similar enough to ARRCERT_FILE.
        if name.upper().startswith("A") and not name.startswith(POLICIES):
            close = get_close_matches(name.upper(), (*SETTINGS, *FLAT), n=1, cutoff=0.85)
            if close:
                meant[name] = close[0]
    return meant


def hint(key: object) -> str:
    """Return what to write instead of a key that a policy does not have."""
    close = closest(key, PARAMETERS)
    if close:
        return f"did you mean {close}?"
    setting = closest(key, OPTIONS)
    if setting:
        return f"write the setting {setting} next to ARRCERT"
    return f"write one of {', '.join(PARAMETERS)}"


def stray_key(name: object, held: object) -> str | None:
    """Return the key or setting that is written in place of a policy's name, None for a name.

    Args:
        name: the key of an entry of `ARRCERT`.
        held: the value of the entry.
    """
    if isinstance(held, Mapping):
        return None
    if isinstance(held, list | tuple) and any(isinstance(entry, Mapping) for entry in held):
        return name if isinstance(name, str) and name in PARAMETERS else None
    return closest(name, (*PARAMETERS, *OPTIONS)) if isinstance(name, str) else None


def example_of_key(key: str) -> str:
    """Return an example of a policy with a key."""
    is_list = KEYS[key].form in (Form.LIST, Form.LIST_WITH_COMMAS)
    return f'{{"{key}": {"[...]" if is_list else "..."}}}'
