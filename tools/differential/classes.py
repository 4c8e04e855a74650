"""Classes of differences, each with its reason. A difference in no class is a failure.

A class says which side denies, with which text, and which variation the chain has. The text is that
of one check. So the class does not cover another difference that only looks similar.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tools.differential.verdicts import Verdict

STRICTER = "arrcert is stricter"
DECIDED = "Decided and documented"
THEIRS = "The others have another rule"

OPENSSL, GO, GNUTLS, PYHANKO = "OpenSSL", "Go", "GnuTLS", "pyhanko"
ANY = (OPENSSL, GO, GNUTLS, PYHANKO)

WILD = r"wild change|an extension of the"


class Class(NamedTuple):
    """A class of differences.

    Attributes:
        name: its name in the table.
        kind: `STRICTER` (arrcert denies), `DECIDED` (arrcert accepts, as documented), or `THEIRS`
            (arrcert accepts, and the other one applies a rule of its own or reads less).
        others: the other implementations that may differ in this way.
        words: a regular expression for the text of the denial.
        done: a regular expression for the name of a variation of the chain.
        why: the reason, for the table.
        also: a regular expression for a second variation, if the difference needs two.
    """

    name: str
    kind: str
    others: tuple[str, ...]
    words: str
    done: str
    why: str
    also: str = ""


_NOT_DER = (
    r"error parsing asn1 value|is not a valid X509 version|year 0 is out of range"
    r"|relative distinguished name cannot be empty|duplicate attributes are not allowed"
)
_BROKEN_VALUE = (
    r"does not appear to be an IPv4 or IPv6|authority_cert_issuer and authority_cert_serial_number"
    r"|encipher_only and decipher_only|path_length must be None|must not be None"
    r"|must be a non-empty list|Invalid netmask|must be an IPv4Network or IPv6Network"
)
_IDENTIFIER = (
    r"KeyIdentifier (names another|is another|is critical|is empty|has an issuer)"
    rf"|an extension of the|{WILD}"
)

CLASSES = (
    # --- arrcert denies ----------------------------------------------------------------------
    Class(
        "a CA certificate as a client's",
        STRICTER,
        ANY,
        r"^untrusted: it is a CA certificate",
        rf"^leaf: basicConstraints say CA:TRUE|{WILD}",
        "A CA certificate is accepted only if it is pinned. The key of a CA signs certificates,"
        " and does not belong to a client.",
    ),
    Class(
        "not DER",
        STRICTER,
        ANY,
        _NOT_DER,
        r".",
        "A certificate must be DER (RFC 5280 section 4.1, X.690 section 10). Two programs can read"
        " another encoding as two different certificates.",
    ),
    Class(
        "an extension that contradicts itself",
        STRICTER,
        ANY,
        _BROKEN_VALUE,
        r".",
        "An extension that can be decoded, but breaks its own rules (RFC 5280 section 4.2), is"
        " refused, also if this path does not need it.",
    ),
    Class(
        "an extension twice",
        STRICTER,
        ANY,
        r"Duplicate [\d.]+ extension found",
        r"twice|" + WILD,
        "RFC 5280 section 4.2: a certificate holds at most one instance of an extension.",
    ),
    Class(
        "a general name that is not supported",
        STRICTER,
        ANY,
        r"x400Address/EDIPartyName are not supported",
        WILD,
        "`cryptography` reads no X.400 address and no EDI party name (RFC 5280 section 4.2.1.6).",
    ),
    Class(
        "X.509 version 1",
        STRICTER,
        ANY,
        r"is an X\.509 v1 certificate",
        rf"version 1|{WILD}",
        "A certificate of version 1 cannot say whether it is a CA certificate, or what it is for.",
    ),
    Class(
        "a weak key",
        STRICTER,
        ANY,
        r"has an RSA key of \d+ bits|has a key on the curve \S+ of \d+ bits",
        r"the key is (RSA-1024|P-224)",
        "RSA below 2048 bits and curves below 256 bits are refused (NIST SP 800-131A).",
    ),
    Class(
        "a key that cannot be read",
        STRICTER,
        ANY,
        r"has a public key that cannot be read",
        rf"the key |the RSA key |bytes follow the key|{WILD}",
        "The others do not always read the leaf's key. arrcert does, because a policy can pin the"
        " key, and because it must be strong enough.",
    ),
    Class(
        "a CA key of another kind",
        STRICTER,
        ANY,
        r"signs with (a key of the kind|the curve)",
        rf"the key is (Ed25519|Ed448|P-224|secp256k1|brainpoolP256r1)|{WILD}",
        "Paths are validated only for keys of the kinds P-256, P-384, P-521 and RSA. An anchor"
        " with another key is reported at the start.",
    ),
    Class(
        "a weak or unusual signature algorithm",
        STRICTER,
        ANY,
        r"Forbidden signature algorithm|is signed with (sha1|md5)"
        r"|between signatureAlgorithm and",
        rf"is signed with|the RSA algorithm has no parameters|signature algorithms differ|{WILD}",
        "RSA (PKCS #1 v1.5, PSS with a salt as long as the hash) and ECDSA over SHA-256, SHA-384"
        " or SHA-512, each written as its RFC wants it; MD5, SHA-1 and SHA-224 are refused.",
    ),
    Class(
        "a signature in a lax encoding",
        STRICTER,
        ANY,
        r"signature does not match|another key signed the (CA )?certificate"
        r"|signature has unused bits",
        rf"the ECDSA signature has a leading zero|bytes follow the ECDSA|unused bits|{WILD}",
        "An ECDSA signature is DER (RFC 3279 section 2.2.3); the others read it more loosely.",
    ),
    Class(
        "a CA without basicConstraints",
        STRICTER,
        ANY,
        r"missing required extension: CA certificate has no basicConstraints"
        r"|basicConstraints.cA must be asserted|is not a CA: its basicConstraints do not say",
        rf"basicConstraints|version 3 without extensions|list of extensions is empty|{WILD}",
        "RFC 5280 section 6.1.4 (k): an issuer must have CA:TRUE. arrcert requires it of an"
        " anchor, too.",
    ),
    Class(
        "a CA that may not sign certificates",
        STRICTER,
        ANY,
        r"its keyUsage lacks keyCertSign",
        rf"keyUsage|{WILD}",
        "RFC 5280 section 6.1.4 (n): if an issuer has a keyUsage, it holds keyCertSign. arrcert"
        " requires it of an anchor, too.",
    ),
    Class(
        "keyCertSign without CA",
        STRICTER,
        ANY,
        r"EE keyUsage must not assert keyCertSign",
        rf"keyUsage|{WILD}",
        "RFC 5280 section 4.2.1.3: only a CA has keyCertSign.",
    ),
    Class(
        "extended key usage without clientAuth",
        STRICTER,
        ANY,
        r"extended key usage lacks clientAuth",
        rf"extendedKeyUsage|{WILD}",
        "The extended key usage of a leaf must hold clientAuth; anyExtendedKeyUsage is not"
        " enough. That of a CA or an anchor must hold clientAuth or anyExtendedKeyUsage.",
    ),
    Class(
        "a critical extension that is not processed",
        STRICTER,
        ANY,
        r"unaccounted-for critical extensions",
        rf"critical|inhibitAnyPolicy|policyMappings"
        rf"|requireExplicitPolicy|issuerAltName|proxyCertInfo|poison|{WILD}",
        "RFC 5280 section 4.2: a certificate with a critical extension that is not processed is"
        " refused. arrcert does not process certificate policies and distribution points.",
    ),
    Class(
        "an extension that must not be critical, or not be there",
        STRICTER,
        ANY,
        r"has incorrect criticality|contains prohibited extension",
        rf"critical|nameConstraints in a leaf|{WILD}",
        "RFC 5280 section 4.2.2.1: authorityInfoAccess is not critical; section 4.2.1.10: only a CA"
        " has name constraints.",
    ),
    Class(
        "a date in the wrong type",
        STRICTER,
        ANY,
        r"must be UtcTime",
        r"GeneralizedTime before",
        "RFC 5280 section 4.1.2.5: until 2049 a date is a UTCTime.",
    ),
    Class(
        "a serial number that must not be",
        STRICTER,
        ANY,
        r"serial between 1 and 20 octets|serial number cannot be negative",
        rf"serial number|{WILD}",
        "RFC 5280 section 4.1.2.2: not negative, and at most 20 octets.",
    ),
    Class(
        "a CA without a name",
        STRICTER,
        ANY,
        r"must have a non-empty Issuer",
        rf"the subject is empty|the issuer is empty|{WILD}",
        "RFC 5280 section 4.1.2.4: the issuer is not empty.",
    ),
    Class(
        "an issuer that is written otherwise",
        STRICTER,
        ANY,
        r"no CA certificate of the name|another key signed the (CA )?certificate"
        r"|exhausted with no interior errors",
        rf"the issuer (is a PrintableString|differs in|has one)|{WILD}",
        "Names are compared byte for byte. RFC 5280 section 7.1 ignores differences in case,"
        " white space and string type. With an exact comparison, fewer different names are equal.",
    ),
    Class(
        "an anchor is checked like every other CA",
        STRICTER,
        ANY,
        r"the certificate of the CA .* has expired|cert is not valid at validation time"
        r"|path length constraint violated|no permitted name constraints matched"
        r"|excluded name constraint matched|unsatisfiable \S+ name constraint"
        r"|malformed DNS name constraint|unsupported name constraint",
        rf"^anchor: |{WILD}",
        "arrcert checks the dates, path length and name constraints of an anchor. In RFC 5280"
        " section 6.1.1 (d) an anchor is only a name and a key.",
    ),
    Class(
        "a name constraint on directory names or URIs",
        STRICTER,
        ANY,
        r"has name constraints on (URIs|directory names)|unsupported name constraint",
        r"nameConstraints",
        "They cannot be enforced, so the CA is refused, whether or not the constraint is critical"
        " and whether or not this leaf has such a name.",
    ),
    Class(
        "a name constraint with a minimum or maximum",
        STRICTER,
        ANY,
        r"name constraints with a minimum or maximum",
        rf"nameConstraints have a m|{WILD}",
        "RFC 5280 section 4.2.1.10 forbids them. `cryptography` ignores them, so arrcert refuses"
        " such a CA.",
    ),
    Class(
        "a name constraint on the names in the subject",
        STRICTER,
        ANY,
        r"violates the name constraints of the CA",
        r"nameConstraints",
        "A policy can allow a client by its common name, so constraints on DNS names, IP addresses"
        " and e-mail addresses hold for common names, and those on e-mail for the subject's"
        " emailAddress (RFC 5280 section 4.2.1.10). Go looks at no subject; OpenSSL at common names"
        " that look like a DNS name, if there is no other DNS name.",
    ),
    Class(
        "a name constraint that covers the name",
        STRICTER,
        ANY,
        r"no permitted name constraints matched|excluded name constraint matched"
        r"|unsatisfiable \S+ name constraint|malformed DNS name constraint",
        r"nameConstraints",
        "A constraint covers only what its text says. For e-mail, a constraint on a host does not"
        " cover the hosts below it. A constraint on IPv4 does not cover IPv6 addresses. A dot at"
        " the beginning or end is malformed. A wildcard that can match an excluded name is"
        " excluded.",
    ),
    Class(
        "a path of more than eight intermediates",
        STRICTER,
        ANY,
        r"form no path to a trust anchor with at most 8 intermediates",
        r"nine intermediates|certify each other",
        "The length of a path is limited, so that a search ends.",
    ),
    Class(
        "a self-issued intermediate counts for the path length",
        STRICTER,
        ANY,
        r"path length constraint violated|signature does not match",
        r"self-issued below",
        "RFC 5280 section 6.1.4 (l) does not count it. Go, GnuTLS and arrcert do.",
    ),
    # --- arrcert accepts, by a decision of its design ------------------------------------------
    Class(
        "the key usage of a leaf",
        DECIDED,
        (OPENSSL,),
        r"unsuitable certificate purpose",
        rf"^leaf: (keyUsage is|{WILD})|^leaf: an extension",
        "Decided: a leaf's keyUsage is not checked. In the handshake with the front end the key"
        " has signed. Its other usages do not matter for authorization.",
    ),
    Class(
        "a key usage without a bit",
        DECIDED,
        (OPENSSL, GNUTLS),
        r"unable to get local issuer|invalid|unsuitable",
        r"^leaf: keyUsage has no bit",
        "Decided: a leaf's keyUsage is not checked.",
    ),
    Class(
        "key identifiers that do not match",
        DECIDED,
        (OPENSSL, GNUTLS, PYHANKO),
        r"unable to get local issuer|signer not found|no issuer matching|Unable to build",
        _IDENTIFIER,
        "Decided: key identifiers do not decide. They help to find an issuer (RFC 5280 section"
        " 4.2.1.1); name and signature prove it.",
    ),
    Class(
        "certificate policies",
        DECIDED,
        (GO, PYHANKO),
        r"invalid policies|no valid set of policies",
        rf"requireExplicitPolicy|{WILD}",
        "Documented: certificate policies are not checked. If policyConstraints are critical, as"
        " RFC 5280 wants them, arrcert refuses the chain.",
    ),
    # --- arrcert accepts, and the other implementation has another rule ------------------------
    Class(
        "anyExtendedKeyUsage in a CA",
        THEIRS,
        (OPENSSL, GNUTLS),
        r"unsuitable certificate purpose|purpose mismatch",
        r"^(intermediate|anchor): extendedKeyUsage is anyExtended",
        "The others do not accept anyExtendedKeyUsage in a CA. RFC 5280 section 4.2.1.12 does."
        " The leaf must still have clientAuth.",
    ),
    Class(
        "a critical key identifier",
        THEIRS,
        (OPENSSL, GO),
        r"unhandled critical extension|identifier incorrectly marked critical",
        rf"KeyIdentifier is critical|{WILD}",
        "RFC 5280 sections 4.2.1.1 and 4.2.1.2 forbid the CA to do this. arrcert processes the"
        " extension, so it makes no difference whether it is critical.",
    ),
    Class(
        "a name in an unknown type",
        THEIRS,
        (OPENSSL, GO, PYHANKO, GNUTLS),
        r"mstring wrong tag|DirectoryString|invalid RDNSequence|ASN1 parser|parse:",
        rf"the subject is an? (OCTET|INTEGER|BMP)|{WILD}",
        "An attribute that is not text cannot match an entry of a policy, so arrcert does not"
        " refuse it. The others do.",
    ),
    Class(
        "a key that Go does not know",
        THEIRS,
        (GO,),
        r"unsupported elliptic curve|invalid uncompressed public key|missing NULL parameters",
        r"the key is (secp256k1|brainpool|a compressed)|RSA key has no NULL",
        "Go reads only NIST curves, in uncompressed form, and requires the NULL in an RSA key."
        " Leaf keys on secp256k1 and brainpool curves are strong enough. A CA with such a key is"
        " refused.",
    ),
    Class(
        "unused bits in a CA's signature",
        THEIRS,
        (OPENSSL, GO, GNUTLS, PYHANKO),
        r"signature failure|verification failure|signer not CA|signature .* could not be verified",
        r"^(intermediate|anchor): the signature has unused bits",
        "`cryptography` ignores the number of unused bits of a signature. arrcert refuses a leaf"
        " with one. In a CA certificate it is ignored where the bits are zero: the signature over"
        " the content is right.",
    ),
    Class(
        "what GnuTLS reads otherwise",
        THEIRS,
        (GNUTLS,),
        r"^invalid$|signer not CA",
        r"the key is a compressed|keyUsage is three bytes|the signature (is empty|has unused)"
        r"|twin that is no CA",
        "GnuTLS does not read compressed points. It also checks parts of an anchor that have no"
        " effect on the path: its own signature, unknown bits of keyUsage, another certificate"
        " with the same key.",
    ),
    Class(
        "the leaf as its own anchor",
        THEIRS,
        (GNUTLS,),
        r"signer not found",
        r"the leaf itself is the only anchor",
        "GnuTLS does not find the leaf among the anchors if intermediates come with it.",
    ),
    Class(
        "an alternative name that is read further",
        THEIRS,
        (GO, GNUTLS, PYHANKO),
        r"cannot parse URI|SAN dNSName is malformed|SAN rfc822Name is malformed"
        r"|Unknown Subject Alternative name|Port could not be cast|UnicodeError"
        r"|UnicodeDecodeError|Invalid URL|IDNA",
        rf"subjectAltName holds|nameConstraints|{WILD}",
        "The others parse URIs, ports and international names when they read a certificate."
        " arrcert compares such names as text, byte for byte, and a broken name matches nothing.",
    ),
    Class(
        "a policy that is listed twice",
        THEIRS,
        (GO,),
        r"invalid certificate policies",
        rf"hold a policy twice|{WILD}",
        "RFC 5280 section 4.2.1.4 forbids it; certificate policies are not checked.",
    ),
    Class(
        "a constraint on a kind of name that the leaf does not have",
        THEIRS,
        (GO, PYHANKO),
        r"unhandled critical extension|unhashable type|No containment checker",
        r"nameConstraints (permit a user principal name|permit 10|exclude 10)",
        "RFC 5280 section 4.2.1.10 requires a refusal only if a certificate below has a name of"
        " that kind. Then arrcert refuses. pyhanko does not check IP addresses.",
    ),
    Class(
        "the common name of a TLS server",
        THEIRS,
        (GNUTLS,),
        r"signer constraints failure",
        r"nameConstraints (permit (the DNS name|example\.com)|exclude (every|the) DNS)",
        "If a leaf without a DNS name may be a TLS server, GnuTLS holds its common name against"
        " constraints on DNS names, whatever it looks like. arrcert does so for a common name that"
        " looks like a DNS name.",
        also=r"^leaf: extendedKeyUsage is (absent|clientAuth and serverAuth|anyExtended)",
    ),
    Class(
        "Netscape certificate types",
        THEIRS,
        (OPENSSL,),
        r"unsuitable certificate purpose",
        r"a Netscape type for",
        "An extension that RFC 5280 does not define.",
    ),
    Class(
        "extensions with a rule of their own",
        THEIRS,
        (OPENSSL, GNUTLS),
        r"RFC 3779 resource|signer constraints failure",
        r"IP address blocks|a TLS feature",
        "RFC 3779 (resources of routers) and RFC 7633 (TLS features) define non-critical"
        " extensions that limit the certificates of a CA. They have no meaning for clients.",
    ),
)


def classify(variations: Sequence[str], other: str, ours: Verdict, theirs: Verdict) -> Class | None:
    """Return the class of a difference, None if there is none.

    Args:
        variations: the names of what was done to the chain.
        other: the implementation with the other verdict.
        ours: the verdict of arrcert.
        theirs: the verdict of the other one.
    """
    denial = theirs if ours.accepted else ours
    for each in CLASSES:
        if (
            (each.kind == STRICTER) is not ours.accepted
            and other in each.others
            and re.search(each.words, denial.text)
            and any(re.search(each.done, variation) for variation in variations)
            and (not each.also or any(re.search(each.also, name) for name in variations))
        ):
            return each
    return None
