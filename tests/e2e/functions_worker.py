"""Runs an Azure Functions app under the real Python worker library, `azure-functions-runtime`.

The library needs Python 3.13 or newer, so the tests run this program with its own interpreter:

- `functions_worker.py APP_FOLDER --start` starts the app, and prints as JSON what the worker
  answered to the host.
- `functions_worker.py APP_FOLDER PORT` starts it and serves plain HTTP, as `func start` does.

This file replaces only the host. It sends the worker the host's messages: initialize, list
the functions, load each, invoke. As the host does, it writes the names of headers in lower case,
joins the values of one name by a comma, and leaves empty ones out. (GrpcMessageConversionExtensions
in Azure/azure-functions-host, read and not measured.)
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import azure_functions_runtime as worker
from functions_messages import message_classes

protos = message_classes()


class Host:
    """The host of one app.

    Attributes:
        initialized: the worker's answer to the first message.
        functions: of the worker's answer to the second: the metadata of each function.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        worker.start_threadpool_executor()
        self.initialized = self.ask(
            worker.worker_init_request,
            worker_init_request=protos.WorkerInitRequest(
                host_version="4.1044", function_app_directory=folder
            ),
        )
        answer = self.ask(
            worker.functions_metadata_request,
            functions_metadata_request=protos.FunctionsMetadataRequest(
                function_app_directory=folder
            ),
        )
        self.functions = list(answer.function_metadata_results)
        for function in self.functions:
            loaded = self.ask(
                worker.function_load_request,
                function_load_request=protos.FunctionLoadRequest(
                    function_id=function.function_id, metadata=function
                ),
            )
            assert loaded.result.status == protos.StatusResult.Success

    def ask(self, handler: Any, **content: Any) -> Any:
        """Send the worker a message, and return its answer."""
        message = SimpleNamespace(
            request=protos.StreamingMessage(**content),
            properties={"host": "127.0.0.1", "protos": protos},
        )
        return asyncio.run_coroutine_threadsafe(handler(message), self.loop).result(60)

    def function_of(self, method: str, path: str) -> tuple[Any, str, dict[str, str]] | None:
        """Return the function for a path, its trigger's name, and the route's parameters."""
        found = None
        for function in self.functions:
            [trigger] = [
                binding
                for binding in map(json.loads, function.raw_bindings)
                if binding["type"] == "httpTrigger"
            ]
            if method not in {name.upper() for name in trigger["methods"]}:
                continue
            route = trigger["route"].strip("/")
            # A fixed route has priority over a parameter that takes the rest of the path.
            if route == path:
                return function, trigger["name"], {}
            if parameter := re.fullmatch(r"\{\*(\w+)\}", route):
                found = function, trigger["name"], {parameter[1]: path}
        return found

    def answer(
        self, method: str, url: str, pairs: list[tuple[str, str]], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Invoke the function of a request. Answer 404 without one, and 500 if it fails."""
        found = self.function_of(method, urlsplit(url).path.strip("/"))
        if found is None:
            return 404, {}, b""
        function, trigger, parameters = found
        joined: dict[str, str] = {}
        for name, value in pairs:
            before = joined.get(name.lower(), "")
            joined[name.lower()] = ",".join(part for part in (before, value) if part)
        http = protos.RpcHttp(
            method=method,
            url=url,
            headers={name: value for name, value in joined.items() if value},
            params=parameters,
        )
        if body:
            http.body.bytes = body
        answer = self.ask(
            worker.invocation_request,
            invocation_request=protos.InvocationRequest(
                invocation_id=str(uuid.uuid4()),
                function_id=function.function_id,
                input_data=[
                    protos.ParameterBinding(name=trigger, data=protos.TypedData(http=http))
                ],
            ),
        )
        if answer.result.status != protos.StatusResult.Success:
            return 500, {}, answer.result.exception.message.encode()
        response = answer.return_value.http
        content = response.body.bytes or response.body.string.encode()
        return int(response.status_code), dict(response.headers), content


def serve(host: Host, port: int) -> None:
    """Serve plain HTTP until the process ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer any request."""
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = f"http://{self.headers['Host']}{self.path}"
            status, headers, content = host.answer(
                self.command, url, list(self.headers.items()), body
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - the standard library's name.

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def main(folder: str, mode: str) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.WARNING)
    # The worker runs in the app's folder, and imports its modules from there.
    os.chdir(folder)
    sys.path.insert(0, folder)
    host = Host(folder)
    result = host.initialized.result
    if mode == "--start":
        said = {
            "status": protos.StatusResult.Status.Name(result.status),
            "message": result.exception.message,
            "python": host.initialized.worker_metadata.runtime_version,
            "functions": {
                function.name: list(map(json.loads, function.raw_bindings))
                for function in host.functions
            },
        }
        print(json.dumps(said))
    else:
        serve(host, int(mode))


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]), sys.argv[2])
