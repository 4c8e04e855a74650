"""Mint chains, and compare arrcert's verdict with that of other implementations.

The program exits with 1 if a verdict has no explanation. `docs/differential.md` describes the
method, and explains every class of differences.
"""

from __future__ import annotations

import argparse
import base64
import multiprocessing
import os
import sys
import time
from pathlib import Path

from tools.differential import workers
from tools.differential.checking import check
from tools.differential.classes import GNUTLS, GO, OPENSSL, PYHANKO
from tools.differential.comparators import gnutls, golang, openssl, pyhanko
from tools.differential.minting import mint
from tools.differential.progress import Progress
from tools.differential.reporting import failure_lines, figures, written_into
from tools.differential.state import State

BLOCK = 500
"""The number of chains that a worker checks before the state is written."""


def main(arguments: list[str] | None = None) -> int:
    """Compare chains, or show one chain, or show the result of a run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chains", type=int, default=10_000, help="number of chains")
    parser.add_argument("--seed", type=int, default=1, help="each seed gives other chains")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(".differential"),
        help="state, Go program",
    )
    parser.add_argument("--gnutls-every", type=int, default=10, help="one chain in N is for GnuTLS")
    parser.add_argument(
        "--pyhanko-every", type=int, default=50, help="one chain in N is for pyhanko"
    )
    parser.add_argument("--show", type=int, metavar="NUMBER", help="print a chain and its verdicts")
    parser.add_argument("--result", action="store_true", help="print the result so far")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the result into a page")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    path = given.folder / f"state-{given.seed}.json"
    if given.result or given.write:
        state = State.load(path)
        if given.write:
            document = given.write.read_text(encoding="utf-8")
            given.write.write_text(written_into(document, state), encoding="utf-8")
        return report(state)
    versions, plan = prepare(given)
    for name in (OPENSSL, GO, GNUTLS, PYHANKO):
        print(f"{name}: {versions.get(name, 'missing, not compared')}", flush=True)
    if given.show is not None:
        return show(plan, given.show)
    state = State.load(path) if path.exists() else State(given.seed, BLOCK)
    state.versions = versions
    if state.failures:
        look_again(plan, state)
        state.save(path)
    total = -(-given.chains // BLOCK)
    blocks = [block for block in range(total) if block not in state.done]
    if len(blocks) < total:
        print(f"continuing {path}: {total - len(blocks)} of {total} blocks are done", flush=True)
    compare(plan, blocks, state, path, given.jobs)
    return report(state)


def prepare(given: argparse.Namespace) -> tuple[dict[str, str], workers.Plan]:
    """Return the versions of the installed implementations, and the plan for the workers."""
    program = golang.build(given.folder) if golang.compiler() else None
    found = {
        OPENSSL: openssl.version(),
        GO: golang.version(program) if program else None,
        GNUTLS: gnutls.version(),
        PYHANKO: pyhanko.version(),
    }
    versions = {name: version for name, version in found.items() if version}
    rates = {OPENSSL: 1, GO: 1, GNUTLS: given.gnutls_every, PYHANKO: given.pyhanko_every}
    every = {name: rates[name] for name in versions}
    return versions, workers.Plan(given.seed, BLOCK, every, program)


def compare(plan: workers.Plan, blocks: list[int], state: State, path: Path, jobs: int) -> None:
    """Run the blocks, and write the state after each one."""
    context = multiprocessing.get_context("spawn")
    last = time.monotonic()
    with (
        context.Pool(jobs, workers.start, (plan,)) as pool,
        Progress(len(blocks) * plan.size) as progress,
    ):
        for result in pool.imap_unordered(workers.run, blocks):
            state.add(*result)
            now = time.monotonic()
            state.seconds += now - last
            last = now
            state.save(path)
            failures = sum(state.counts[key] for key in state.counts if key[0] == "failure")
            progress.advance(plan.size, failures)


def look_again(plan: workers.Plan, state: State) -> None:
    """Compare the unexplained chains of an earlier run again.

    After a fix in arrcert or a new class, the run can therefore continue, and need not start again.
    """
    worker = workers.Worker(plan)
    for failure in list(state.failures):
        for chain, ours, others in worker.ask([mint(plan.seed, failure.number)]):
            result = check(chain, ours, others)
            if any(
                (left.kind, left.other) == (failure.kind, failure.other) for left in result.failures
            ):
                continue
            state.remove(failure)
            for name, other in result.differences:
                state.counts["difference", name, other] += other == failure.other


def report(state: State) -> int:
    """Print the result; return 1 if something is not explained."""
    failures = list(failure_lines(state))
    print(f"\n{figures(state)}\n\n{state.seconds:,.0f} seconds")
    print("\n".join(failures or ["Every verdict is explained."]))
    return 1 if failures else 0


def show(plan: workers.Plan, number: int) -> int:
    """Print the certificates of one chain and every verdict."""
    from tools.differential.comparators import arrcert

    chain = mint(plan.seed, number)
    for title, certificates in (
        ("trust anchor", chain.anchors),
        ("intermediate", chain.intermediates),
        ("leaf", [chain.leaf]),
    ):
        for each in certificates:
            text = base64.encodebytes(each).decode()
            print(f"{title}\n-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----")
    print("variations:", ", ".join(chain.variations) or "none")
    print("arrcert:", arrcert.verdict(chain).text or "accepted")
    for name, ask in workers.IN_PROCESS.items():
        if name in plan.every:
            print(f"{name}:", ask(chain).text or "accepted")
    if plan.go_program:
        with golang.Go(plan.go_program) as go:
            go.send([chain])
            print(f"{GO}:", go.receive(1)[0].text or "accepted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
