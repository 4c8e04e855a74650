"""The command `arrcert explain`: why a certificate may enter or not, and what to write.

It needs click. Its output for people also needs rich. The extra `dev` installs both.
"""

from __future__ import annotations

import getpass
import io
import json
import os
import re
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from arrcert.cli.apps import Failure
from arrcert.cli.certificates import (
    Given,
    NoCertificateError,
    PasswordNeededError,
    read_given,
)
from arrcert.cli.folders import rows_of
from arrcert.cli.options import read_file
from arrcert.cli.sites import Site, site_of_app, site_of_environment, site_of_file
from arrcert.cli.suggestions import (
    Suggestion,
    merged,
    suggestions,
    why_to_suggest_nothing,
)
from arrcert.exceptions import CertificateDenied, quote
from arrcert.explanation import (
    PolicyResult,
    certificate_as_json,
    explain,
    policy_as_json,
)
from arrcert.moments import timestamp, whole_second
from arrcert.policy import Policy
from arrcert.presented import Presented

if TYPE_CHECKING:
    from arrcert.cli.report import Report

ACCEPTED, DENIED = 0, 1

BY_TODAYS_LISTS = (
    "revocation is judged by today's revocation lists: a list that is current today counts as"
    " current at that time, and a later list may revoke more certificates"
)


def _parse_moment(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            moment = moment.replace(tzinfo=UTC)
        return whole_second(moment)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is neither a day nor a time with a time zone; write 2027-01-31 (its first"
            " second in UTC) or 2027-01-31T12:00:00Z"
        ) from error


@click.command("explain", short_help="Say why a certificate may enter or not, and what to write.")
@click.argument("certificate", metavar="[CERT]", required=False)
@click.option(
    "--policy",
    metavar="NAME",
    help="Judge only by this policy: the one in the log line of a denial. By default all policies"
    " are shown, and one that accepts the certificate is enough.",
)
@click.option(
    "--at",
    metavar="MOMENT",
    callback=_parse_moment,
    help="Judge for another time: 2027-01-31 (the first second of the day in UTC), or"
    " 2027-01-31T12:00:00Z. For a later time, the revocation lists of today count as current.",
)
@click.option(
    "--all",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Judge every certificate in a folder, and print a table. Those that expire first are at"
    " the top.",
)
@click.option(
    "--within",
    metavar="DAYS",
    type=click.IntRange(0, 100_000),
    help="With --all: show only certificates that expire within this number of days, or that have"
    " expired. The exit code is 1 if there are any.",
)
@click.option(
    "--file",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take the policies from a TOML file, such as the file that ARRCERT_FILE names.",
)
@click.option(
    "--app",
    metavar="MODULE:APP",
    help="Take the settings of a site in the current directory: 'shop:app' for Flask or FastAPI,"
    " 'mysite.wsgi:application' for Django, or the settings module of a Django site,"
    " 'mysite.settings'.",
)
@click.option(
    "--password-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file that holds the password of a .p12. By default the command asks for it.",
)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def explain_command(
    certificate: str | None,
    policy: str | None,
    at: datetime | None,
    folder: Path | None,
    within: int | None,
    file: Path | None,
    app: str | None,
    password_file: Path | None,
    is_json: bool,
) -> None:
    """Say why a certificate may enter or not, rule by rule, and what to write.

    CERT is a file: PEM, DER, a .p12, or the value of a certificate header (base64,
    percent-encoded PEM, RFC 9440 or XFCC). It may also be the header value itself, or - for
    standard input. A private key in the same file is not used.

    The settings are those of the environment, unless --file or --app says otherwise. The rules are
    those of the site. Only the certificate is judged. The command does not check the request, the
    front end, or whether the client has the private key.

    The exit code is 0 if a policy accepts the certificate, 1 if none does, and 2 if there is no
    certificate, the settings have mistakes, or the options are wrong. With --all it is 0 only if
    each certificate is accepted. With --policy only that policy counts.
    """
    if (certificate is None) == (folder is None):
        raise click.UsageError("write one of CERT and --all DIR.")
    if within is not None and folder is None:
        raise click.UsageError("--within needs --all DIR.")
    if file is not None and app is not None:
        raise click.UsageError("write one of --file and --app.")
    report = None if is_json else _report()
    site = _site(file, app)
    others: dict[str, Sequence[Policy]] = {}
    if policy is not None:
        _require(policy, site)
        others = {name: held for name, held in site.policies.items() if name != policy}
        site = site._replace(policies={policy: site.policies[policy]})
    password = None
    if password_file is not None:
        password = read_file("--password-file", password_file).rstrip(b"\r\n")
    if folder is not None:
        _explain_all(folder, site, at, within, password, report)
    else:
        _explain_one(str(certificate), site, others, at, password, report)


def _report() -> Report:
    try:
        from arrcert.cli import report
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != "rich":
            raise
        raise Failure(
            "arrcert explain needs rich; run: pip install 'arrcert[dev]', or write --json"
        ) from None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Some terminals cannot show all characters of a name.
        sys.stdout.reconfigure(errors="backslashreplace")
    return report.Report(sys.stdout)


def _site(file: Path | None, app: str | None) -> Site:
    if file is not None:
        return site_of_file(file)
    if app is None:
        return site_of_environment()
    try:
        return site_of_app(app)
    except CertificateDenied as error:  # The callable that a middleware has returns no authorizer.
        raise Failure(f"{app!r} has no settings: {error.detail}") from error


def _require(policy: str, site: Site) -> None:
    if policy not in site.policies:
        names = ", ".join(map(quote, site.policies))
        raise Failure(f"no policy is called {quote(policy)}; write one of {names} after --policy")


# ---------------------------------------------------------------------------------- one certificate


def _explain_one(
    argument: str,
    site: Site,
    others: Mapping[str, Sequence[Policy]],
    at: datetime | None,
    password: bytes | None,
    report: Report | None,
) -> NoReturn:
    given = _given(argument, site, password)
    now = whole_second()
    moment = at or now
    lists_at = now if moment > now else None
    presented = Presented(given.certificate, given.forwarded)
    results = explain(
        given.certificate,
        site.policies,
        moment,
        forwarded=given.forwarded,
        others=given.others,
        lists_at=lists_at,
    )
    accepted_by = [name for name in results if results[name].accepted]
    reasons: list[str] = []
    found: list[Suggestion] = []
    if not accepted_by:
        reasons = why_to_suggest_nothing(presented, results, moment, now)
        if not reasons and len(results) == 1:
            [result] = results.values()
            found = suggestions(presented, result, moment, lists_at)
            elsewhere = explain(
                given.certificate, others, moment, forwarded=given.forwarded, lists_at=lists_at
            )
            found = [_warned(suggestion, result.name, elsewhere) for suggestion in found]
        if site.folder is not None:
            found = [_relative(suggestion, site.folder) for suggestion in found]
    # The operator says under which policy a client may enter: a client of one policy must never be
    # suggested for another one, such as that of the admin.
    asked = ""
    if not accepted_by and not reasons and len(results) > 1:
        asked = _which_policy(results)
    notes = list(_notes(given, site, moment, now))
    if report is None:
        paste = None
        if found:
            [name] = results
            paste = merged(site.written, name, found[0].policy)
        _print_json(
            {
                "at": timestamp(moment),
                "accepted_by": accepted_by,
                "certificate": certificate_as_json(given.certificate, moment),
                "policies": {name: policy_as_json(results[name]) for name in results},
                "notes": notes,
                "warnings": list(found[0].warnings)
                if found
                else [*reasons, *filter(None, [asked])],
                "paste": None if paste is None else {"ARRCERT": paste},
            }
        )
    else:
        report.certificate(given, moment, notes)
        for policy_result in results.values():
            report.policy(policy_result)
        if asked:
            report.say(asked)
        elif not accepted_by:
            report.suggestions(given.certificate, list(results), found, reasons, site)
        elif len(results) > 1:
            report.say(_nothing_to_write(accepted_by, results))
    raise SystemExit(ACCEPTED if accepted_by else DENIED)


def _warned(suggestion: Suggestion, name: str, elsewhere: Mapping[str, PolicyResult]) -> Suggestion:
    """Return a suggestion for a policy, with a warning if other policies accept the certificate."""
    accepted_by = [other for other, result in elsewhere.items() if result.accepted]
    if not accepted_by:
        return suggestion
    warning = (
        f"the certificate enters under the policy {', '.join(map(quote, accepted_by))} already; do"
        f" this only if its owner may also enter everywhere where {quote(name)} is required"
    )
    return suggestion._replace(warnings=(warning, *suggestion.warnings))


def _which_policy(results: Mapping[str, PolicyResult]) -> str:
    names = list(results)
    return (
        f"None of the {len(names)} policies accepts it: {', '.join(map(quote, names))}. To see what"
        " to write, name the policy of the log line of the denial, for example: --policy"
        f" {shlex.quote(names[-1])}"
    )


def _nothing_to_write(accepted_by: Sequence[str], results: Mapping[str, PolicyResult]) -> str:
    word = "policy" if len(accepted_by) == 1 else "policies"
    sentence = (
        f"This certificate enters under the {word} {', '.join(map(quote, accepted_by))}; there is"
        " nothing to write."
    )
    others = [name for name in results if name not in accepted_by]
    if others:
        sentence += (
            " If the log line of a denial names another policy, first find out whether this client"
            " may enter there; --policy NAME shows what to write for it."
        )
    return sentence


def _given(argument: str, site: Site, password: bytes | None) -> Given:
    try:
        try:
            return read_given(argument, site.front_end, password)
        except PasswordNeededError:
            asked = _ask_for_password(argument)
            return read_given(argument, site.front_end, asked)
    except NoCertificateError as error:
        raise Failure(str(error)) from error


def _ask_for_password(argument: str) -> bytes:
    if argument != "-":
        try:
            with warnings.catch_warnings():
                # Without a terminal, Python warns that it cannot hide the password.
                warnings.simplefilter("ignore", getpass.GetPassWarning)
                asked: str = click.prompt(
                    f"Password of {quote(argument)}", hide_input=True, err=True
                )
            return asked.encode("utf-8", "surrogateescape")
        except click.Abort:
            pass
    raise Failure(f"{quote(argument)} has a password; write --password-file FILE") from None


def _notes(given: Given, site: Site, moment: datetime, now: datetime) -> Iterator[str]:
    """Yield what the operator should know in addition to the verdict."""
    encodings = ("base64-der", "percent-encoded-pem", "rfc9440", "xfcc")
    if given.form in encodings and given.form != site.front_end.encoding:
        yield (
            f"the value is {given.form}, but the site reads {site.front_end}: as a header it would"
            " be denied; check ARRCERT_FRONT_END"
        )
    if given.others:
        yield (
            f"other certificates in the file: {len(given.others)}; the site does not get them, as"
            " most front ends forward only the client's certificate"
        )
    if moment > now:
        yield "files are judged as they are today; at that time there may be newer ones"
        if _checks_revocation(site):
            yield BY_TODAYS_LISTS


def _relative(suggestion: Suggestion, folder: Path) -> Suggestion:
    """Return a suggestion with paths that are relative to a file's folder."""
    sources = {"trust_anchors", "intermediates", "crls"}
    policy = {
        key: [
            source if "-----BEGIN" in source else os.path.relpath(source, folder)
            for source in entries
        ]
        if key in sources
        else entries
        for key, entries in suggestion.policy.items()
    }
    return suggestion._replace(policy=policy)


def _print_json(value: Mapping[str, Any]) -> None:
    # The output is ASCII, so all text of a certificate is escaped.
    click.echo(json.dumps(value, indent=2))


# -------------------------------------------------------------------------------------- a folder


def _explain_all(
    folder: Path,
    site: Site,
    at: datetime | None,
    within: int | None,
    password: bytes | None,
    report: Report | None,
) -> NoReturn:
    now = whole_second()
    moment = at or now
    rows = rows_of(folder, site, moment, now if moment > now else None, password)
    total = len(rows)
    if within is not None:
        # A file that cannot be read stays: it may hold a certificate that expires.
        longest = timedelta(days=within)
        rows = [
            row
            for row in rows
            if row.certificate is None or row.certificate.not_valid_after_utc - moment <= longest
        ]
    notes = [BY_TODAYS_LISTS] if moment > now and _checks_revocation(site) else []
    names = list(site.policies)
    if report is None:
        _print_json(
            {
                "at": timestamp(moment),
                "policy": names[0] if len(names) == 1 else None,
                "certificates": [
                    {
                        "file": row.file,
                        "accepted": bool(row.accepted_by),
                        "accepted_by": row.accepted_by,
                        "problem": row.problem or None,
                        "certificate": row.certificate
                        and certificate_as_json(row.certificate, moment),
                        "policies": {
                            name: policy_as_json(result) for name, result in row.results.items()
                        },
                    }
                    for row in rows
                ],
                "notes": notes,
            }
        )
    else:
        report.folder(folder, names, moment, rows, total, within, notes)
    is_good = not rows if within is not None else all(row.accepted_by for row in rows)
    raise SystemExit(ACCEPTED if is_good else DENIED)


def _checks_revocation(site: Site) -> bool:
    """Return whether a policy has revocation lists."""
    trust_stores = (policy.trust_store() for held in site.policies.values() for policy in held)
    return any(store is not None and store.checks_revocation for store in trust_stores)
