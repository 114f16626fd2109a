#!/usr/bin/env python
"""Shows what a label space holds: as tables in the terminal, or as one page for a browser.

Examples:
    python tools/inspect_label_space.py camvid
    python tools/inspect_label_space.py camvid --category pole --nearest pole
    python tools/inspect_label_space.py camvid --difference pole fence
    python tools/inspect_label_space.py camvid --property "vertical bars"
    python tools/inspect_label_space.py camvid --compare output/label_spaces/camvid
    python tools/inspect_label_space.py camvid --html output/camvid.html

Without an option there is an overview. Distances of categories are cosine distances of their
signatures: 0 with the same properties, 1 with none in common. Names are found in any case, a
property by a part of its name; the numbers of categories and properties do as well.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.label_space import LabelSpace
from prolab_d2.label_space.inspection import find_category, find_property
from prolab_d2.label_space.inspection_page import write_page
from prolab_d2.label_space.inspection_text import (
    category_text,
    comparison_text,
    difference_text,
    nearest_text,
    overview_text,
    property_text,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("space", metavar="DIR_OR_NAME", help="a folder, or a shipped label space")
    parser.add_argument("--category", metavar="NAME", help="its properties and sentences")
    parser.add_argument("--property", metavar="NAME_OR_NUMBER", help="its categories and sentences")
    parser.add_argument("--nearest", metavar="NAME", help="the categories most like this one")
    parser.add_argument(
        "--difference", nargs=2, metavar=("A", "B"), help="what two categories share, what not"
    )
    parser.add_argument(
        "--compare", metavar="OTHER_SPACE", help="what differs from another label space"
    )
    parser.add_argument("--html", metavar="FILE", help="write a page with all of it")
    parser.add_argument(
        "--limit", type=int, default=20, help="rows of long tables (default 20, 0 for all)"
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.limit < 0:
        raise ProLabError(f"--limit {args.limit}: give a number of rows, or 0 for all")
    space = LabelSpace.load(args.space)
    title = _title(args.space)
    parts: list[str] = []
    if args.category is not None:
        parts.append(category_text(space, find_category(space, args.category)))
    if args.property is not None:
        parts.append(property_text(space, find_property(space, args.property)))
    if args.nearest is not None:
        parts.append(nearest_text(space, find_category(space, args.nearest), args.limit))
    if args.difference is not None:
        parts.append(
            difference_text(space, *(find_category(space, name) for name in args.difference))
        )
    if args.compare is not None:
        other = LabelSpace.load(args.compare)
        titles = (title, _title(args.compare))
        if titles[0] == titles[1]:
            titles = (args.space, args.compare)
        parts.append(comparison_text(space, other, titles, args.limit))
    if args.html is not None:
        write_page(space, args.html, title)
        parts.append(f"page: {args.html} ({os.path.getsize(args.html) / 1000:,.0f} kB)")
    if not parts:
        parts.append(overview_text(space, title, args.limit))
    print("\n\n\n".join(parts))
    return 0


def _title(folder_or_name: str) -> str:
    """A name for the label space: the last part of its path."""
    return Path(folder_or_name).resolve().name or folder_or_name


if __name__ == "__main__":
    sys.exit(main())
