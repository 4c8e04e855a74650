"""The signals that the adapter sends."""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

certificate_denied = _signals.signal("arrcert-certificate-denied")
"""Sent once for each denial, before the 403 response is created. The sender is the app.

Receivers get `reason` (an `arrcert.DenialReason`) and `denied` (an `arrcert.CertificateDenied`).
They should also accept `**_`, because later versions may send more. If a receiver fails, the error
is logged and the request stays denied. The signal is not sent for requests that were never checked.
"""

certificate_accepted = _signals.signal("arrcert-certificate-accepted")
"""Sent once for each request that a policy accepts, before the view runs. The sender is the app.

Receivers get `identity` (an `arrcert.ClientIdentity`). If several policies accept the request, it
is the identity from the first one. If a receiver fails, the error is logged and the request goes
on.
"""

certificate_expiring = _signals.signal("arrcert-certificate-expiring")
"""Sent when arrcert logs the warning that an accepted certificate expires within
`ARRCERT_EXPIRY_WARNING_DAYS`: once a day in each process for each certificate. The sender is the
app.

Receivers get `identity` (an `arrcert.ClientIdentity`) and `days_left` (whole days). If a receiver
fails, the error is logged and the request goes on. It is not sent for CA certificates, revocation
lists and pins, which are only logged.
"""
