"""Run one WSGI or ASGI application on a server that has no command line of its own.

`run_server.py SERVER MODULE:NAME PORT` serves on the loopback address until it is ended.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def wsgiref(app: Any, port: int) -> None:
    """The standard library's reference server."""
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", port, app).serve_forever()


def werkzeug(app: Any, port: int) -> None:
    """The server of `flask run`."""
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, app, threaded=True)


def runserver(app: Any, port: int) -> None:
    """The server of `manage.py runserver`, without its reloader."""
    from django.core.servers.basehttp import run

    run("127.0.0.1", port, app, threading=True)


def cheroot(app: Any, port: int) -> None:
    """CherryPy's server."""
    from cheroot.wsgi import Server

    Server(("127.0.0.1", port), app).start()


def twisted(app: Any, port: int) -> None:
    """twisted.web's WSGI resource."""
    from twisted.internet import reactor
    from twisted.web.server import Site
    from twisted.web.wsgi import WSGIResource

    reactor.listenTCP(
        port,
        Site(WSGIResource(reactor, reactor.getThreadPool(), app)),
        interface="127.0.0.1",
    )
    reactor.run()


def tornado(app: Any, port: int) -> None:
    """Tornado's WSGIContainer."""
    import asyncio

    from tornado.httpserver import HTTPServer
    from tornado.wsgi import WSGIContainer

    async def main() -> None:
        HTTPServer(WSGIContainer(app)).listen(port, "127.0.0.1")
        await asyncio.Event().wait()

    asyncio.run(main())


def gevent(app: Any, port: int) -> None:
    """Gevent's pywsgi."""
    from gevent.pywsgi import WSGIServer

    WSGIServer(("127.0.0.1", port), app).serve_forever()


def eventlet(app: Any, port: int) -> None:
    """Eventlet's own server."""
    import eventlet
    from eventlet import wsgi

    wsgi.server(eventlet.listen(("127.0.0.1", port)), app, log_output=False)


def bjoern(app: Any, port: int) -> None:
    """A server in C."""
    import bjoern

    bjoern.run(app, "127.0.0.1", port)


def fastwsgi(app: Any, port: int) -> None:
    """A server in C. A header that is not UTF-8 kills it, and then it is started again."""
    import fastwsgi

    while child := os.fork():
        os.waitpid(child, 0)
    fastwsgi.run(wsgi_app=app, host="127.0.0.1", port=port)


def _uvicorn(asgi_app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(asgi_app, host="127.0.0.1", port=port, lifespan="off", log_level="warning")


def asgiref(app: Any, port: int) -> None:
    """A WSGI application on an ASGI server, through asgiref."""
    from asgiref.wsgi import WsgiToAsgi

    _uvicorn(WsgiToAsgi(app), port)


def a2wsgi(app: Any, port: int) -> None:
    """A WSGI application on an ASGI server, through a2wsgi."""
    from a2wsgi import WSGIMiddleware

    _uvicorn(WSGIMiddleware(app), port)


def functions(app: Any, port: int) -> None:
    """Azure Functions' WSGI middleware, with a host that passes HTTP requests on unchanged."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    from azure.functions import HttpRequest, WsgiMiddleware

    middleware = WsgiMiddleware(app)

    class Context:
        """The host's description of an invocation, as far as the environ holds it."""

        function_directory = "."
        function_name = "http_app_func"
        invocation_id = "1"
        thread_local_storage = None
        trace_context = None
        retry_context = None

    class Host(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            request = HttpRequest(
                method=self.command,
                url=f"http://{self.headers['Host']}{self.path}",
                headers=dict(self.headers.items()),
                body=self.rfile.read(length),
            )
            response = middleware.handle(request, Context())
            self.send_response(response.status_code)
            self.end_headers()
            self.wfile.write(response.get_body())

        do_POST = do_GET  # noqa: N815 - the standard library's name.

    ThreadingHTTPServer(("127.0.0.1", port), Host).serve_forever()


if __name__ == "__main__":
    server, application, port = sys.argv[1:]
    sys.path.insert(0, os.getcwd())
    module, _, name = application.partition(":")
    globals()[server](getattr(importlib.import_module(module), name), int(port))
