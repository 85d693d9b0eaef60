"""Serves the folder of a page on this machine alone."""

from __future__ import annotations

import functools
import http.server
import pathlib

from launch.errors import LaunchError

_HOST = "127.0.0.1"


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Sends files that no browser keeps without asking, and reports nothing."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, *args) -> None:
        pass


def bind(folder: pathlib.Path, port: int) -> http.server.ThreadingHTTPServer:
    """Returns a server of a folder; its `serve_forever` answers.

    Args:
        folder: what to serve.
        port: where; 0 takes any that is free.

    Raises:
        LaunchError: the port is taken.
    """
    handler = functools.partial(_Handler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer((_HOST, port), handler)
    except OSError as error:
        raise LaunchError(
            f"Port {port} cannot be served: {error.strerror}. Name another one."
        ) from error


def address(server: http.server.ThreadingHTTPServer) -> str:
    """Where a browser finds it."""
    return f"http://{_HOST}:{server.server_port}/"
