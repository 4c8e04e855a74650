"""The signals that the adapter sends."""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["certificate_accepted", "certificate_denied", "certificate_expiring"]

certificate_denied = Signal()
"""Sent once for each denial, before the 403 response is created. The sender is the class of the
request.

Receivers get `request`, `reason` (an `arrcert.DenialReason`) and `denied` (an
`arrcert.CertificateDenied`). If a receiver fails, the error is logged and the request stays denied.
The signal is not sent for requests that were never checked.
"""

certificate_accepted = Signal()
"""Sent once for each request that a policy accepts, before the view runs. The sender is the
request's class.

Receivers get `request` and `identity` (an `arrcert.ClientIdentity`). If several policies accept the
request, it is the identity from the first policy that the view requires. If the response does not
come from a view, such as a page from a cache, the signal is sent before the response. If a receiver
fails, the error is logged and the request goes on.
"""

certificate_expiring = Signal()
"""Sent when arrcert logs the warning that an accepted certificate expires within
`ARRCERT_EXPIRY_WARNING_DAYS`: once a day in each process for each certificate. The sender is the
class of the request.

Receivers get `request`, `identity` (an `arrcert.ClientIdentity`) and `days_left` (whole days). If a
receiver fails, the error is logged and the request goes on. It is not sent for CA certificates,
revocation lists and pins, which are only logged.
"""
