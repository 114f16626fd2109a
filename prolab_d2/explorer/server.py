"""Serves the explorer on this computer: one address, no other host is asked for anything."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from prolab_d2.errors import ProLabError
from prolab_d2.explorer.guard import Guard

if TYPE_CHECKING:
    from prolab_d2.explorer.workbench import Workbench

__all__ = ["LOOPBACK", "listen", "require_gradio", "serve"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANY_ADDRESS = ("0.0.0.0", "::")


def require_gradio() -> None:
    """
    Raises:
        ProLabError: Gradio is not installed.
    """
    # Read when Gradio is imported: nothing is told to others, and no browser keeps what was asked.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_RUN_HISTORY"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ProLabError(
            "the explorer needs Gradio: run `pip install 'gradio>=6.24'` "
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
    files = workbench.work / "uploads"
    os.environ["GRADIO_TEMP_DIR"] = str(files)
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from prolab_d2.explorer.page import build_page, style, theme

    upload_bytes = int(workbench.limits.megabytes * 1e6)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        build_page(workbench),
        path="/",
        footer_links=[],
        allowed_paths=[],
        show_error=False,
        max_file_size=upload_bytes,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=style(),
    )
    hosts = None if host in ANY_ADDRESS else (*LOOPBACK, host)
    app = Guard(app, files, upload_bytes, hosts)

    port = address.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(app, log_level="warning", access_log=False)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            ready(f"http://{shown}:{port}")

    Server(config).run(sockets=[address])
