"""A server of one page on this machine, for its owner's browser only."""

from __future__ import annotations

import hmac
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nautiloid.core.errors import InputError

HOST = "127.0.0.1"


class ViewServer(ThreadingHTTPServer):
    """Serves one page at an address with a secret in it.

    Another program of the machine does not know the secret; a page of the web can neither read the
    answer (no CORS) nor reach it through a name of its own (the host is checked).

    Args:
        text: The page.
        policy: Its content security policy, sent as a header too.
        port: 0 takes a free one.

    Raises:
        InputError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, text: str, policy: str, *, port: int = 0):
        self.content = text.encode()
        self.policy = f"{policy}; frame-ancestors 'none'"
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError):
            raise InputError("--port", port, "taken or not allowed; use another one") from None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    server_version = "nautiloid"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """The page, to whoever knows its address."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Its headers."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        server = self.server
        assert isinstance(server, ViewServer)
        hosts = {f"{HOST}:{server.server_port}", f"localhost:{server.server_port}"}
        is_known = hmac.compare_digest(self.path.encode(), f"/{server.token}/".encode())
        if self.headers.get("Host") not in hosts or not is_known:
            self.send_error(404)
            return
        self.send_response(200)
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Length": str(len(server.content)),
            "Content-Security-Policy": server.policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(server.content)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the address is printed once, requests are not news."""
