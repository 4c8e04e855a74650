"""A small stand-in for the Azure Functions host, which cannot be installed here.

It passes a request to the functions of `function_app.py` in the same way as the host and its Python
worker: names in lower case, headers of one name joined by a comma, empty ones left out, and request
and response converted by the library. It has nothing else of the host: no keys and no limits.

`functions_host.py PORT` serves plain HTTP, like `func start`. `application` is the same as a WSGI
app for the local front end. That front end removes look-alike names that the environ would fold.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from wsgiref.util import request_uri

import azure.functions as func
from azure.functions.http import HttpRequestConverter, HttpResponseConverter
from azure.functions.meta import Datum


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Context:
    """The worker's description of an invocation, as far as the middleware reads it."""

    function_directory = "."
    function_name = "site"
    invocation_id = "1"
    thread_local_storage = None
    trace_context = None
    retry_context = None


def _text(value: str) -> Datum:
    return Datum(value, "string")


def request(
    method: str, url: str, pairs: Iterable[tuple[str, str]], body: bytes = b""
) -> func.HttpRequest:
    """Make the request object that a function gets."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        before = joined.get(name.lower())
        joined[name.lower()] = f"{before},{value}" if before and value else before or value
    http = {
        "method": _text(method),
        "url": _text(url),
        "headers": {name: _text(value) for name, value in joined.items()},
        "query": {},
        "params": {},
        "body": Datum(body, "bytes"),
    }
    return HttpRequestConverter.decode(Datum(http, "http"), trigger_metadata=None)


def response(returned: func.HttpResponse) -> Answer:
    """Read the return value of a function as the worker does."""
    http = HttpResponseConverter.encode(returned, expected_type=None).value
    headers = [(name, value.value) for name, value in http["headers"].items()]
    return Answer(int(http["status_code"].value), headers, http["body"].value)


class Host:
    """A host that calls the functions of an app by their routes.

    Attributes:
        functions: by route: the methods it answers to, and the function that the worker calls.
    """

    def __init__(self, app: func.FunctionApp) -> None:
        self.functions = {}
        for function in app.get_functions():
            trigger = function.get_trigger().get_dict_repr()
            methods = {method.value for method in trigger["methods"]}
            self.functions[trigger["route"]] = methods, function.get_user_function()

    def answer(
        self, method: str, url: str, pairs: Iterable[tuple[str, str]], body: bytes = b""
    ) -> Answer:
        """Find the function of a request and call it."""
        route = urlsplit(url).path.strip("/")
        methods, function = self.functions.get(route) or self.functions["{*path}"]
        if method not in methods:
            return Answer(404, [], b"")
        arguments = {"req": request(method, url, pairs, body)}
        if route not in self.functions:
            arguments["context"] = Context()
        return response(function(**arguments))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer one request of the local front end."""
    pairs = [
        (key.removeprefix("HTTP_").replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith("HTTP_")
    ]
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = host().answer(environ["REQUEST_METHOD"], request_uri(environ), pairs, body)
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", answer.headers)
    return [answer.body]


@functools.cache
def host() -> Host:
    """Import the app, which reads its settings now. The library allows each function name once."""
    import function_app

    return Host(function_app.app)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer any request."""
        length = int(self.headers.get("Content-Length") or 0)
        url = f"http://{self.headers['Host']}{self.path}"
        pairs = self.headers.items()
        answer = host().answer(self.command, url, pairs, self.rfile.read(length))
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_POST = do_GET  # noqa: N815 - the standard library's name.


if __name__ == "__main__":
    host()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
