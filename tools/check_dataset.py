#!/usr/bin/env python
"""Checks a data set: counts, label histogram, unknown ids, unreadable or mismatching files.

Examples:
    python tools/check_dataset.py my_photos
    python tools/check_dataset.py camvid --contact-sheet output/camvid.png

A data set is a folder (images/<split>, annotations/<split>, categories.txt), or a name that is
registered: camvid, camvid_sem_seg_val, ... Everything found is printed; the exit code is 2 when
something must be mended, else 0.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from tqdm import tqdm

from prolab_d2.canvas import check_picture_name, save_picture
from prolab_d2.data.dataset_report import check_split, draw_sheet, find_dataset, format_report
from prolab_d2.errors import ProLabError, exit_cleanly


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", metavar="FOLDER_OR_NAME")
    parser.add_argument(
        "--contact-sheet", metavar="FILE.png", help="write pictures of images under their labels"
    )
    parser.add_argument(
        "--samples", type=int, default=12, help="pictures on the contact sheet (default 12)"
    )
    parser.add_argument(
        "--limit", type=int, default=20, help="problems listed of each split (default 20)"
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads (default: one per core)"
    )
    return parser.parse_args(argv)


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.contact_sheet:
        check_picture_name(args.contact_sheet)
    splits = find_dataset(args.dataset)
    reports = []
    for split in splits:

        def progress(entries: Iterable[Any], name: str = split.name) -> Iterable[Any]:
            # Shown in terminals only (disable=None), on stderr.
            return tqdm(entries, desc=name, unit="image", leave=False, disable=None)

        reports.append(check_split(split, workers=max(1, args.workers), progress=progress))
    print(format_report(reports, splits[0].metadata, args.limit))
    if args.contact_sheet:
        save_picture(draw_sheet(splits, number=args.samples), args.contact_sheet)
        print(f"\ncontact sheet: {args.contact_sheet}")
    problems = sum(len(report.problems) for report in reports)
    if problems:
        raise ProLabError(f"{args.dataset}: {problems} problems, listed above; mend them")
    print("\nno problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
