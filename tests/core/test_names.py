"""Names that a policy allows: each matches what its rule says, and nothing beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.x509 import Name
from hypothesis import given
from hypothesis import strategies as st

from arrcert import names


def why_not(parse: Callable[[str], Any], entry: str) -> str:
    """Return why an entry is refused."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse(entry)
    return str(caught.value)


ALL = (names.common_name, names.issuer, names.dns_name, names.uri, names.email_address)


@pytest.mark.parametrize("parse", ALL)
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (" a.example", "white space around it"),
        ("a.example\n", "white space around it"),
        ("a\x00.example", "U+0000"),
        ("a\u200e.example", "U+200E"),
        ('"a.example"', "quotation marks"),
        ("'a.example'", "quotation marks"),
    ],
)
def test_what_belongs_to_no_name_is_refused(parse: Any, entry: str, message: str) -> None:
    """White space, invisible characters and quotation marks would silently match nobody."""
    assert message in why_not(parse, entry)


# --- common names and issuers -------------------------------------------------------------------


def test_common_name_is_taken_as_it_stands() -> None:
    """A common name is exact text."""
    assert names.common_name("Alice, of O'Hara") == "Alice, of O'Hara"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("CN=alice", "without CN="),
        ("cn = alice", "without CN="),
    ],
)
def test_common_name_that_cannot_match_is_refused(entry: str, message: str) -> None:
    """A whole name is no common name."""
    assert message in why_not(names.common_name, entry)


def test_issuer_is_a_common_name_or_a_whole_name() -> None:
    """An entry with an = in it is the whole name in RFC 4514's order."""
    assert names.issuer("Contoso CA") == "Contoso CA"
    whole = names.issuer(r"CN=Contoso CA,  O=Contoso\, Inc.,C=US")
    assert isinstance(whole, Name)
    assert whole.rfc4514_string() == r"CN=Contoso CA,O=Contoso\, Inc.,C=US"
    assert names.issuer("Contoso, Inc.") == "Contoso, Inc."
    for entry in ("O=Contoso,CN=Contoso CA", "C=US,O=Contoso,CN=Contoso CA", "C=US"):
        assert isinstance(names.issuer(entry), Name)


RIGHT = "CN=Contoso CA,O=Contoso,C=US"


@pytest.mark.parametrize(
    ("entry", "messages"),
    [
        ("CN = Contoso CA\nO = Contoso\nC = US", ("line breaks", f"write '{RIGHT}'")),
        ("CN = Contoso CA\r\nO = Contoso\r\nC = US\r\n", ("line breaks", f"write '{RIGHT}'")),
        ("C = US\nO = Contoso\nCN = Contoso CA", ("line breaks", f"write '{RIGHT}'")),
        ("C = US, O = Contoso, CN = Contoso CA", (f"write '{RIGHT}'",)),
        ("/C=US/O=Contoso/CN=Contoso CA", (f"write '{RIGHT}'",)),
        ("C=US, S=Washington, CN=Contoso CA", ("write 'CN=Contoso CA,ST=Washington,C=US'",)),
        ("E=ca@contoso.com,CN=Contoso CA", ("1.2.840.113549.1.9.1=ca@contoso.com",)),
        ("CN=", ("openssl x509 -in client.pem -noout -issuer",)),
        ("a=b=c", ("openssl x509 -in client.pem -noout -issuer",)),
        ("CN=Contoso\x07CA", ("U+0007",)),
    ],
)
def test_issuer_in_another_spelling_is_refused(entry: str, messages: tuple[str, ...]) -> None:
    """A name that could never match is an error that shows how RFC 4514 writes it."""
    found = why_not(names.issuer, entry)
    for message in messages:
        assert message in found


@given(st.text(max_size=40))
def test_any_text_is_an_issuer_or_a_value_error(text: str) -> None:
    """Whatever stands in the settings, nothing but a ValueError comes of it."""
    for parse in ALL:
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


# --- DNS names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "name", "is_match"),
    [
        ("gw.partner.example", "gw.partner.example", True),
        ("GW.Partner.example", "gw.partner.EXAMPLE", True),
        ("gw.partner.example", "gw.partner.example.", False),
        ("gw.partner.example", "a.gw.partner.example", False),
        ("kelvin.example", "\u212aelvin.example", False),
        ("*.partner.example", "gw.partner.example", True),
        ("*.partner.example", "GW.PARTNER.EXAMPLE", True),
        ("*.partner.example", "partner.example", False),
        ("*.partner.example", ".partner.example", False),
        ("*.partner.example", "a.b.partner.example", False),
        ("*.partner.example", "a-partner.example", False),
        ("*.partner.example", "*.partner.example", False),
        ("*.partner.example", "a*.partner.example", False),
        ("*.partner.example", "gw.partner.example.evil.example", False),
        ("*.partner.example", "gw\x00.partner.example", False),
        ("*.partner.example", "\u212a.partner.example", False),
        ("*.kelvin.example", "gw.\u212aelvin.example", False),
    ],
)
def test_dns_names_match_one_label(entry: str, name: str, is_match: bool) -> None:
    """A * stands for exactly one whole label, and case does not matter (RFC 4343)."""
    assert names.dns_name(entry)(name) is is_match


@pytest.mark.parametrize(
    "entry",
    ["*", "*.", "*.example", "a*.example", "a.*.example", "**.a.example", "a..b", "a b", "a.", "."],
)
def test_dns_name_of_another_form_is_refused(entry: str) -> None:
    """A * anywhere but as the first label of at least three, or an empty label, is an error."""
    assert "*.partner.example" in why_not(names.dns_name, entry)


def test_dns_name_is_written_in_ascii() -> None:
    """A certificate holds A-labels, so the settings do."""
    assert "xn--" in why_not(names.dns_name, "bücher.example")
    assert "xn--" in why_not(names.email_address, "a@bücher.example")


HOSTILE = st.text(alphabet="aAk\u212a*.-_ \x00/@:%2fe\\", max_size=12)


@given(HOSTILE, HOSTILE)
def test_hostile_dns_names_never_match_beyond_the_rule(head: str, tail: str) -> None:
    """Whatever matches a wildcard is one label of letters, digits, - and _ before the suffix."""
    matches = names.dns_name("*.partner.example")
    for name in (head, f"{head}.partner.example{tail}", f"{head}partner.example"):
        if matches(name):
            label, _, rest = name.partition(".")
            assert rest.lower() == "partner.example"
            assert label.isascii()
            assert label.replace("-", "").replace("_", "").isalnum() or set(label) <= {"-", "_"}


# --- e-mail addresses ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_match"),
    [
        ("Ops@partner.example", True),
        ("Ops@PARTNER.example", True),
        ("ops@partner.example", False),
        ("Ops@partner.example.evil.example", False),
        ("evil.example@Ops@partner.example", False),
        ("Ops@\u212aelvin.example", False),
        ("Ops", False),
        ("", False),
    ],
)
def test_email_mailbox_is_exact_and_host_without_case(name: str, is_match: bool) -> None:
    """The mailbox is compared exactly, the host without case (RFC 5280 section 7.5)."""
    assert names.email_address("Ops@Partner.example")(name) is is_match
    assert not names.email_address("Ops@kelvin.example")("Ops@\u212aelvin.example")


@pytest.mark.parametrize(
    "entry",
    [
        "ops",
        "@partner.example",
        "ops@",
        "*@partner.example",
        "ops@*.example",
        "mailto:ops@a.example",
        "Ops <ops@a.example>",
        "a@a.example,b@b.example",
        "ops@a..example",
    ],
)
def test_email_address_of_another_form_is_refused(entry: str) -> None:
    """An address is one mailbox at one host; nothing stands for several."""
    assert "write ops@partner.example" in why_not(names.email_address, entry)


# --- URIs ---------------------------------------------------------------------------------------

FOLDER = "spiffe://partner.example/ns/*"


@pytest.mark.parametrize(
    ("entry", "name", "is_match"),
    [
        ("urn:uuid:1", "urn:uuid:1", True),
        ("urn:uuid:1", "URN:uuid:1", False),
        ("spiffe://p.example/gw", "spiffe://p.example/gw/", False),
        ("spiffe://p.example/*", "spiffe://p.example/gw", True),
        (FOLDER, "spiffe://partner.example/ns/gw", True),
        (FOLDER, "spiffe://partner.example/ns/gw/a", True),
        (FOLDER, "spiffe://partner.example/ns/..gw", True),
        *(
            (FOLDER, f"spiffe://partner.example{path}", False)
            for path in ("", "/", "/ns", "/ns/", "/nsx/gw", "/NS/gw", "/ns/../admin", "/ns/..")
        ),
        *(
            (FOLDER, f"spiffe://partner.example/ns/{path}", False)
            for path in ("a/./b", ".", "..;/b", "a//b", "/b", "a\\b", "%2e%2e/b", "a%2Fb", "a%5cb")
        ),
        *(
            (FOLDER, f"spiffe://partner.example/ns/{path}", False)
            for path in ("a%252fb", "a?b", "a#b", "a b", "a\n", "a\x00b")
        ),
        (FOLDER, "spiffe://partner.example.evil.example/ns/gw", False),
        (FOLDER, "spiffe://evil@partner.example/ns/gw", False),
        (FOLDER, "SPIFFE://partner.example/ns/gw", False),
        ("https://p.example/*", "https://p.example/https://evil.example", False),
    ],
)
def test_uris_match_exactly_or_below_a_folder(entry: str, name: str, is_match: bool) -> None:
    """A folder matches at a segment's boundary, and no path that plays tricks."""
    assert names.uri(entry)(name) is is_match


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("*", "is no URI"),
        ("partner.example", "is no URI"),
        ("spiffe://*", "is no URI"),
        ("spiffe://*/gw", "is no URI"),
        ("spiffe://*.example/*", "is no URI"),
        ("spiffe://partner.example*", "is no URI"),
        ("spiffe://partner.example/ns*", "is no URI"),
        ("spiffe://partner.example/*/gw", "is no URI"),
        ("spiffe:///*", "is no URI"),
        ("https://p.example/?a=/*", "is no URI"),
        ("spiffe://partner.example/../*", "can never match"),
        ("spiffe://partner.example//*", "can never match"),
    ],
)
def test_uri_of_another_form_is_refused(entry: str, message: str) -> None:
    """A * stands for what is below a folder of a whole host, and for nothing else."""
    assert message in why_not(names.uri, entry)


@given(HOSTILE, st.sampled_from(["", "/", "..", "%2e%2e", "//", "\\"]), HOSTILE)
def test_hostile_uris_never_match_beyond_the_folder(head: str, trick: str, tail: str) -> None:
    """Whatever matches resolves, however often it is decoded, to a path below the folder."""
    from posixpath import normpath
    from urllib.parse import unquote

    name = f"spiffe://partner.example/ns/{head}{trick}{tail}"
    if not names.uri(FOLDER)(name):
        return
    path = unquote(unquote(name.partition("://")[2])).replace("\\", "/")
    assert normpath(path).startswith("partner.example/ns/")


def test_any_entry_may_match_any_name() -> None:
    """One allowed name among those that the certificate holds suffices; none of none does not."""
    matchers = [names.dns_name("a.example"), names.dns_name("b.example")]
    assert names.any_matches(matchers, ["x.example", "B.example"])
    assert not names.any_matches(matchers, ["x.example"])
    assert not names.any_matches(matchers, [])
