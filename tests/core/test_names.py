"""Names that a policy allows: each entry matches what its key defines, and no other name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.x509 import (
    Name,
    NameAttribute,
    ObjectIdentifier,
    RelativeDistinguishedName,
)
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from arrcert import names


def why_not(parse: Callable[[str], Any], entry: str) -> str:
    """Return why an entry is refused."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        parse(entry)
    return str(caught.value)


def dns_names(*entries: str) -> names.DNSNames:
    """Return the DNS names that these entries allow."""
    allowed = names.DNSNames()
    for entry in entries:
        allowed.add(entry)
    return allowed


def uris(*entries: str) -> names.URIs:
    """Return the URIs that these entries allow."""
    allowed = names.URIs()
    for entry in entries:
        allowed.add(entry)
    return allowed


def email_addresses(*entries: str) -> names.EmailAddresses:
    """Return the e-mail addresses that these entries allow."""
    allowed = names.EmailAddresses()
    for entry in entries:
        allowed.add(entry)
    return allowed


def allows(allowed: names.DNSNames | names.URIs | names.EmailAddresses, *presented: str) -> bool:
    """Tell whether an allowlist allows a certificate that holds these names of its kind."""
    if isinstance(allowed, names.DNSNames):
        return allowed.match(names.PresentedNames(dns_names=presented))
    if isinstance(allowed, names.URIs):
        return allowed.match(names.PresentedNames(uris=presented))
    return allowed.match(names.PresentedNames(email_addresses=presented))


ALL = (names.common_name, names.issuer, dns_names, uris, email_addresses)


@pytest.mark.parametrize("parse", ALL)
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (" a.example", "white space around it"),
        ("a.example\u00a0", "white space around it"),
        ("a.example\n", "white space around it"),
        ("a\x00.example", "U+0000"),
        ("a\u200e.example", "U+200E"),
        ('"a.example"', "quotation marks"),
        ("'a.example'", "quotation marks"),
    ],
)
def test_characters_that_are_not_part_of_a_name_are_refused(
    parse: Any, entry: str, message: str
) -> None:
    """White space around an entry, invisible characters and quotation marks are errors."""
    assert message in why_not(parse, entry)


# --- common names and issuers -------------------------------------------------------------------


@pytest.mark.parametrize("entry", ["Alice, of O'Hara", "a CN=b", '"a" b', "*.example"])
def test_common_name_is_exact_text(entry: str) -> None:
    """A common name is exact text, even if it looks like a pattern or a whole name."""
    assert names.common_name(entry) == entry


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("CN=alice", "without CN="),
        ("cn = alice", "without CN="),
    ],
)
def test_common_name_that_cannot_match_is_refused(entry: str, message: str) -> None:
    """A common name that begins with `CN=` is an error, because it is a whole name."""
    assert message in why_not(names.common_name, entry)


def test_issuer_is_a_common_name_or_a_whole_name() -> None:
    """An entry with `=` in it is a whole name in the order of RFC 4514."""
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
    """The error for an issuer in another spelling shows the spelling of RFC 4514."""
    found = why_not(names.issuer, entry)
    for message in messages:
        assert message in found


@given(st.text(max_size=40))
def test_any_text_is_an_entry_or_a_value_error(text: str) -> None:
    """Any text is an entry, or raises a `ValueError` with a message."""
    for parse in ALL:
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


ATTRIBUTES = st.tuples(
    st.sampled_from(
        [
            NameOID.COMMON_NAME,
            NameOID.ORGANIZATION_NAME,
            NameOID.EMAIL_ADDRESS,
            ObjectIdentifier("1.2.3.4"),
        ]
    ),
    st.text(alphabet=" ,+;=\\\"'<>#*/aéK\u212a", min_size=1, max_size=6),
)


@pytest.mark.parametrize(
    "text", [" CA ", "  CA", "CA  ", " ", "CA\\ ", "CA \\", " , ", "#1", "a=b"]
)
def test_spaces_of_an_issuer_can_be_pasted(text: str) -> None:
    """A printed name whose value begins or ends with a space is accepted as an entry."""
    name = Name([NameAttribute(NameOID.COMMON_NAME, text)])
    assert names.issuer(name.rfc4514_string()) == name


@given(st.lists(st.lists(ATTRIBUTES, min_size=1, max_size=2, unique=True), min_size=1, max_size=3))
def test_printed_issuer_can_be_pasted(rdns: list[list[tuple[ObjectIdentifier, str]]]) -> None:
    """The RFC 4514 text of any name is an entry that means the same name."""
    name = Name(
        RelativeDistinguishedName([NameAttribute(oid, text) for oid, text in rdn]) for rdn in rdns
    )
    assert names.issuer(name.rfc4514_string()) == name


@pytest.mark.parametrize("entry", [r"CN=CA\\ ", r"CN=CA ", r" CN=\ CA"])
def test_space_that_is_not_escaped_is_refused(entry: str) -> None:
    """A space at the end is part of the name only after an odd number of backslashes."""
    assert "white space around it" in why_not(names.issuer, entry)


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
    """A `*` stands for exactly one whole label, and case does not matter (RFC 4343)."""
    assert allows(dns_names(entry), name) is is_match


@pytest.mark.parametrize(
    "entry",
    ["*", "*.", "*.example", "a*.example", "a.*.example", "**.a.example", "a..b", "a b", "a.", "."],
)
def test_dns_name_of_another_form_is_refused(entry: str) -> None:
    """A `*` is an error unless it is the first of three labels; so is an empty label."""
    assert "*.partner.example" in why_not(dns_names, entry)


def test_dns_name_is_written_in_ascii() -> None:
    """The error for a DNS name that is not ASCII asks for the A-label that certificates hold."""
    assert "xn--" in why_not(dns_names, "bücher.example")
    assert "xn--" in why_not(email_addresses, "a@bücher.example")


HOSTILE = st.text(alphabet="aAk\u212a*.-_ \x00/@:%2fe\\", max_size=12)


# With characters of a label alone and without a tail, names match too.
@given(HOSTILE | st.text(alphabet="aAk-_", max_size=4), st.just("") | HOSTILE)
def test_hostile_dns_names_never_match_beyond_the_rule(head: str, tail: str) -> None:
    """A wildcard matches only a name with one label of letters, digits, - and _ in its place."""
    allowed = dns_names("*.partner.example")
    for name in (head, f"{head}.partner.example{tail}", f"{head}partner.example"):
        if allows(allowed, name):
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
    assert allows(email_addresses("Ops@Partner.example"), name) is is_match
    assert not allows(email_addresses("Ops@kelvin.example"), "Ops@\u212aelvin.example")


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
    """An entry is one mailbox at one host, without patterns, display names or lists."""
    assert "write ops@partner.example" in why_not(email_addresses, entry)


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
    """A folder matches whole segments below it, and no path that can be read in two ways."""
    assert allows(uris(entry), name) is is_match


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("*", "is not a URI"),
        ("partner.example", "is not a URI"),
        ("spiffe://*", "is not a URI"),
        ("spiffe://*/gw", "is not a URI"),
        ("spiffe://*.example/*", "is not a URI"),
        ("spiffe://partner.example*", "is not a URI"),
        ("spiffe://partner.example/ns*", "is not a URI"),
        ("spiffe://partner.example/*/gw", "is not a URI"),
        ("spiffe:///*", "is not a URI"),
        ("https://p.example/?a=/*", "is not a URI"),
        ("spiffe://partner.example/../*", "can never match"),
        ("spiffe://partner.example//*", "can never match"),
    ],
)
def test_uri_of_another_form_is_refused(entry: str, message: str) -> None:
    """A `*` is only allowed after a folder of a whole host."""
    assert message in why_not(uris, entry)


@given(HOSTILE, st.sampled_from(["", "/", "..", "%2e%2e", "//", "\\"]), HOSTILE)
def test_hostile_uris_never_match_beyond_the_folder(head: str, trick: str, tail: str) -> None:
    """A URI that matches a folder is below it, even if its path is decoded twice."""
    from posixpath import normpath
    from urllib.parse import unquote

    name = f"spiffe://partner.example/ns/{head}{trick}{tail}"
    if not allows(uris(FOLDER), name):
        return
    path = unquote(unquote(name.partition("://")[2])).replace("\\", "/")
    assert normpath(path).startswith("partner.example/ns/")


def test_any_entry_may_match() -> None:
    """A name matches if one of several entries allows it, and nothing matches without an entry."""
    hosts = dns_names("a.example", "*.b.example")
    assert [allows(hosts, name) for name in ("A.example", "x.b.example", "x.a.example")] == [
        *(True, True, False)
    ]
    assert [allows(uris("urn:a", FOLDER), name) for name in ("urn:a", "urn:b")] == [True, False]
    boxes = email_addresses("a@x.example", "b@x.example")
    assert [allows(boxes, f"{box}@x.example") for box in "abc"] == [True, True, False]
    assert not allows(dns_names(), "")
    assert not allows(uris(), "")
    assert not allows(email_addresses(), "")


def test_mailbox_may_hold_an_at() -> None:
    """The last @ of an e-mail address separates the mailbox from the host."""
    allowed = email_addresses('"a@b"@partner.example')
    assert allows(allowed, '"a@b"@PARTNER.example')
    assert not allows(allowed, '"A@b"@partner.example')
    assert not allows(allowed, '"a@b"')


def test_shortest_uris() -> None:
    """A scheme may be one letter, and something must follow it."""
    assert allows(uris("x:y"), "x:y")
    assert allows(uris("x://h/*"), "x://h/a")
    assert "is not a URI" in why_not(uris, "urn:")


def test_one_name_of_several_suffices() -> None:
    """A certificate with several names matches if one of them is allowed."""
    assert allows(dns_names("a.example"), "x.example", "a.example")
    assert allows(uris(FOLDER), "urn:x", "spiffe://partner.example/ns/gw")
    assert allows(email_addresses("a@x.example"), "b@x.example", "a@x.example")


def test_folder_is_not_deeper_than_can_be_looked_up() -> None:
    """A folder may have at most 32 slashes, so that the folders of a hostile URI are bounded."""
    folder = "a://h/" + "x/" * (names.DEEPEST_FOLDER - 3)
    assert allows(uris(f"{folder}*"), f"{folder}y")
    assert allows(uris(f"{folder}*"), f"{folder}{'y/' * 100}z")
    assert "has more than 32 slashes" in why_not(uris, f"{folder}x/*")


def test_matching_names_are_those_that_are_allowed() -> None:
    """The names that match are exactly those of the certificate that an entry allows."""
    allowed = uris("urn:a", FOLDER)
    below, ambiguous = "spiffe://partner.example/ns/gw", "spiffe://partner.example/ns/../gw"
    presented = names.PresentedNames(uris=["urn:a", "urn:b", below, ambiguous])
    assert allowed.matching(presented) == ["urn:a", below]
    hosts = dns_names("A.example", "*.b.example", "a.b.example")
    presented = names.PresentedNames(["a.EXAMPLE", "a.b.example", "*.b.example", "c"])
    assert hosts.matching(presented) == ["a.b.example", "a.example"]
    mail = email_addresses("a@b.example")
    presented = names.PresentedNames(email_addresses=["a@B.example", "A@b.example", "a@b.example"])
    assert mail.matching(presented) == ["a@B.example", "a@b.example"]


def test_few_matching_names_are_returned() -> None:
    """Of many names that match, the first three are returned, which is enough for a denial."""
    many = range(50)
    for matching, presented in (
        (
            dns_names("*.b.example").matching,
            names.PresentedNames(dns_names=[f"h{number}.b.example" for number in many]),
        ),
        (
            uris(FOLDER).matching,
            names.PresentedNames(uris=[f"spiffe://partner.example/ns/{n}" for n in many]),
        ),
        (
            email_addresses(*(f"a{number}@b.example" for number in many)).matching,
            names.PresentedNames(email_addresses=[f"a{number}@b.example" for number in many]),
        ),
    ):
        assert len(matching(presented)) == names.MOST_MATCHES
    presented = names.PresentedNames(["A", "a", *"bcd"], [*"aabcd"], [*"aabcd"])
    for first in (
        presented.first_dns_names,
        presented.first_uris,
        presented.first_email_addresses,
    ):
        assert first == ("a", "b", "c")
