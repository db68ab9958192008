"""The role `web`: the pages on a port of their own."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from qagate import app, pulse
from qagate.checks import certificate
from qagate.config import Settings
from qagate.reason import Reason, why
from qagate.store.engine import open_store
from qagate.web.application import create
from qagate.web.site import make_site

log = structlog.get_logger(__name__)

_DRAIN_S = 3  #: open event streams get this long to end


class Server:
    """uvicorn in a thread, so that signals and the supervisor's pipe stay ours."""

    def __init__(
        self,
        application: FastAPI,
        *,
        host: str,
        port: int,
        tls_certificate: Path | None = None,
        tls_key: Path | None = None,
    ) -> None:
        """Bind the port (0: a free one). Raises RuntimeError with the mend when that does not go."""
        self._socket = _bound(host, port)
        self._scheme = "https" if tls_certificate else "http"
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ssl_certfile=tls_certificate,
                ssl_keyfile=str(tls_key) if tls_key else None,
                timeout_graceful_shutdown=_DRAIN_S,
            )
        )
        self._read = _stamp(self._server.config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="web", daemon=True
        )

    @property
    def address(self) -> str:
        """URL of the pages."""
        host, port = self._socket.getsockname()[:2]
        return f"{self._scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def start(self) -> None:
        """Serve, until `stop`; returns once it answers."""
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(0.01)

    def renew(self) -> None:
        """Show a renewed certificate from the next connection on; keep the old one when it cannot be used."""
        context, config = self._server.config.ssl, self._server.config
        if context is None or (stamp := _stamp(config)) == self._read:
            return
        self._read = stamp
        try:
            certificate(Path(str(config.ssl_certfile)), Path(str(config.ssl_keyfile)))
            context.load_cert_chain(str(config.ssl_certfile), config.ssl_keyfile)
        except (OSError, RuntimeError) as error:
            log.warning("keep_certificate", reason=why(error))

    def alive(self) -> bool:
        """Whether it still serves."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer what is open, then end."""
        self._server.should_exit = True
        self._thread.join(_DRAIN_S + 5)
        self._socket.close()


def run(settings: Settings, stop: threading.Event) -> None:
    """Serve the pages until `stop`. Raises RuntimeError for a port or certificate that cannot be used."""
    app.begin(settings, "web")
    of = settings.web
    if of.tls_certificate and of.tls_key:
        certificate(of.tls_certificate, of.tls_key)
    with open_store(settings.store_url) as store:
        site = make_site(settings, store, stop)
        server = Server(
            create(site), host=of.host, port=of.port, tls_certificate=of.tls_certificate, tls_key=of.tls_key
        )
        server.start()
        pulse.start(stop, server.alive)
        log.info("web_ready", address=server.address)
        if not site.accounts.any():
            log.warning("no_user_yet", mend=Reason("qagate users add NAME --role admin"))
        while server.alive() and not stop.wait(0.5):
            server.renew()
        if not stop.is_set():
            raise RuntimeError("the pages' server ended by itself; its last log lines say why")
        server.stop()
        log.info("web_stopped")


def _stamp(config: uvicorn.Config) -> tuple[int, ...]:
    """What changes when certificate or key are renewed; nothing without TLS, or while they are away."""
    try:
        found = [Path(str(name)).stat() for name in (config.ssl_certfile, config.ssl_keyfile) if name]
    except OSError:
        return ()
    return tuple(number for one in found for number in (one.st_mtime_ns, one.st_size))


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where the protocol is named; otherwise each answer waits 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise RuntimeError(
            f"the pages cannot listen on {host} port {port} ({error.strerror or error}): set web.port to a "
            "free one, or end the program that uses it"
        ) from error
    made.set_inheritable(True)
    return made
