"""The warm decisions of eight threads and of one thread, also on free-threaded Python."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import threading
import time

from app_service import CERTIFICATE, KEY, environ_of
from paired import Row, options_from_command_line, print_table

from arrcert import Authorizer, Policy
from arrcert.forwarding.gunicorn import gunicorn_hook_ran

THREADS = 8
SECONDS = 0.4
FREE_THREADED = ("python3.14t", "python3.13t")
"""The free-threaded interpreters that the benchmark looks for."""


def main() -> int:
    """Measure, and print the table; with `--figures`, print only this interpreter's figures."""
    if "--figures" in sys.argv:
        print(json.dumps(figures(5)))
        return 0
    options = options_from_command_line(__doc__, 5)
    one, again, many = figures(options.rounds)
    rows = [
        Row("control: 1 thread / 1 thread", again / one, None, of="decisions a second"),
        row(f"{THREADS} threads / 1 thread: warm decisions a second", one, many),
        free_threaded(),
    ]
    print_table("Warm decisions of several threads", rows)
    return 0


def row(measure: str, one: float, many: float) -> Row:
    """Return the row that compares the threads with one thread."""
    beside = f"{many:,.0f} / {one:,.0f} decisions a second; the GIL allows no ratio above 1"
    return Row(measure, many / one, None, beside=beside, of="decisions a second")


def free_threaded() -> Row:
    """Return the row of free-threaded Python. A new process measures it."""
    measure = f"the same on free-threaded Python: {THREADS} threads / 1 thread"
    program = next(filter(None, map(shutil.which, FREE_THREADED)), None)
    if program is None:
        return Row(measure, None, None, beside="not measured: no free-threaded Python here")
    if subprocess.run([program, "-c", "import arrcert"], capture_output=True).returncode != 0:
        return Row(measure, None, None, beside=f"not measured: {program} cannot import arrcert")
    done = subprocess.run(
        [program, __file__, "--figures"], capture_output=True, text=True, check=True
    )
    one, _, many = json.loads(done.stdout)
    beside = f"{many:,.0f} / {one:,.0f} decisions a second"
    return Row(measure, many / one, None, beside=beside, of="decisions a second")


def figures(rounds: int) -> tuple[float, float, float]:
    """Return the most decisions in a second: of one thread, of one thread again, and of eight."""
    logging.disable(logging.CRITICAL)
    gunicorn_hook_ran()  # As with `arrcert.gunicorn` in gunicorn.conf.py.
    policy = Policy(fingerprints=[CERTIFICATE.sha256_fingerprint])
    authorizer = Authorizer({"default": policy})
    authorizer.authorize_wsgi(environ_of("/hellocert"))
    found = [
        (decisions(authorizer, 1), decisions(authorizer, 1), decisions(authorizer, THREADS))
        for _ in range(rounds)
    ]
    one, again, many = (max(values) for values in zip(*found, strict=True))
    return one, again, many


def decisions(authorizer: Authorizer, threads: int) -> float:
    """Return the number of warm decisions that some threads together make in a second."""
    counts = [0] * threads
    begun = threading.Barrier(threads + 1)
    stopped = threading.Event()

    def decide(number: int) -> None:
        environ = environ_of("/hellocert")
        text = environ[KEY].encode()
        begun.wait()
        done = 0
        while not stopped.is_set():
            for _ in range(20):
                request = dict(environ)
                request[KEY] = text.decode("latin-1")
                authorizer.authorize_wsgi(request)
            done += 20
        counts[number] = done

    workers = [threading.Thread(target=decide, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    begun.wait()
    start = time.perf_counter()
    time.sleep(SECONDS)
    stopped.set()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(main())
