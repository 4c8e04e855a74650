"""The signal that the adapter sends."""

from __future__ import annotations

from blinker import Namespace

certificate_denied = Namespace().signal("arrcert-certificate-denied")
"""Sent once for each denial, before the 403 is made. The sender is the app.

Receivers get `reason` (an `arrcert.DenialReason`) and `denied` (an `arrcert.CertificateDenied`).
They should also accept `**_`, because later versions may send more. If a receiver fails, the error
is logged and the request stays denied. The signal is not sent for requests that were never checked.
"""
