"""OpenSSL: the library that pyOpenSSL is built with, by X509_verify_cert.

The check is that of `openssl verify -purpose sslclient -partial_chain`. With `-partial_chain`, a
trust anchor need not be self-signed.
"""

from __future__ import annotations

from OpenSSL import _util, crypto

from tools.differential.certificates import AT
from tools.differential.chains import Chain
from tools.differential.verdicts import ACCEPTED, Verdict


def version() -> str:
    """Return the version of OpenSSL."""
    from cryptography.hazmat.backends.openssl.backend import backend

    return backend.openssl_version_text().removeprefix("OpenSSL ")


def verdict(chain: Chain) -> Verdict:
    """Ask OpenSSL."""
    try:
        store = crypto.X509Store()
        for anchor in chain.anchors:
            store.add_cert(_load(anchor))
        intermediates = [_load(each) for each in chain.intermediates]
        leaf = _load(chain.leaf)
    except crypto.Error as error:
        return Verdict(False, f"parse: {error}")
    store.set_time(AT)
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    # pyOpenSSL has no public method for the purpose.
    _util.lib.X509_STORE_set_purpose(store._store, _util.lib.X509_PURPOSE_SSL_CLIENT)
    try:
        crypto.X509StoreContext(store, leaf, intermediates).verify_certificate()
    except crypto.X509StoreContextError as error:
        return Verdict(False, f"{error.errors[2]} (depth {error.errors[1]})")
    except crypto.Error as error:
        return Verdict(False, f"error: {error}")
    return ACCEPTED


def _load(certificate: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)
