"""What the adapter tells the rest of the site."""

from __future__ import annotations

from blinker import Namespace

certificate_denied = Namespace().signal("arrcert-certificate-denied")
"""Sent once for each denial, before the 403 is made; the sender is the app.

Receivers get `reason` (the `arrcert.DenialReason`) and `denied` (the `arrcert.CertificateDenied`),
and take `**_` for what may follow. A receiver that fails is logged and changes nothing: the request
stays denied. It is not sent for requests that were never checked.
"""
