"""What the adapter tells the rest of the site."""

from __future__ import annotations

from django.dispatch import Signal

__all__ = ["certificate_denied"]

certificate_denied = Signal()
"""Sent once for each denial, before the 403 is made; the sender is the request's class.

Receivers get `request`, `reason` (the `arrcert.DenialReason`) and `denied` (the
`arrcert.CertificateDenied`). A receiver that fails is logged and changes nothing: the request stays
denied. It is not sent for requests that were never checked.
"""
