#!/usr/bin/env python3
"""A page in the browser: drop an image, click a pixel, and see why it is what it is.

Examples:
    explorer.py
    explorer.py --checkpoint output/demo/model_best.pth
    explorer.py --checkpoint output/mine/model_best.pth --port 8080

Without --checkpoint it shows the small network that comes with the project. The page is served to
this computer alone; --host 0.0.0.0 lets everybody in the network use it, who then also use this
computer's time. Needs the extra demo: pip install 'gradio>=6.24'.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prolab_d2.device import tune_cpu
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.explorer.server import LOOPBACK, listen, require_gradio, serve

SHIPPED = Path(__file__).resolve().parent / "checkpoints/scenes_lite0_property.pth"


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--checkpoint",
        metavar="FILE",
        default=str(SHIPPED),
        help="written by train_net.py, with properties (default: the small one of the project)",
    )
    result.add_argument(
        "--host", default="127.0.0.1", help="address to serve (default: %(default)s)"
    )
    result.add_argument(
        "--port", type=int, default=7860, help="0 for any free one (default: %(default)s)"
    )
    result.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    result.add_argument(
        "--encoder",
        metavar="ENCODER",
        help="where the sentence encoder of the label space is now, for new categories (default: "
        "where it was when the label space was made)",
    )
    result.add_argument(
        "--max-upload", type=float, default=20, metavar="MB", help="largest file (default: 20)"
    )
    result.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the config; must come last",
    )
    return result


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    tune_cpu()
    if not 0 <= args.port <= 65535:
        raise ProLabError(f"--port {args.port}: give a number from 0 to 65535")
    if not 0 < args.max_upload <= 1000:
        raise ProLabError(f"--max-upload {args.max_upload:g}: give 1 to 1000 MB")
    require_gradio()
    with listen(args.host, args.port) as address:
        # Imports that take seconds come after all that can be wrong with the arguments.
        from prolab_d2.explorer.uploads import Limits
        from prolab_d2.explorer.workbench import Workbench
        from prolab_d2.predictor import Predictor

        predictor = Predictor.from_checkpoint(args.checkpoint, args.device, args.opts)
        with Workbench(predictor, Limits(megabytes=args.max_upload), args.encoder) as workbench:
            if args.host not in LOOPBACK:
                print("anybody who can reach this computer can use the page", flush=True)
            serve(
                workbench,
                address,
                args.host,
                lambda url: print(f"explorer: open {url} (Ctrl-C ends it)", flush=True),
            )


if __name__ == "__main__":
    sys.exit(main())
