#!/usr/bin/env python3
"""Held-out protocol: how well is a category found that training never saw, described in words?

The label space is built anew from the sentences of the seen categories. A network is trained on
it with the pixels of the held-out categories unlabelled, and meets them for the first time in the
test, where their sentences give them signatures in the trained properties. Baselines: a
text-embedding classifier without properties, and a one-hot network whose answer for a held-out
category is the seen category with the nearest sentences, or that mixes the sentences of the seen
ones by their probabilities. All but the nearest are tested without and with calibrated stacking
(prolab_d2/evaluation/stacking.py), which weighs held-out categories against seen ones.

Every training is a call of train_net.py in a folder of its own. Finished ones are not repeated and
an interrupted one goes on, so the command can be stopped and given again.

Examples:
    tools/open_vocabulary.py --config scenes/lite0_property --candidates
    tools/open_vocabulary.py --config scenes/lite0_property --held-out bus hedge postbox \\
        --output output/held_out/scenes --record output/held_out/scenes.json
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parent))

from _runs import call, call_session, read_history, threads_of_run, versions

from prolab_d2 import LabelSpace
from prolab_d2.data import register_folder
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.evaluation.open_vocabulary import results_table
from prolab_d2.evaluation.reporting import write_json
from prolab_d2.evaluation.stacking import COST
from prolab_d2.files import check_writable
from prolab_d2.label_space.held_out import (
    LEAST_SHARED,
    LEAST_SHARING,
    HeldOut,
    examine_held_out,
    without_categories,
)
from prolab_d2.label_space.vocabulary import encoder_of

# Supervision of the training -> ways of the test, and names of columns by key of the results.
METHODS = {
    "property": (("extend",), {"extend": "properties"}),
    "text": (("swap",), {"swap": "text embeddings"}),
    "category": (
        ("nearest", "conse"),
        {
            "nearest": "nearest category",
            "nearest_oracle": "nearest category, oracle",
            "conse": "mixed categories",
        },
    ),
}
STACKED = "_stacked"


@dataclass(frozen=True)
class Protocol:
    """What decides the results."""

    config: str
    label_space: str
    held_out: tuple[str, ...]
    seed: int
    opts: tuple[str, ...]
    label_space_hash: str

    def settings(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--config", required=True, help="config file or shipped name")
    result.add_argument(
        "--candidates",
        action="store_true",
        help="only say what the other categories teach about each, were it held out alone",
    )
    result.add_argument("--held-out", nargs="+", metavar="CATEGORY", default=[])
    result.add_argument("--output", type=Path, help="folder of the trainings")
    result.add_argument("--record", type=Path, metavar="FILE.json", help="gets all results")
    result.add_argument(
        "--datasets", nargs="+", metavar="NAME", help="to test on (default: those of the config)"
    )
    result.add_argument("--supervisions", nargs="+", choices=list(METHODS), default=list(METHODS))
    result.add_argument(
        "--cost",
        type=float,
        default=COST,
        help="points of mIoU on training images that the held-out categories may cost the seen "
        "ones with calibrated stacking; 0 for none (default: %(default)s)",
    )
    result.add_argument("--seed", type=int, default=0)
    result.add_argument("--jobs", type=int, default=1, help="trainings side by side")
    result.add_argument("--threads", type=int, help="of a training (default: cores / jobs)")
    result.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE pairs")
    return result


def conditions_table(found: Sequence[HeldOut]) -> str:
    """Markdown: one line for each held-out category."""
    rows = [
        (
            one.category,
            one.sentences,
            one.left_out,
            one.known_sentences,
            one.properties,
            len(one.taught),
            one.nearest,
            "yes" if one.fulfils else "no",
        )
        for one in found
    ]
    headers = (
        "held out", "sentences", "too far", "word by word seen", "properties",
        f"of {LEAST_SHARING}+ seen categories", "nearest seen category", f"{LEAST_SHARED} or more",
    )  # fmt: skip
    return tabulate(rows, headers, "pipe")


def candidates(space: LabelSpace) -> list[HeldOut]:
    """Every category, held out alone."""
    encoder = encoder_of(space, space)
    found = []
    for name in space.categories:
        seen = without_categories(space, [name], encoder)
        found += examine_held_out(seen, space, [name], encoder)
    return found


def prepare(
    space: LabelSpace, held_out: Sequence[str], folder: Path
) -> tuple[LabelSpace, list[HeldOut]]:
    """The label space of the seen categories, built or read from `folder`, and its examination.

    Raises:
        ProLabError: too little of a held-out category is taught by the seen ones, or `folder`
            holds the label space of another protocol.
    """
    encoder = encoder_of(space, space)
    if (folder / "label_space.json").is_file():
        seen = LabelSpace.load(folder)
        record = seen.provenance
        if (record.get("held_out"), record.get("held_out_of")) != (list(held_out), space.hash):
            raise ProLabError(
                f"{folder} belongs to other held-out categories or another label space: give "
                "another --output, or remove that folder"
            )
    else:
        seen = without_categories(space, held_out, encoder)
    found = examine_held_out(seen, space, held_out, encoder)
    for one in found:
        if not one.fulfils:
            raise ProLabError(
                f"{one.category!r} has {len(one.taught)} properties that {LEAST_SHARING} or more "
                f"seen categories have, and {LEAST_SHARED} are needed: hold out other categories "
                "(--candidates lists them)"
            )
    seen.save(folder)
    return seen, found


def common_arguments(protocol: Protocol, supervision: str, output: Path) -> list[str]:
    return [
        "projects/ProLab/train_net.py", "--config-file", protocol.config,
        "MODEL.PROLAB.SUPERVISION", supervision,
        "MODEL.PROLAB.LABEL_SPACE", str(output / "label_space"), *protocol.opts,
    ]  # fmt: skip


def train_and_test(
    protocol: Protocol,
    supervision: str,
    output: Path,
    datasets: Sequence[str],
    threads: int,
    cost: float,
) -> dict[str, Any]:
    """The record of one training and its tests; from its file if these have been done."""
    folder = output / supervision
    record_file = folder / "record.json"
    record = json.loads(record_file.read_text()) if record_file.is_file() else {}
    command = common_arguments(protocol, supervision, output)
    train = [
        *command[:3], "--resume", *command[3:],
        "DATASETS.HELD_OUT", str(list(protocol.held_out)),
        "SEED", str(protocol.seed), "OUTPUT_DIR", str(folder),
    ]  # fmt: skip
    if not record:
        print(f"{supervision}: training", flush=True)
        sessions = call_session(train, folder, threads)
        evaluations, losses = read_history(folder / "metrics.json")
        record = {
            "command": shlex.join(train),
            "threads": threads,
            "sessions": sessions,
            "versions": versions(),
            "best_on_seen_categories": max(evaluations, key=lambda entry: entry["mIoU"]),
            "evaluations": evaluations,
            "losses": losses,
            "tests": {},
        }
        write_json(record_file, record)
    ways = list(METHODS[supervision][0])
    for dataset in datasets:
        test = [
            *command[:3], "--eval-only", *command[3:],
            "MODEL.WEIGHTS", str(folder / "model_best.pth"),
            "MODEL.PROLAB.TEST_LABEL_SPACE", protocol.label_space,
            "MODEL.PROLAB.TEST_WAYS", str(ways), "MODEL.PROLAB.TEST_STACKING", str(cost),
            "DATASETS.TEST", f"('{dataset}',)", "OUTPUT_DIR", str(folder / "test"),
        ]  # fmt: skip
        if record["tests"].get(dataset, {}).get("command") == shlex.join(test):
            continue
        print(f"{supervision}: test on {dataset}", flush=True)
        call(test, folder / "console.log", threads)
        results = folder / "test/inference" / dataset / "open_vocabulary.json"
        record["tests"][dataset] = {
            "command": shlex.join(test),
            **json.loads(results.read_text()),
        }
        write_json(record_file, record)
    return record


def result_tables(record: dict[str, Any]) -> str:
    """Markdown: for every data set the IoU of every category, one column for each method."""
    parts = []
    for dataset in record["datasets"]:
        columns = {}
        for supervision, run in record["runs"].items():
            entries = run["tests"][dataset]["categories"]
            for key, column in METHODS[supervision][1].items():
                for tested, name in ((key, column), (key + STACKED, f"{column}, stacked")):
                    values = [entry.get(f"iou_{tested}", ()) for entry in entries]
                    if () not in values:
                        columns[name] = np.array([np.nan if x is None else x for x in values])
        names = [entry["name"] for entry in entries]
        seen = [entry["seen"] for entry in entries]
        parts.append(f"{dataset}\n{results_table(names, seen, columns)}")
    return "\n\n".join(parts)


def default_datasets(cfg: CfgNode) -> list[str]:
    """What the config is evaluated on."""
    names = list(cfg.DATASETS.TEST)
    if cfg.DATASETS.FOLDER and not names:
        splits = register_folder(cfg.DATASETS.FOLDER)
        names = [splits["val"]] if "val" in splits else []
    if not names:
        raise ProLabError("there is no data set to test on: name one with --datasets")
    return names


def run_protocol(args: argparse.Namespace, space_name: str, datasets: list[str]) -> dict[str, Any]:
    """All trainings and tests, and the record of everything."""
    threads = threads_of_run(args.threads, args.jobs)
    space = LabelSpace.load(space_name)
    seen, found = prepare(space, args.held_out, args.output / "label_space")
    print(conditions_table(found), flush=True)
    protocol = Protocol(
        args.config, space_name, tuple(args.held_out), args.seed, tuple(args.opts), seen.hash
    )
    settings_file = args.output / "protocol.json"
    if settings_file.is_file() and json.loads(settings_file.read_text()) != protocol.settings():
        raise ProLabError(
            f"{args.output} holds trainings with other settings (protocol.json): give another "
            "--output"
        )
    write_json(settings_file, protocol.settings())
    with ThreadPoolExecutor(args.jobs) as pool:
        runs = list(
            pool.map(
                lambda supervision: train_and_test(
                    protocol, supervision, args.output, datasets, threads, args.cost
                ),
                args.supervisions,
            )
        )
    return {
        **protocol.settings(),
        "num_properties": seen.num_properties,
        "seen_categories": list(seen.categories),
        "conditions": [asdict(one) for one in found],
        "datasets": datasets,
        "runs": dict(zip(args.supervisions, runs, strict=True)),
    }


@exit_cleanly
def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    cfg = load_config(args.config, args.opts)
    space_name = cfg.MODEL.PROLAB.LABEL_SPACE
    if args.candidates:
        print(conditions_table(candidates(LabelSpace.load(space_name))))
        return
    if not (args.held_out and args.output and args.record):
        raise ProLabError(
            "--held-out, --output and --record are needed for the protocol: name categories "
            "(--candidates lists them), a folder for the trainings and a file for the results"
        )
    if not args.cost >= 0:
        raise ProLabError(f"--cost {args.cost}: give points of mIoU, such as 1, or 0 for none")
    datasets = args.datasets or default_datasets(cfg)
    check_writable(args.output)
    check_writable(args.record.parent)
    record = run_protocol(args, space_name, datasets)
    write_json(args.record, record)
    print(result_tables(record))


if __name__ == "__main__":
    sys.exit(main())
