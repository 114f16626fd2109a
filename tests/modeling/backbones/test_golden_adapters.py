"""Adapter backbones against the published implementation.

Outputs, values in between, gradients, batch statistics, what loading does, names of parameters and
initial values. The small copy in tests/golden has no room for these arrays.

Shapes: B batch, C channels, M heads.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prolab_d2.modeling.backbones import BEiTAdapter, ViTAdapter
from prolab_d2.modeling.backbones.adapter import AdapterBackbone
from prolab_d2.modeling.backbones.deformable_attention import DeformableAttention
from prolab_d2.modeling.backbones.interaction import Geometry
from prolab_d2.modeling.backbones.relative_position import (
    relative_position_index,
    resize_table,
    table_rows,
)
from tests.golden import (
    REPOSITORY,
    GoldenArrays,
    assert_close,
    golden_files,
    golden_folder,
    golden_json,
)

pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(
        golden_folder().resolve() == REPOSITORY / "tests" / "golden",
        reason="the golden arrays of the backbones (f3_*, f4_keys) are in ../shared/reference only",
    ),
]

INDEX = ".attn.relative_position_index"
Report = Callable[[str], None]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\ngolden backbones: {line}")

    return write


def adapter_of(config: dict[str, Any], **options: Any) -> AdapterBackbone:
    """Our backbone for a published config; an option that we do not know is an error."""
    config = {**config, **options}
    kind = config.pop("type")
    assert config.pop("patch_size", 16) == 16
    if not config.pop("with_cffn", True):
        config["cffn_ratio"] = 0
    if kind == "BEiTAdapter":
        assert not config.pop("use_abs_pos_emb", False)
        config.pop("pretrain_size", None)
        return BEiTAdapter(**config)
    assert kind == "ViTAdapter"
    pretrain_size = config.setdefault("pretrain_size", 224)
    # The published code fails otherwise.
    assert config.pop("img_size", pretrain_size) == pretrain_size
    depth = config["depth"]
    windowed = np.broadcast_to(config.pop("window_attn", False), depth)
    sizes = np.broadcast_to(np.array(config.pop("window_size", None), dtype=object), depth)
    windows = [size if used else 0 for used, size in zip(windowed, sizes, strict=True)]
    return ViTAdapter(**config, window_sizes=windows)


def load(module: nn.Module, arrays: dict[str, np.ndarray]) -> None:
    """Strict: every published tensor has a place here and every place a tensor."""
    module.load_state_dict({name: torch.from_numpy(x.copy()) for name, x in arrays.items()})


def record_inner_values(net: AdapterBackbone) -> dict[str, Tensor]:
    """Fills the answer, under the fixtures' names, in the next forward pass."""
    values: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            values[name] = output

        return hook

    def keep_levels(module: nn.Module, args: Any, output: tuple[Tensor, ...]) -> None:
        values.update({f"spm_c{i + 1}": x for i, x in enumerate(output)})

    def keep_tokens(name: str, extra: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            values[f"{name}_x"] = output[:, extra:]
            if extra:
                values[f"{name}_cls"] = output[:, :extra]

        return hook

    net.spm.register_forward_hook(keep_levels)
    for i, (interaction, part) in enumerate(zip(net.interactions, net.slices, strict=True)):
        last_block = net.blocks[part.stop - 1]
        last_block.register_forward_hook(keep_tokens(f"interaction{i}", hasattr(net, "cls_token")))
        last = (interaction.extractor, *interaction.extra_extractors)[-1]
        last.register_forward_hook(keep(f"interaction{i}_c"))
    return values


def check_adapter(arrays: GoldenArrays) -> None:
    meta = arrays.meta
    state = arrays.group("sd/")
    net = adapter_of(meta["config"])
    load(net, state)
    assert sum(p.numel() for p in net.parameters()) == meta["n_params"]
    if "relative_position_index" in arrays:
        assert np.array_equal(net.position_index, arrays["relative_position_index"])

    net.eval()
    inner = record_inner_values(net)
    with torch.no_grad():
        outputs = net(torch.from_numpy(arrays["in/x"])).values()
    check_outputs(outputs, arrays, "out/eval/", meta["eval_fp32_noise"])
    noise = max(meta["eval_fp32_noise"])
    for name, expected in arrays.group("mid/").items():
        assert_close(inner[name], expected, rtol=1e-4, noise=noise, what=f"mid/{name}")
    check_training(arrays, net)
    load(net, state)
    check_gradient_lengths(arrays, net)
    arrays.assert_all_read()


def check_outputs(outputs: Any, arrays: GoldenArrays, prefix: str, noise: list[float]) -> None:
    expected = arrays.group(prefix)
    assert len(expected) == 4
    for x, (name, y), level_noise in zip(outputs, sorted(expected.items()), noise, strict=True):
        assert_close(x.detach(), y, rtol=1e-4, noise=level_noise, what=f"{prefix}{name}")


def weighted_sum(net: AdapterBackbone, arrays: GoldenArrays, dtype: torch.dtype) -> tuple:
    """Input, outputs, and the sum of outputs x cotangents whose gradients are stored."""
    x = torch.from_numpy(arrays["in/x"]).to(dtype).requires_grad_()
    outputs = list(net(x).values())
    cotangents = [torch.from_numpy(arrays[f"in/cotangent{i + 1}"]).to(dtype) for i in range(4)]
    total = sum((y * weight).sum() for y, weight in zip(outputs, cotangents, strict=True))
    return x, outputs, total


def check_training(arrays: GoldenArrays, net: AdapterBackbone) -> None:
    meta = arrays.meta
    net.train()
    x, outputs, total = weighted_sum(net, arrays, torch.float32)
    check_outputs(outputs, arrays, "out/train/", meta["train_fp32_noise"])
    total.backward()
    assert_close(
        x.grad, arrays["grad_in/x"], rtol=1e-4, noise=meta["grad_x_fp32_noise"], what="grad_in/x"
    )
    gradients = {name: p.grad for name, p in net.named_parameters()}
    for name, expected in arrays.group("grad/").items():
        assert_close(gradients[name], expected, rtol=1e-4, what=f"grad/{name}")
    statistics = net.state_dict()
    for name, expected in arrays.group("after_train_step/").items():
        assert_close(statistics[name], expected, rtol=1e-5, what=f"after_train_step/{name}")


def check_gradient_lengths(arrays: GoldenArrays, net: AdapterBackbone) -> None:
    """Of every parameter, in double precision (the published points are float32 all the same)."""
    lengths = arrays.meta["param_grad_l2_norm_float64"]
    net.zero_grad()
    net.double().train()
    _, _, total = weighted_sum(net, arrays, torch.float64)
    total.backward()
    expected = arrays.meta["train_scalar_sum_out_times_cotangent"]
    assert float(total.detach()) == pytest.approx(expected, rel=1e-4, abs=1e-3)
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert set(gradients) == set(lengths)
    for name, length in lengths.items():
        own = float(gradients[name].norm())
        assert own == pytest.approx(length, rel=2e-6, abs=1e-9), f"gradient of {name}"


@pytest.mark.parametrize("kind", ["vit", "beit"])
def test_adapters_match_the_published_ones(kind: str, report: Report) -> None:
    files = golden_files(f"f3_{kind}_adapter_*.safetensors")
    summary = golden_json("f3_backbones.json")["models"]
    for path in files:
        arrays = GoldenArrays(path)
        name = path.stem.removeprefix("f3_")
        assert summary[name]["config"] == arrays.meta["config"], f"{name}: two configs"
        try:
            check_adapter(arrays)
        except AssertionError as error:
            raise AssertionError(f"{path.name}: {error}") from error
    known = {name for name in summary if name.startswith(kind)}
    assert {path.stem.removeprefix("f3_") for path in files} == known
    report(f"{len(files)} {kind} adapters ran ({', '.join(path.stem for path in files)})")


def sizes_of(shapes: np.ndarray, starts: np.ndarray) -> list[tuple[int, int]]:
    """(h, w) of every level, after a look at where the levels should begin."""
    sizes = [(int(h), int(w)) for h, w in shapes]
    areas = [h * w for h, w in sizes]
    assert starts.tolist() == np.cumsum([0, *areas[:-1]]).tolist()
    return sizes


def test_deformable_attention_matches(report: Report) -> None:
    for path in golden_files("f3_msdeform_attn*.safetensors"):
        arrays = GoldenArrays(path)
        assert arrays.meta
        for case, config in arrays.meta.items():
            module = DeformableAttention(
                config["d_model"],
                num_levels=config["n_levels"],
                num_heads=config["n_heads"],
                num_points=config["n_points"],
                value_ratio=config["ratio"],
            )
            if f"{case}/init/sampling_offsets.bias" in arrays:
                expected = arrays[f"{case}/init/sampling_offsets.bias"]
                assert_close(module.sampling_offsets.bias.detach(), expected, rtol=1e-6)
            load(module, arrays.group(f"{case}/sd/"))
            inputs = arrays.group(f"{case}/in/")
            sizes = sizes_of(inputs["spatial_shapes"], inputs["level_start_index"])
            query, feature, points, cotangent = (
                torch.from_numpy(inputs[name])
                for name in ("query", "feat", "reference_points", "cotangent")
            )
            query.requires_grad_(), feature.requires_grad_()
            out = module(query, points, feature, sizes)
            assert_close(out.detach(), arrays[f"{case}/out"], rtol=1e-5, what=f"{case}/out")
            (out * cotangent).sum().backward()
            own = {name: p.grad for name, p in module.named_parameters()}
            own |= {"in/query": query.grad, "in/feat": feature.grad}
            expected = arrays.group(f"{case}/grad/")
            expected |= {f"in/{n}": x for n, x in arrays.group(f"{case}/grad_in/").items()}
            assert set(own) == set(expected)
            for name, gradient in expected.items():
                assert_close(own[name], gradient, rtol=1e-4, what=f"{case}: gradient of {name}")
        arrays.assert_all_read()
        report(f"{len(arrays.meta)} deformable attentions ran ({', '.join(arrays.meta)})")


def test_token_geometry_matches(report: Report) -> None:
    for path in golden_files("f3_deform_inputs*.safetensors"):
        arrays = GoldenArrays(path)
        sizes = sorted({name.split("/")[0] for name in arrays})
        assert sizes
        for size in sizes:
            height, width = map(int, size.split("x"))
            geometry = Geometry.of(torch.zeros(1, 3, height, width))
            # The injector's queries are the transformer's tokens and its values the pyramid's.
            for part, points, levels in (
                ("injector", geometry.grid_points, geometry.pyramid),
                ("extractor", geometry.pyramid_points, (geometry.grid,)),
            ):
                expected = arrays.group(f"{size}/{part}/")
                shapes = sizes_of(expected["spatial_shapes"], expected["level_start_index"])
                assert list(levels) == shapes
                assert_close(points, expected["reference_points"], rtol=1e-7, what=f"{size} {part}")
        arrays.assert_all_read()
        report(f"{len(sizes)} token geometries ran ({', '.join(sizes)})")


def grid_of(table: np.ndarray) -> int:
    """Tokens along a side of the square grid of a table."""
    side = (math.isqrt(len(table) - 3) + 1) // 2
    assert table_rows((side, side)) == len(table)
    return side


def test_relative_position_tables_are_resized_alike(tmp_path: Path, report: Report) -> None:
    cases = golden_json("f3_pretrain_load.json")["rel_pos_cases"]
    for path in golden_files("f3_beit_rel_pos_load*.safetensors"):
        arrays = GoldenArrays(path)
        assert set(arrays.meta) == set(cases)
        for case, described in arrays.meta.items():
            assert described == cases[case]
            sources, targets = arrays.group(f"{case}/src"), arrays.group(f"{case}/dst")
            assert len(sources) == described["src_tables"]
            shared = case.startswith("shared")
            target = grid_of(next(iter(targets.values())))
            for name, expected in targets.items():
                source = torch.from_numpy(sources["0" if shared else name])
                own = resize_table(source, (target, target))
                assert_close(own, expected, rtol=1e-6, what=f"{case}/dst{name}")
            if shared or len(targets) >= 4:
                check_loading(tmp_path, case, sources, targets, target, shared)
        for name, expected in arrays.group("relative_position_index_").items():
            height, width = map(int, name.split("x"))
            assert np.array_equal(relative_position_index((height, width)), expected)
        arrays.assert_all_read()
        report(f"{len(cases)} resized tables ran ({', '.join(cases)})")


def check_loading(
    folder: Path,
    case: str,
    sources: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    target: int,
    shared: bool,
) -> None:
    """The same through a file of weights, into a backbone whose grid fits the adapter, or not."""
    if target % 2:  # no image of multiples of 32 pixels has such a grid
        return
    heads = next(iter(sources.values())).shape[1]
    options = {"embed_dim": 8 * heads, "num_heads": heads, "depth": max(len(targets), 4)}
    options |= {"deform_num_heads": heads, "conv_inplane": 4, "img_size": target * 16}
    state = BEiTAdapter(**options).state_dict()
    state = {n: x for n, x in state.items() if not n.endswith("relative_position_bias_table")}
    if shared:
        state["rel_pos_bias.relative_position_bias_table"] = torch.from_numpy(sources["0"])
    else:
        for i, x in sources.items():
            name = f"blocks.{i}.attn.relative_position_bias_table"
            state[name] = torch.from_numpy(x)
    torch.save({"model": state}, folder / "beit.pth")
    net = BEiTAdapter(**options, weights=str(folder / "beit.pth"))
    for i, block in enumerate(net.blocks):
        expected = targets["0" if shared else str(i)]
        table = block.attn.relative_position_bias_table.detach()
        assert_close(table, expected, rtol=1e-6, what=f"{case}: block {i} after loading")


def test_loading_a_transformer(tmp_path: Path, report: Report) -> None:
    """What the probes of published loading say: tokens and blocks taken, the rest ignored."""
    probes = golden_json("f3_pretrain_load.json")["probes"]
    expected = next(probe["result"] for probe in probes if "result" in probe)
    options = {"embed_dim": 24, "depth": 4, "num_heads": 3, "deform_num_heads": 3}
    options |= {"conv_inplane": 4, "pretrain_size": 64}
    torch.manual_seed(1)
    donor = ViTAdapter(**options)
    state = {name: torch.randn_like(x) for name, x in donor.state_dict().items() if x.ndim}
    published = ("pos_embed", "patch_embed.", "blocks.")
    state = {n: x for n, x in state.items() if n.startswith(published) and ".gamma" not in n}
    state |= {"cls_token": torch.randn(1, 1, 24), "norm.weight": torch.randn(24)}
    state |= {"head.weight": torch.randn(10, 24)}
    torch.save({"model": state}, tmp_path / "deit.pth")
    net = ViTAdapter(**options, weights=str(tmp_path / "deit.pth"))
    qkv = "blocks.2.attn.qkv.weight"
    own = {
        "pos_embed_loaded": torch.equal(net.pos_embed, state["pos_embed"]),
        "qkv_loaded": torch.equal(net.state_dict()[qkv], state[qkv]),
        "gamma1_all_ones": all(bool((block.gamma1 == 1).all()) for block in net.blocks),
    }
    assert own == expected
    report(f"{len(own)} facts of loading hold")


def test_names_and_shapes_of_every_published_backbone(report: Report) -> None:
    files = golden_files("f4_keys/*.json")
    hyper_parameters = golden_json("f8_hyperparameters.json")
    nets: dict[str, AdapterBackbone] = {}
    for path in files:
        keys = json.loads(path.read_text())
        config = find_backbone(hyper_parameters, keys["model"])
        # Entries that share a backbone share the seconds that building it takes.
        net = nets.get(str(config))
        if net is None:
            with torch.device("meta"):
                net = nets[str(config)] = adapter_of(config)
        published = {
            name.removeprefix("backbone."): (shape, kind, dtype)
            for name, (shape, kind, dtype) in keys["state_dict"].items()
            if name.startswith("backbone.")
        }
        index = {n: x for n, x in published.items() if n.endswith(INDEX)}
        for name, (shape, kind, dtype) in index.items():  # one here, which no file holds
            assert (shape, kind) == (list(net.position_index.shape), "buffer"), name
            assert dtype == "int64"
        parameters = dict(net.named_parameters())
        own = {
            name: (
                list(x.shape),
                "param" if name in parameters else "buffer",
                str(x.dtype).removeprefix("torch."),
            )
            for name, x in net.state_dict().items()
        }
        expected = {n: x for n, x in published.items() if n not in index}
        assert set(own) == set(expected), sorted(set(own) ^ set(expected))[:5]
        different = {n: (own[n], x) for n, x in expected.items() if own[n] != x}
        assert not different, f"{path.stem}: {different}"
        total = sum(p.numel() for p in parameters.values())
        assert total == keys["param_counts"]["backbone"], path.stem
        # Loading a published file needs no map, and passes over the indices.
        state = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for name, (shape, _, dtype) in published.items()
        }
        net.load_state_dict(state, assign=True)
    report(f"names, shapes and counts of {len(files)} backbones ran")


def find_backbone(tree: Any, model: str) -> dict[str, Any]:
    """The "backbone" of the entry `model`, wherever it lies in the file."""
    if isinstance(tree, dict):
        if isinstance(tree.get(model), dict) and "backbone" in tree[model]:
            return tree[model]["backbone"]
        for value in tree.values():
            found = find_backbone(value, model)
            if found:
                return found
    return {}


def fresh_adapter(probe: str, shapes: dict[str, list[int]]) -> AdapterBackbone:
    """The network of a probe such as "fresh BEiTAdapter (embed 192, conv_inplane 32, ...)"."""
    width, conv = shapes["pos_embed" if "pos_embed" in shapes else "cls_token"][-1], "conv_inplane"
    points = shapes["interactions.0.extractor.attn.attention_weights.weight"][0]
    config: dict[str, Any] = {
        "type": "BEiTAdapter" if "BEiT" in probe else "ViTAdapter",
        "embed_dim": width,
        conv: shapes["spm.stem.0.weight"][0],
        "depth": 1 + max(int(n.split(".")[1]) for n in shapes if n.startswith("blocks.")),
        # 4 points; the published models give both attentions the same number of heads.
        "deform_num_heads": points // 4,
        "num_heads": points // 4,
        "deform_ratio": shapes["interactions.0.injector.attn.value_proj.weight"][0] / width,
    }
    if "BEiT" in probe:
        table = shapes["blocks.0.attn.relative_position_bias_table"]
        config["num_heads"] = table[1]
        config["img_size"] = 16 * (math.isqrt(table[0] - 3) + 1) // 2
        config["init_values"] = float(re.search(r"init_values ([\d.e-]+)", probe)[1])
    else:
        config["pretrain_size"] = 16 * math.isqrt(shapes["pos_embed"][1] - 1)
    return adapter_of(config)


def test_initial_values_have_the_published_statistics(report: Report) -> None:
    """Constants are equal; means and deviations of random values within five standard errors."""
    probes = golden_json("f3_backbones.json")["probes"]
    fresh = [probe for probe in probes if probe["probe"].startswith("fresh ")]
    assert len(fresh) == 2
    for probe in fresh:
        shapes = {name: shape for name, (shape, _, _) in probe["result"].items()}
        torch.manual_seed(0)
        net = fresh_adapter(probe["probe"], shapes)
        parameters = dict(net.named_parameters())
        assert set(parameters) == set(shapes)
        for name, (shape, mean, std) in probe["result"].items():
            x = parameters[name].detach().double()
            assert list(x.shape) == shape, name
            rounding = 1e-4
            if std == 0:
                assert bool(((x - mean).abs() < rounding).all()), name
                continue
            error = 5 * std * math.sqrt(2 / x.numel()) + rounding
            assert float(x.mean()) == pytest.approx(mean, abs=error), name
            assert float(x.std()) == pytest.approx(std, abs=error), name
    report(f"{len(fresh)} initialisations ran")


def test_drop_path_and_free_sizes_as_probed(report: Report) -> None:
    """The probes whose answer is a number; test_adapters.py has our answers to the others."""
    probes = {p["probe"]: p for p in golden_json("f3_backbones.json")["probes"]}
    small = {"embed_dim": 8, "num_heads": 1, "deform_num_heads": 1, "conv_inplane": 4}
    rates = [p["result"] for name, p in probes.items() if "per-block rates" in name]
    inner = [p["result"] for name, p in probes.items() if "inside the interactions" in name]
    assert len(rates) == len(inner) == 1
    net = ViTAdapter(**small, depth=len(rates[0]), drop_path_rate=max(rates[0]))
    own = [getattr(block.drop_path, "drop_prob", 0.0) for block in net.blocks]
    assert own == pytest.approx(rates[0], abs=1e-6)
    own_inner = {
        name: module.drop_prob
        for name, module in net.named_modules()
        if name.startswith("interactions.") and hasattr(module, "drop_prob")
    }
    assert own_inner == pytest.approx(inner[0])

    shapes = [p["result"] for n, p in probes.items() if "without rel-pos bias, image size" in n]
    assert len(shapes) == 1
    batch, width, *size = shapes[0][0]
    small["embed_dim"] = width
    free = BEiTAdapter(**small, depth=4, img_size=64, use_rel_pos_bias=False).eval()
    images = torch.zeros(batch, 3, *(4 * side for side in size))
    with torch.no_grad():
        assert [list(x.shape) for x in free(images).values()] == shapes[0]
    report(f"{len(rates) + len(inner) + len(shapes)} probes ran")
