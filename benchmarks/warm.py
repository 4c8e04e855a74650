"""Warm decisions: the same client again, compared with the platform's sample and with the floor."""

from __future__ import annotations

import logging
import sys

from app_service import CERTIFICATE, CLIENT, ISSUER, KEY, environ_of, scope_of
from instructions import Calls
from paired import Costs, Row, costs, options_from_command_line, print_table
from sample import documented_sample

from arrcert import Authorizer, Policy
from arrcert.forwarding.gunicorn import gunicorn_hook_ran

STATEMENTS = {
    "floor": "remembered[value.decode('latin-1')]",
    "sample": "sample(value.decode('latin-1'))",
    "sample again": "sample(value.decode('latin-1'))",
    "authorize": "authorize(value.decode('latin-1'))",
    "with an identity": "authorize_named(value.decode('latin-1'))",
    "with a role": "authorize_named(value.decode('latin-1'), role='orders')",
    # A server makes a new request each time: new header texts, and a new mapping.
    "environ": "request = dict(environ); request[key] = value.decode('latin-1')",
    "authorize_wsgi": "request = dict(environ); request[key] = value.decode('latin-1');"
    " authorize_wsgi(request)",
    "with telemetry": "request = dict(environ); request[key] = value.decode('latin-1');"
    " authorize_counted(request)",
    "scope": "request = dict(scope)",
    "authorize_asgi": "request = dict(scope); authorize_asgi(request)",
}


def main() -> int:
    """Measure, and print the table."""
    options = options_from_command_line(__doc__, 301)
    # The log is off, because the sample logs nothing either.
    logging.disable(logging.CRITICAL)
    found = costs(calls, options=options)
    rows = [
        found.ratio("control: sample / sample", "sample again", "sample"),
        found.ratio(
            "warm: documented sample / authorize", "sample", "authorize", 25, at_least=True
        ),
        found.ratio("warm: authorize / floor", "authorize", "floor", 4),
        found.ratio(
            "authorize_wsgi, 15 headers / sample",
            "authorize_wsgi",
            "sample",
            0.04,
            less="environ",
            less_other="",
        ),
        found.ratio(
            "authorize_asgi, 15 headers / sample",
            "authorize_asgi",
            "sample",
            0.1,
            less="scope",
            less_other="",
        ),
        found.ratio("with an identity / without", "with an identity", "authorize", 1.2),
        found.ratio("with an identity and a role / without", "with a role", "authorize", 1.2),
        telemetry(found),
    ]
    print_table("One warm decision", rows)
    return 0


def telemetry(found: Costs) -> Row:
    """Return the row of the metrics."""
    try:
        import opentelemetry.sdk  # noqa: F401 - only to learn whether it is installed.
    except ImportError:
        why = "not measured: opentelemetry-sdk is not installed"
        return Row("with telemetry on / off, warm", None, 1.5, beside=why)
    return found.ratio(
        "with telemetry on / off, warm", "with telemetry", "authorize_wsgi", 1.5, less="environ"
    )


def calls() -> Calls:
    """Return the statements and the names that they use. All of them use the same client."""
    gunicorn_hook_ran()  # This is the setting of a gunicorn.conf.py that uses `arrcert.gunicorn`.
    logging.disable(logging.CRITICAL)
    pinned = Policy(fingerprints=[CERTIFICATE.sha256_fingerprint])
    named = Policy(
        fingerprints=[CERTIFICATE.sha256_fingerprint],
        identity="contoso:{common_name}",
        roles=["orders", "invoices"],
    )
    authorizer = Authorizer({"default": pinned})
    names = {
        "value": CLIENT.header_value.encode(),
        "key": KEY,
        "environ": environ_of("/hellocert"),
        "scope": scope_of("/hellocert"),
        "remembered": {CLIENT.header_value: CERTIFICATE},
        "sample": documented_sample(CERTIFICATE.sha1_fingerprint, "alice", ISSUER),
        "authorize": authorizer.authorize,
        "authorize_named": Authorizer({"default": named}).authorize,
        "authorize_wsgi": authorizer.authorize_wsgi,
        "authorize_asgi": authorizer.authorize_asgi,
    }
    statements = dict(STATEMENTS)
    try:
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    except ImportError:
        del statements["with telemetry"]
    else:
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        counted = Authorizer({"default": pinned}, telemetry=True)
        names["authorize_counted"] = counted.authorize_wsgi
    return Calls(statements, names)


if __name__ == "__main__":
    sys.exit(main())
