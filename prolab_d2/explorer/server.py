"""Serves the explorer on this computer: one address, no other host is asked for anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from prolab_d2.errors import ProLabError

if TYPE_CHECKING:
    from prolab_d2.explorer.workbench import Workbench

__all__ = ["LOOPBACK", "listen", "require_gradio", "serve"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Gradio builds functions from texts of its own; nothing comes from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


def require_gradio() -> None:
    """
    Raises:
        ProLabError: Gradio is not installed.
    """
    # Read when Gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ProLabError(
            "the explorer needs Gradio: run `pip install 'gradio>=6'` "
            "(or install this package with the extra demo)"
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes a free one.

    Raises:
        ProLabError: the address is in use or not of this computer.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        result = socket.socket(family, socket.SOCK_STREAM)
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            result.bind((host, port))
        except BaseException:
            result.close()
            raise
    except (OSError, OverflowError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise ProLabError(
            f"cannot listen at {host}:{port} ({reason}): choose another --port or --host"
        ) from error
    return result


def serve(
    workbench: Workbench, address: socket.socket, host: str, ready: Callable[[str], None]
) -> None:
    """Answers at a socket until an interrupt.

    Args:
        host: the name that visitors use; only with "0.0.0.0" or "::" may they use any.
        ready: is told the address of the page when it can be opened.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(workbench.work / "uploads")
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from prolab_d2.explorer.page import STYLE, build_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app = gr.mount_gradio_app(
        app,
        build_page(workbench),
        path="/",
        footer_links=[],
        allowed_paths=[],
        show_error=False,
        max_file_size=int(workbench.limits.megabytes * 1e6),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        css=STYLE,
    )
    if host not in ("0.0.0.0", "::"):
        # A page of another site cannot reach this one under a name of its own.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK[:2], "[", host])

    @app.middleware("http")
    async def restrict(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    port = address.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app, log_level="warning", access_log=False)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready(f"http://{shown}:{port}")

    Server(config).run(sockets=[address])
