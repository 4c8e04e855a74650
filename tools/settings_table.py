"""The tables of settings and policy keys in docs/settings.md, generated from their classes.

python tools/settings_table.py            print the tables
python tools/settings_table.py --write    put them into docs/settings.md
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from arrcert.policy import PARAMETERS
from arrcert.rules import KEYS
from arrcert.settings.names import FILE, POLICIES
from arrcert.settings.options import OPTIONS

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

_POLICIES = (
    'the policies: `{"default": {...}, "partners": [{...}, {...}]}`. The keys of a policy are in'
    " the table below. A list holds alternatives: arrcert tries them in order, and the first one"
    " that accepts decides. In the environment, write the same as JSON."
)


_FILE = (
    "the path of a TOML file that holds the same mapping, in place of `ARRCERT`. A change of the"
    " file takes effect within seconds, in every worker and on every instance"
    " ([partners in a file](partners-file.md))."
)


def settings_table() -> str:
    """Return the table of settings as Markdown."""
    rows = {POLICIES: _POLICIES, FILE: _FILE, **{name: OPTIONS[name].document for name in OPTIONS}}
    lines = [f"| `{name}` | {document} |" for name, document in rows.items()]
    return "\n".join(["| setting | value |", "|---|---|", *lines])


def keys_table() -> str:
    """Return the table of policy keys as Markdown."""
    lines = [f"| `{key}` | {KEYS[key].document} | `ARRCERT_{key.upper()}` |" for key in PARAMETERS]
    return "\n".join(["| key | value | variable for `default` |", "|---|---|---|", *lines])


def with_tables(document: str) -> str:
    """Return a document in which both tables are replaced by the current ones."""
    for table in (settings_table(), keys_table()):
        head = re.escape(table.partition("\n")[0])
        document, count = re.subn(
            rf"^{head}\n(?:\|.*\n)+",
            lambda _, table=table: f"{table}\n",
            document,
            flags=re.MULTILINE,
        )
        if count != 1:
            raise SystemExit(f"expected the table with the head {head} once, found {count}")
    return document


def main() -> int:
    """Print the tables, or write them into docs/settings.md."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--write", action="store_true", help="write the tables into docs/settings.md"
    )
    if parser.parse_args().write:
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(f"{settings_table()}\n\n{keys_table()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
