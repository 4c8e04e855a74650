"""The figures of a run, as text and as the table of docs/differential.md."""

from __future__ import annotations

from collections.abc import Iterator

from tools.differential.classes import (
    CLASSES,
    DECIDED,
    GNUTLS,
    GO,
    OPENSSL,
    PYHANKO,
    STRICTER,
    THEIRS,
)
from tools.differential.state import State

OTHERS = (OPENSSL, GO, GNUTLS, PYHANKO)

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
"""The lines before and after the figures in a document."""


def compared_table(state: State) -> Iterator[str]:
    """Yield the rows of the Markdown table that counts equal and different verdicts."""
    yield (
        "| implementation | chains | both accept | both deny | arrcert alone denies"
        " | arrcert alone accepts |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    for other in OTHERS:
        numbers = [
            state.counts["compared", other, theirs, ours]
            for theirs, ours in (
                ("accepts", "accepts"),
                ("denies", "denies"),
                ("accepts", "denies"),
                ("denies", "accepts"),
            )
        ]
        if sum(numbers):
            cells = " | ".join(f"{number:,}" for number in (sum(numbers), *numbers))
            version = state.versions.get(other, "")
            yield f"| {f'{other} {version}'.strip()} | {cells} |"


def class_table(state: State, kind: str) -> Iterator[str]:
    """Yield the rows of the Markdown table of the classes of one kind.

    Args:
        state: the state of a run.
        kind: the kind, as in `classes`.
    """
    yield "| class | " + " | ".join(OTHERS) + " | why |"
    yield "|---|" + "---:|" * len(OTHERS) + "---|"
    for each in CLASSES:
        if each.kind == kind:
            counted = [
                f"{state.counts['difference', each.name, other]:,}" if other in each.others else ""
                for other in OTHERS
            ]
            yield f"| {each.name} | " + " | ".join(counted) + f" | {each.why} |"


def figures(state: State) -> str:
    """Return all figures as Markdown."""
    accepted, denied = state.counts["chains", "accepted"], state.counts["chains", "denied"]
    lines = [
        f"{accepted + denied:,} chains of seed {state.seed}: arrcert accepts {accepted:,}"
        f" and denies {denied:,}.",
        "",
        *compared_table(state),
    ]
    for kind in (STRICTER, DECIDED, THEIRS):
        lines += ["", f"### {kind}", "", *class_table(state, kind)]
    return "\n".join(lines)


def written_into(document: str, state: State) -> str:
    """Return a document with the figures between its two markers.

    Args:
        document: the text, which holds `BEGIN` and `END`.
        state: the state of a run.

    Raises:
        ValueError: a marker is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document has no {BEGIN} or no {END}")
    return f"{before}{begin}\n\n{figures(state)}\n\n{end}{after}"


def failure_lines(state: State) -> Iterator[str]:
    """Yield one line for each kind of failure, and for each failure that was kept."""
    for key, number in sorted(state.counts.items()):
        if key[0] == "failure":
            yield f"{number:,} x {key[1]}"
    for failure in state.failures:
        yield f"{failure.kind}, chain {failure.number}: {failure.text}"
