"""Runs the app or the command that `arrcert serve` puts behind its front end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import uvicorn
from waitress.server import create_server

from arrcert.cli.apps import Failure, takes_asgi_arguments

START_SECONDS = 60
"""How long an app or a command may take to listen, in seconds."""

STOP_SECONDS = 5
"""How long a command may take to end after SIGTERM, in seconds."""

_LOOPBACK = "127.0.0.1"

_LARGEST_HEAD = 128 * 1024
"""The largest head that an ASGI app can get, in bytes: the front end's limit, and its headers."""


class Running(Protocol):
    """A local server behind the front end."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        ...

    @property
    def exit_code(self) -> int | None:
        """The exit code of a command that has ended, else None."""
        ...

    def stop(self) -> None:
        """Stop the server."""
        ...


def run_app(app: Any) -> Running:
    """Run a WSGI or ASGI app in the background.

    Raises:
        Failure: the lifespan of an ASGI app failed at the start.
    """
    return RunningASGIApp(app) if takes_asgi_arguments(app) else RunningWSGIApp(app)


class RunningWSGIApp:
    """A WSGI app on waitress, in a thread of this process.

    Args:
        app: the app (PEP 3333).

    Every client on this machine can connect, and can send any header.
    """

    exit_code = None

    def __init__(self, app: Any) -> None:
        listener = _listen()
        self.address = _address_of(listener)
        self._server: Any = create_server(
            app,
            sockets=[listener],
            threads=8,
            url_scheme="https",
            server_name=_LOOPBACK,
            # The front end sets X-Forwarded-Proto.
            clear_untrusted_proxy_headers=False,
        )
        self._thread = threading.Thread(target=self._server.run, name="waitress", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server. Requests that run for more than a second lose their connection."""
        self._server.task_dispatcher.shutdown(timeout=1)
        # The loop of waitress must close its sockets itself.
        self._server.trigger.pull_trigger(self._server.close)
        self._thread.join(STOP_SECONDS)


class RunningASGIApp:
    """An ASGI app on uvicorn, in a thread of this process.

    Args:
        app: the app.

    Raises:
        Failure: the app's lifespan failed at the start.

    Every client on this machine can connect, and can send any header.
    """

    exit_code = None

    def __init__(self, app: Any) -> None:
        listener = _listen()
        self.address = _address_of(listener)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="h11",
                log_level="warning",
                access_log=False,
                # The front end sets X-Forwarded-Proto.
                proxy_headers=True,
                forwarded_allow_ips=_LOOPBACK,
                h11_max_incomplete_event_size=_LARGEST_HEAD,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="uvicorn", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                listener.close()
                raise Failure("the lifespan of the ASGI app failed; see the log above")
            time.sleep(0.01)

    def _run(self, listener: socket.socket) -> None:
        # If the lifespan fails, uvicorn logs why and exits.
        with contextlib.suppress(SystemExit):
            self._server.run([listener])

    def stop(self) -> None:
        """Stop the server. Requests that run for more than a second lose their connection."""
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)


class RunningCommand:
    """A command of the user that serves HTTP, as a process.

    Args:
        command: the program and its arguments. `{port}` in an argument becomes the port.

    Raises:
        Failure: the program cannot be started, it ended before it listened, or it did not listen in
            time.
    """

    def __init__(self, command: Sequence[str]) -> None:
        port = _free_port()
        self.address = (_LOOPBACK, port)
        arguments = [word.replace("{port}", str(port)) for word in command]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the command of the user.
                arguments,
                env={**os.environ, "PORT": str(port)},
                # Ctrl-C reaches only this process, which then stops the command and its children.
                start_new_session=True,
            )
        except OSError as error:
            raise Failure(f"cannot start {arguments[0]!r}: {error.strerror}") from error
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise

    @property
    def exit_code(self) -> int | None:
        """The exit code of the process; None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Stop the process and its children: SIGTERM, and SIGKILL after five seconds."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.wait()

    def _signal(self, number: int) -> None:
        if sys.platform == "win32":
            self._process.terminate()
            return
        # The process group exists as long as one of its processes.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _wait_until_it_listens(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.exit_code is not None:
                raise Failure(
                    f"the command ended with exit code {self.exit_code} before it listened"
                )
            # Until the command listens, the connection is refused.
            with contextlib.suppress(OSError):
                socket.create_connection(self.address, timeout=1).close()
                return
            time.sleep(0.05)
        raise Failure(
            f"the command does not listen on {self.address[0]} port {self.address[1]}; it has to"
            " use the port in the environment variable PORT, or write {port} as an argument"
        )


def _listen() -> socket.socket:
    return socket.create_server((_LOOPBACK, 0), backlog=128)


def _address_of(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return host, port


def _free_port() -> int:
    with _listen() as listener:
        return _address_of(listener)[1]
