"""arrcert: `Policy(trust_anchors=..., intermediates=...).check`."""

from __future__ import annotations

import base64
import functools
import warnings

from arrcert import CertificateDenied, ClientCertificate, ConfigurationError, Policy
from tools.differential.certificates import AT
from tools.differential.chains import Chain
from tools.differential.verdicts import ACCEPTED, Verdict

RAISED = "raised: "
"""How the text begins if arrcert raised an exception that is not its own."""


def verdict(chain: Chain) -> Verdict:
    """Ask a policy as a site does. A policy that cannot be made accepts no certificate."""
    try:
        with warnings.catch_warnings():
            # cryptography warns of serial numbers that are not positive, and of long names.
            warnings.simplefilter("ignore", UserWarning)
            policy = Policy(
                trust_anchors=[_pem(anchor) for anchor in chain.anchors],
                intermediates=[_pem(each) for each in chain.intermediates] or None,
            )
            policy.check(ClientCertificate.from_der(chain.leaf), AT)
    except CertificateDenied as denied:
        return Verdict(False, f"{denied.reason}: {denied.detail}")
    except ConfigurationError as error:
        return Verdict(False, f"configuration: {error.problems[0]}")
    # arrcert must raise no other exception. `checking` reports it.
    except Exception as error:
        return Verdict(False, f"{RAISED}{error!r}")
    return ACCEPTED


@functools.lru_cache(256)
def _pem(certificate: bytes) -> str:
    text = base64.encodebytes(certificate).decode()
    return f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n"
