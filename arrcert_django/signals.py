"""The signal that the adapter sends."""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["certificate_denied"]

certificate_denied = Signal()
"""Sent once for each denial, before the 403 is made. The sender is the request's class.

Receivers get `request`, `reason` (an `arrcert.DenialReason`) and `denied` (an
`arrcert.CertificateDenied`). If a receiver fails, the error is logged and the request stays denied.
The signal is not sent for requests that were never checked.
"""
