"""Fuzz arrcert with coverage-guided inputs (atheris, libFuzzer) and print one table.

Each target runs in its own process, in an empty folder, with five seconds and 1 GB of memory for
each input. `docs/fuzzing.md` says what each target checks.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FINDINGS = HERE / "findings"

LONGEST_INPUT = 20_000
"""The longest input in bytes. It is longer than the longest header that arrcert decodes."""

SEPARATORS = re.compile(rb"([^A-Za-z0-9])")
LETTERS = [bytes([number]) for number in b"ABCDQRgwxyz0189+/="]
WORDS = (b"", b"*", b"x", b"0", b"-1", b"%00", b"%2F", b"..", b"null", b"\xff", b"MIIB", b",", b'"')


class Outcome(NamedTuple):
    """The result of one target."""

    target: str
    executions: int
    seconds: float
    findings: tuple[Path, ...]
    why: str


def main() -> int:
    """Run the targets. Return 1 if one of them found an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--runs", type=int, default=0, help="inputs in all, instead of seconds")
    parser.add_argument("--only", nargs="+", default=[], help="targets, or `decoders`")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one finding")
    parser.add_argument("--child", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        fuzz(*arguments.child)
    try:
        import atheris  # noqa: F401 - Only to learn whether it is installed.
    except ImportError:
        print("atheris is missing; it comes for Python 3.11 to 3.13 on Linux: make fuzz does it")
        return 2
    if arguments.replay:
        target, file = arguments.replay
        return subprocess.run([*child(target), str(Path(file).absolute())], check=False).returncode
    from targets import DECODERS, TARGETS

    if arguments.list:
        print("\n".join(TARGETS))
        return 0
    wanted = [
        name
        for given in arguments.only or TARGETS
        for name in (DECODERS if given == "decoders" else [given])
    ]
    unknown = sorted(set(wanted) - set(TARGETS))
    if unknown:
        parser.error(f"no such target: {', '.join(unknown)}")
    share = (
        f"-runs={-(-arguments.runs // len(wanted))}"
        if arguments.runs
        else f"-max_total_time={max(1, arguments.seconds * arguments.jobs // len(wanted))}"
    )
    with ThreadPoolExecutor(arguments.jobs) as pool:
        outcomes = list(pool.map(lambda name: observe(name, share), wanted))
    return report(outcomes)


def child(target: str) -> list[str]:
    """Return the command that fuzzes one target."""
    return [sys.executable, str(HERE / "run.py"), "--child", target]


def observe(target: str, share: str) -> Outcome:
    """Fuzz one target in its own process, and save the inputs that fail."""
    FINDINGS.mkdir(exist_ok=True)
    before = set(FINDINGS.iterdir())
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *child(target),
                share,
                f"-artifact_prefix={FINDINGS}/{target}-",
                "-print_final_stats=1",
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    seconds = time.monotonic() - started
    output = done.stdout + done.stderr
    executed = re.search(r"number_of_executed_units: (\d+)", output)
    found = sorted(
        path for path in set(FINDINGS.iterdir()) - before if path.name.startswith(f"{target}-")
    )
    progress = f"{target}: {'FOUND SOMETHING' if done.returncode else 'done'}"
    print(f"{progress} after {seconds:.0f} s", file=sys.stderr, flush=True)
    return Outcome(
        target,
        int(executed[1]) if executed else 0,
        seconds,
        tuple(found),
        "" if done.returncode == 0 else why(output),
    )


def why(output: str) -> str:
    """Return the traceback from the output of a process, or the last lines if there is none."""
    _, _, traceback = output.partition("=== Uncaught Python exception: ===")
    traceback = traceback.partition("INFO: ")[0] or "\n".join(output.splitlines()[-25:])
    return traceback.strip()


def report(outcomes: list[Outcome]) -> int:
    """Print what was found, then the table; return 1 where there is a finding."""
    for outcome in outcomes:
        if outcome.why:
            print(f"\n=== {outcome.target}\n{outcome.why}")
            for path in outcome.findings:
                again = f"tools/fuzz/run.py --replay {outcome.target} {path}"
                print(f"    again: {sys.executable} {again}")
    print(f"\n{'target':22}{'executions':>12}{'seconds':>9}{'findings':>10}")
    for target, executions, seconds, _, why in outcomes:
        print(f"{target:22}{executions:12,}{seconds:9.1f}{int(bool(why)):10}")
    executions = sum(outcome.executions for outcome in outcomes)
    seconds = sum(outcome.seconds for outcome in outcomes)
    failed = sum(bool(outcome.why) for outcome in outcomes)
    print(f"{'in all':22}{executions:12,}{seconds:9.1f}{failed:10}")
    return 1 if failed else 0


def mutator(seeds: Sequence[bytes]) -> Callable[[bytes, int, int], bytes]:
    """Return a function that makes a new input from an input or a seed.

    One third of the changes are libFuzzer's own changes of single bytes. The others move whole
    words between separators, or start at a seed and write a character in another way. Seeds hold
    the values that decisions compare, and coverage cannot find these values if an extension module
    compares them.
    """
    import atheris

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)  # noqa: S311 - Nothing here is secret.
        match draw.randrange(3):
            case 0:
                mutated: bytes = atheris.Mutate(data, longest)
            case 1:
                mutated = _rearranged(data, draw)
            case _:
                mutated = _written_otherwise(draw.choice(seeds), draw)
        return mutated[:longest]

    return mutate


def _rearranged(data: bytes, draw: random.Random) -> bytes:
    """Delete, repeat, swap or replace words."""
    words = SEPARATORS.split(data)
    for _ in range(draw.randint(1, 3)):
        at, other = draw.randrange(len(words)), draw.randrange(len(words))
        match draw.randrange(6):
            case 0:
                words[at] = b""
            case 1:
                words.insert(at, words[other])
            case 2:
                words[at], words[other] = words[other], words[at]
            case 3:
                words[at] = words[at].swapcase()
            case 4:
                words[at] = draw.choice(WORDS)
            case 5:
                words[at] = words[at][: draw.randint(0, len(words[at]))]
    return b"".join(words)


def _written_otherwise(data: bytes, draw: random.Random) -> bytes:
    """Write a few characters in another form, which may have the same meaning or another one."""
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        at = draw.randint(0, len(data))
        before, one, after = data[:at], data[at : at + 1], data[at + 1 :]
        match draw.randrange(6):
            case 0:
                one = b"".join(b"%%%02X" % number for number in one)
            case 1:
                one = b"\\" + one
            case 2:
                one = one.swapcase()
            case 3:
                one = draw.choice(LETTERS)
            case 4:
                one += draw.choice((b" ", b"\n", b"\r\n", b"=", b",", b";", b":", b"%0A"))
            case 5:
                one = b""
        data = before + one + after
    return data


def fuzz(name: str, *options: str) -> None:
    """Fuzz one target in this process.

    libFuzzer ends the process, so this function does not return.
    """
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["arrcert"]):
        from targets import TARGETS
    target = TARGETS[name]()
    corpus = []
    if not any(Path(option).is_file() for option in options):
        corpus = [tempfile.mkdtemp(dir=".")]
        for number, seed in enumerate(target.seeds):
            # Run each seed without libFuzzer first: if it fails, the traceback is easier to read.
            target.run(seed)
            Path(corpus[0], str(number)).write_bytes(seed)
    limits = [
        f"-max_len={LONGEST_INPUT}",
        "-timeout=5",
        "-rss_limit_mb=1024",
        "-verbosity=0",
        # Keep all seeds, even those that reach no new lines.
        "-keep_seed=1",
    ]
    atheris.Setup(
        [name, *limits, *options, *corpus], target.run, custom_mutator=mutator(target.seeds)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
