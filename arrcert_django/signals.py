"""The signals that the adapter sends."""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["certificate_accepted", "certificate_denied", "certificate_expiring"]

certificate_denied = Signal()
"""Sent once for each denial, before the 403 is made. The sender is the request's class.

Receivers get `request`, `reason` (an `arrcert.DenialReason`) and `denied` (an
`arrcert.CertificateDenied`). If a receiver fails, the error is logged and the request stays denied.
The signal is not sent for requests that were never checked.
"""

certificate_accepted = Signal()
"""Sent once for each request that a policy accepts, before the view runs. The sender is the
request's class.

Receivers get `request` and `identity` (an `arrcert.ClientIdentity`). If several policies accept the
request, it is the identity of the first that the view requires. A response that comes from no view,
such as a page from a cache, is told before it is sent. If a receiver fails, the error is logged and
the request goes on.
"""

certificate_expiring = Signal()
"""Sent with the warning that an accepted certificate ends within `ARRCERT_EXPIRY_WARNING_DAYS`:
once a day and process for each certificate. The sender is the request's class.

Receivers get `request`, `identity` (an `arrcert.ClientIdentity`) and `days_left` (whole days). If a
receiver fails, the error is logged and the request goes on. It is not sent for CA certificates,
revocation lists and pins, which are only logged.
"""
