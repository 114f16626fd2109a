"""The fused loss against the same loss written out, and what it must never do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prolab_d2.modeling import PropertySpace, comparisons
from prolab_d2.modeling.losses import LossOptions, banded_loss, target_members
from prolab_d2.modeling.neighbour_products import neighbour_products
from prolab_d2.modeling.resized_length import squared_length_rows
from tests.modeling.dense_loss import dense_loss

# Low resolution to labels: whole factors and odd ones, a single pixel, same size, smaller.
SIZES = [
    ((5, 7), (13, 22)),
    ((6, 8), (24, 32)),
    ((1, 1), (3, 4)),
    ((4, 9), (4, 9)),
    ((9, 11), (4, 5)),
    ((3, 12), (7, 70)),
]
SETTINGS = [
    {"similarity": "cosine_sigmoid", "temperature": 0.04, "normalize": False},
    {"similarity": "cosine_sigmoid", "temperature": 0.3, "normalize": True},
    {"similarity": "cosine", "temperature": 1.0, "normalize": True},
    {"similarity": "cosine", "temperature": 1.0, "normalize": False},
]


def _problem(
    low: tuple[int, int],
    size: tuple[int, int],
    *,
    batch: int = 2,
    dim: int = 6,
    properties: int = 5,
    categories: int = 4,
    ignore_label: int = 255,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(sum(low) + sum(size))
    signatures = torch.rand(categories, properties, generator=generator) < 0.5
    signatures[:, 0] |= ~signatures.any(1)
    labels = torch.randint(0, categories, (batch, *size), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = ignore_label
    labels[0, 0, 0] = 0
    return {
        "embedding": torch.randn(batch, dim, *low, generator=generator, dtype=torch.float64) * 0.3,
        "labels": labels,
        "bank": torch.randn(properties, dim, generator=generator),
        "signatures": signatures,
    }


@pytest.fixture(params=[0, 10**9], ids=["picked", "dense"], autouse=True)
def form_of_cosine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few properties of a category are picked; with many the whole targets are compared."""
    monkeypatch.setattr(comparisons, "_PICKED_SHARE", request.param)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What runs in other threads is not seen by a dispatch mode."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _gradient(loss: Tensor, embedding: Tensor) -> Tensor:
    return torch.autograd.grad(loss, embedding)[0]


def _space(problem: dict[str, Tensor], setting: dict[str, Any]) -> PropertySpace:
    return PropertySpace(
        problem["bank"],
        problem["signatures"],
        similarity=setting["similarity"],
        temperature=setting["temperature"],
        normalize_embedding=setting["normalize"],
    )


def _compare(
    problem: dict[str, Tensor], setting: dict[str, Any], ignore_label: int = 255, **options: Any
) -> None:
    """The loss and gradient of `PropertySpace` are those of the dense loss, in float64."""
    embedding = problem["embedding"].requires_grad_()
    space = _space(problem, setting)
    options["ignore_label"] = ignore_label
    loss = space.loss(embedding, problem["labels"], **options)
    # The bank is divided by its length in float32; the same numbers must enter both.
    expected = dense_loss(
        embedding,
        problem["labels"],
        space.bank.double(),
        problem["signatures"],
        **setting,
        **options,
    )
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    gradient, expected = _gradient(loss, embedding), _gradient(expected, embedding)
    bound = max(1e-10 * expected.abs().max().item(), 1e-15)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=bound)


@pytest.mark.parametrize(("low", "size"), SIZES)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("unlabelled", ["ignore", "count"])
@pytest.mark.parametrize("kind", ["cosine", "mse", "bce"])
def test_value_and_gradient_are_those_of_the_dense_loss(
    low: tuple[int, int], size: tuple[int, int], setting: dict, unlabelled: str, kind: str
) -> None:
    if kind == "bce" and setting["similarity"] == "cosine":
        kind = "cosine"  # "bce" does not exist here
    _compare(_problem(low, size), setting, kind=kind, unlabelled=unlabelled)


@pytest.mark.parametrize("kind", ["cosine", "mse", "bce"])
def test_a_single_property(kind: str) -> None:
    problem = _problem((3, 4), (9, 11), properties=1)
    _compare(problem, SETTINGS[0], kind=kind, unlabelled="count")


def test_300_categories_with_a_16_bit_ignore_label() -> None:
    problem = _problem((4, 5), (17, 19), categories=300, properties=12, ignore_label=65535)
    assert (problem["labels"] == 255).any(), "255 must be a category here"
    for unlabelled in ("ignore", "count"):
        _compare(problem, SETTINGS[0], ignore_label=65535, unlabelled=unlabelled)


def test_memory_format_and_gradient_scale_do_not_matter() -> None:
    problem = _problem((6, 8), (24, 32))
    space = _space(problem, SETTINGS[1])
    plain = problem["embedding"].requires_grad_()
    channels_last = plain.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    first = space.loss(plain, problem["labels"])
    second = 3 * space.loss(channels_last, problem["labels"])
    torch.testing.assert_close(3 * first, second)
    torch.testing.assert_close(3 * _gradient(first, plain), _gradient(second, channels_last))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["cosine", "mse", "bce"])
def test_the_height_of_the_bands_does_not_matter(kind: str, normalize: bool) -> None:
    problem = _problem((7, 10), (30, 41), properties=9)
    logits = torch.randn(2, 9, 7, 10, generator=torch.Generator().manual_seed(0))
    rows = problem["labels"].masked_fill(problem["labels"] == 255, 4)
    products = neighbour_products(problem["embedding"].float())
    lengths = squared_length_rows(products, 41) if normalize else None
    results = []
    for band_entries in (1, 5 * 42 * 9, 11 * 42 * 9, 10**9):
        options = LossOptions(kind, 0.3, True, band_entries=band_entries)
        inputs = [x.detach().requires_grad_() for x in (logits, lengths) if x is not None]
        loss = banded_loss(
            inputs[0],
            rows,
            problem["signatures"].float(),
            options,
            torch.tensor(7.0),
            inputs[1] if normalize else None,
        )
        results.append((loss, *torch.autograd.grad(loss, inputs)))
    for result in results[1:]:
        for part, expected in zip(result, results[0], strict=True):
            scale = expected.detach().abs().max().item()
            torch.testing.assert_close(part, expected, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("normalize", [False, True])
def test_the_number_of_threads_does_not_matter(normalize: bool) -> None:
    problem = _problem((12, 10), (50, 41), properties=9)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 9, 12, 10, generator=generator, dtype=torch.float64)
    rows = problem["labels"].masked_fill(problem["labels"] == 255, 4)
    products = neighbour_products(problem["embedding"])
    lengths = squared_length_rows(products, 41) if normalize else None
    # Tiles of three rows: what threads work on meets within source rows, and inside an image.
    options = LossOptions("cosine", 0.3, True, band_entries=3 * 48 * 9)
    before, results = torch.get_num_threads(), []
    for threads in (1, 2, 5, 20):
        torch.set_num_threads(threads)
        inputs = [x.detach().requires_grad_() for x in (logits, lengths) if x is not None]
        targets = F.normalize(problem["signatures"].double(), dim=1)
        loss = banded_loss(inputs[0], rows, targets, options, torch.tensor(7.0), *inputs[1:])
        results.append((loss, *torch.autograd.grad(loss, inputs)))
    torch.set_num_threads(before)
    for result in results[1:]:
        for part, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(part, expected, rtol=1e-9, atol=1e-12)


def test_backward_twice_gives_the_same_gradient_whatever_its_scale() -> None:
    problem = _problem((6, 8), (24, 32))
    space = _space(problem, SETTINGS[0])
    embedding = problem["embedding"].requires_grad_()
    loss = space.loss(embedding, problem["labels"])
    gradients = [
        torch.autograd.grad(loss, embedding, torch.full_like(loss, scale), retain_graph=True)[0]
        for scale in (1, 2, 1)
    ]
    torch.testing.assert_close(gradients[1], 2 * gradients[0])
    assert torch.equal(gradients[2], gradients[0])


def test_logits_far_below_the_others_cost_no_precision() -> None:
    # Their activations are 1e-300 and less; beside them the resize mixes them with others.
    problem = _problem((6, 8), (24, 32), properties=9)
    logits = torch.randn(2, 9, 6, 8, generator=torch.Generator().manual_seed(0))
    logits[:, ::2, :3] = -40.0
    rows = problem["labels"].masked_fill(problem["labels"] == 255, 4)
    results = []
    for dtype in (torch.float32, torch.float64):
        x = logits.to(dtype, copy=True).requires_grad_()
        targets = F.normalize(problem["signatures"].to(dtype), dim=1)
        loss = banded_loss(x, rows, targets, LossOptions("cosine", 0.04, False), x.new_tensor(7.0))
        results.append((loss, _gradient(loss, x)))
    (single, of_single), (double, of_double) = results
    assert single.item() == pytest.approx(double.item(), rel=1e-5)
    assert (of_single - of_double).abs().max() < 1e-4 * of_double.abs().max()


def test_float32_is_close_to_float64_at_the_smallest_temperature() -> None:
    problem = _problem((8, 8), (32, 32), dim=24, properties=16)
    setting = {"similarity": "cosine_sigmoid", "temperature": 0.01, "normalize": True}
    space = _space(problem, setting)
    exact = problem["embedding"].float().double().requires_grad_()
    single = problem["embedding"].float().requires_grad_()
    losses = [space.loss(x, problem["labels"]) for x in (exact, single)]
    assert losses[1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), abs=1e-6)
    expected, gradient = _gradient(losses[0], exact), _gradient(losses[1], single)
    assert (gradient - expected).abs().max() < 2e-5 * expected.abs().max()


def test_opposite_neighbours_leave_no_exploding_gradient() -> None:
    # Half way between two of them the length is 5e-5, and float32 inner products cannot tell it.
    one = torch.randn(1, 5, 8, 1, generator=torch.Generator().manual_seed(0))
    columns = [one, one, -one * (1 + 1e-4), -one]
    embedding = torch.cat(columns, 3).requires_grad_()
    space = PropertySpace(torch.eye(5), torch.eye(5), "cosine", normalize_embedding=True)
    loss = space.loss(embedding, torch.ones(1, 32, 13, dtype=torch.int64), kind="mse")
    assert 0 < loss.item() < 2
    assert _gradient(loss, embedding).abs().max() < 100


@pytest.mark.parametrize("normalize", [False, True])
def test_a_zero_embedding_has_a_finite_gradient(normalize: bool) -> None:
    embedding = torch.zeros(1, 6, 4, 4, requires_grad=True)
    problem = _problem((4, 4), (16, 16), batch=1)
    space = _space(problem, SETTINGS[0] | {"normalize": normalize})
    loss = space.loss(embedding, problem["labels"])
    assert 0 < loss.item() < 1
    assert _gradient(loss, embedding).isfinite().all()


class Recorder(TorchDispatchMode):
    """Records the operations that run and the shapes of what they compute."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[tuple[int, ...]] = set()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.operations.add(function.name())
        self.shapes |= {tuple(x.shape) for x in tree_leaves(result) if isinstance(x, Tensor)}
        return result

    @property
    def largest(self) -> int:
        return max(torch.Size(shape).numel() for shape in self.shapes)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["cosine", "mse", "bce"])
def test_no_full_size_map_of_properties_embedding_or_categories(
    kind: str, normalize: bool, one_thread: None
) -> None:
    height, width, properties, dim, categories = 256, 256, 32, 40, 97
    problem = _problem(
        (64, 64), (height, width), batch=1, dim=dim, properties=properties, categories=categories
    )
    embedding = problem["embedding"].float().requires_grad_()
    space = _space(problem, SETTINGS[0] | {"normalize": normalize})
    with Recorder() as seen:
        space.loss(embedding, problem["labels"], kind=kind).backward()
    # The largest is the working memory of the bands, bounded whatever the size of the labels.
    assert seen.largest < height * width * properties / 2
    assert not any(categories in shape for shape in seen.shapes if len(shape) > 2)
    tables = [shape for shape in seen.shapes if categories in shape]
    assert all(set(shape) <= {categories, properties} for shape in tables)


def test_members_are_the_properties_of_a_category_filled_up_with_others() -> None:
    targets = torch.tensor([[0, 0.5, 0, 0.5], [1.0, 0, 0, 0], [0, 0, 0, 0]])
    members = target_members(targets)
    assert members.shape == (3, 2)
    assert members[0].tolist() == [1, 3]
    picked = torch.zeros_like(targets).scatter(1, members, targets.gather(1, members))
    assert torch.equal(picked, targets)


@pytest.mark.parametrize("unlabelled", ["ignore", "count"])
def test_unlabelled_pixels_with_tiny_activations_have_no_gradient(unlabelled: str) -> None:
    # Their length is below 1e-8, where it is clamped.
    space = PropertySpace(torch.eye(3), torch.eye(3), temperature=0.04)
    embedding = torch.full((1, 3, 2, 2), -2.0, requires_grad=True)
    labels = torch.full((1, 8, 8), 255)
    loss = space.loss(embedding, labels, unlabelled=unlabelled)
    assert (_gradient(loss, embedding) == 0).all()


def test_nothing_larger_than_the_logits_is_kept_for_backward() -> None:
    problem = _problem((32, 32), (128, 128), batch=1, properties=16)
    logits = torch.randn(1, 16, 32, 32, requires_grad=True)
    rows = problem["labels"].masked_fill(problem["labels"] == 255, 4)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        banded_loss(
            logits,
            rows,
            F.normalize(problem["signatures"].float(), dim=1),
            LossOptions("cosine", 0.04, False),
            torch.tensor(1.0),
        )
    assert max(kept) <= logits.numel()


def test_no_gradient_is_computed_when_none_is_needed(one_thread: None) -> None:
    problem = _problem((5, 7), (13, 22))
    space = _space(problem, SETTINGS[1])
    expected = space.loss(problem["embedding"].requires_grad_(), problem["labels"])
    with torch.no_grad(), Recorder() as seen:
        loss = space.loss(problem["embedding"], problem["labels"])
    assert not loss.requires_grad
    assert loss.item() == expected.item()
    assert not any("backward" in operation for operation in seen.operations)
