"""GnuTLS: the function that `certtool --verify` calls, gnutls_x509_trust_list_verify_crt2.

certtool of Debian 12 has no option for the time of the check, so the library is called directly.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from tools.differential.certificates import AT, CLIENT_AUTH
from tools.differential.chains import Chain
from tools.differential.verdicts import ACCEPTED, Verdict

_LIBRARY = "libgnutls.so.30"
_DER = 0  # GNUTLS_X509_FMT_DER
_X509 = 1  # GNUTLS_CRT_X509
_KEY_PURPOSE = 2  # GNUTLS_DT_KEY_PURPOSE_OID
# gnutls_certificate_status_t
_STATUS = {
    6: "signer not found",
    7: "signer not CA",
    8: "insecure algorithm",
    9: "not activated",
    10: "expired",
    11: "signature failure",
    16: "signer constraints failure",
    18: "purpose mismatch",
    21: "unknown critical extensions",
}


class _Datum(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_uint))


class _TypedData(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("data", ctypes.c_char_p), ("size", ctypes.c_uint))


_Clock = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)


@_Clock
def _clock(_pointer: Any) -> int:
    return int(AT.timestamp())


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    library.gnutls_check_version.restype = ctypes.c_char_p
    library.gnutls_strerror.restype = ctypes.c_char_p
    library.gnutls_global_set_time_function(_clock)
    return library


def version() -> str | None:
    """Return the version, None if the library is missing."""
    try:
        return str(_library().gnutls_check_version(None).decode())
    except OSError:
        return None


def verdict(chain: Chain) -> Verdict:
    """Ask GnuTLS."""
    library = _library()
    trusted = ctypes.c_void_p()
    presented: list[ctypes.c_void_p] = []
    library.gnutls_x509_trust_list_init(ctypes.byref(trusted), 0)
    try:
        # From here on the list owns the anchors, and releases them.
        anchors = [_load(library, anchor) for anchor in chain.anchors]
        library.gnutls_x509_trust_list_add_cas(trusted, _array(anchors), len(anchors), 0)
        for each in (chain.leaf, *chain.intermediates):
            presented.append(_load(library, each))  # noqa: PERF401 - If a later one fails, these are released.
        purpose = _TypedData(_KEY_PURPOSE, CLIENT_AUTH.encode(), len(CLIENT_AUTH))
        status = ctypes.c_uint()
        code = library.gnutls_x509_trust_list_verify_crt2(
            *(trusted, _array(presented), len(presented), ctypes.byref(purpose), 1, 0),
            *(ctypes.byref(status), None),
        )
        if code < 0:
            return Verdict(False, f"error: {library.gnutls_strerror(code).decode()}")
        return Verdict(False, _text(status.value)) if status.value else ACCEPTED
    except ValueError as error:
        return Verdict(False, f"parse: {error}")
    finally:
        library.gnutls_x509_trust_list_deinit(trusted, 1)
        for loaded in presented:
            library.gnutls_x509_crt_deinit(loaded)


def _load(library: ctypes.CDLL, certificate: bytes) -> ctypes.c_void_p:
    loaded = ctypes.c_void_p()
    library.gnutls_x509_crt_init(ctypes.byref(loaded))
    datum = _Datum(certificate, len(certificate))
    code = library.gnutls_x509_crt_import(loaded, ctypes.byref(datum), _DER)
    if code < 0:
        library.gnutls_x509_crt_deinit(loaded)
        raise ValueError(library.gnutls_strerror(code).decode())
    return loaded


def _array(pointers: list[ctypes.c_void_p]) -> Any:
    return (ctypes.c_void_p * len(pointers))(*pointers)


def _text(status: int) -> str:
    """Return the names of the status bits. Bit 1 only says that another bit is set."""
    numbers = [number for number in range(2, 32) if status >> number & 1]
    return ", ".join(_STATUS.get(number, f"status {number}") for number in numbers) or "invalid"
