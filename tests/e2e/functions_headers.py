"""Headers for the functions of the sample, each with the answer that it must get.

`{alice}` is the allowed certificate, and `{impostor}` one of another CA. `{look_alike}` is
self-signed, with alice's names.
"""

from __future__ import annotations

HEADER = "X-ARR-ClientCert"

ENTERS = {
    "by its name": [(HEADER, "{alice}")],
    "in lower case": [(HEADER.lower(), "{alice}")],
    "in upper case": [(HEADER.upper(), "{alice}")],
    "over https": [(HEADER, "{alice}"), ("X-Forwarded-Proto", "https")],
    "beside others": [("Accept", "*/*"), (HEADER, "{alice}"), ("X_Other", "1")],
}

DENIED = {
    "none": ([], "missing"),
    "empty": ([(HEADER, "")], "missing"),
    "another CA": ([(HEADER, "{impostor}")], "fingerprint_not_allowed"),
    "self-signed": ([(HEADER, "{look_alike}")], "fingerprint_not_allowed"),
    "malformed": ([(HEADER, "MIIB")], "malformed"),
    "not ASCII": ([(HEADER, "é\u2028{alice}")], "malformed"),
    "too large": ([(HEADER, "A" * 70_000)], "too_large"),
    "over http": ([(HEADER, "{alice}"), ("X-Forwarded-Proto", "http")], "insecure_transport"),
    "look-alike": ([("X_ARR_ClientCert", "{alice}")], "ambiguous"),
    "look-alike, one underscore": ([("X-ARR_ClientCert", "{alice}")], "ambiguous"),
    "look-alike in upper case": ([("X_ARR_CLIENTCERT", "{alice}")], "ambiguous"),
    "look-alike with dots": ([("X.ARR.ClientCert", "{alice}")], "ambiguous"),
    "look-alike behind a stranger's": (
        [(HEADER, "{impostor}"), ("X_ARR_ClientCert", "{alice}")],
        "ambiguous",
    ),
    "look-alike before a stranger's": (
        [("X_ARR_ClientCert", "{alice}"), (HEADER, "{impostor}")],
        "ambiguous",
    ),
    "look-alike behind the allowed": (
        [(HEADER, "{alice}"), ("X_ARR_ClientCert", "{alice}")],
        "ambiguous",
    ),
    "look-alike behind an empty one": (
        [(HEADER, ""), ("X_ARR_ClientCert", "{alice}")],
        "ambiguous",
    ),
    "look-alike before an empty one": (
        [("X_ARR_ClientCert", "{alice}"), (HEADER, "")],
        "ambiguous",
    ),
    "twice": ([(HEADER, "{impostor}"), (HEADER, "{alice}")], "ambiguous"),
    "twice, in two cases": ([(HEADER, "{impostor}"), (HEADER.lower(), "{alice}")], "ambiguous"),
    "joined by a comma": ([(HEADER, "{impostor},{alice}")], "ambiguous"),
    "the allowed, joined to itself": ([(HEADER, "{alice}, {alice}")], "ambiguous"),
    "a comma at the end": ([(HEADER, "{alice},")], "ambiguous"),
}
