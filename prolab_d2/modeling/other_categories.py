"""The same network, with the same weights in memory, for other categories than the trained ones.

`PropertySegmentor` has each of these functions as a method.

Shapes: N categories.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from prolab_d2.errors import ProLabError
from prolab_d2.label_space import LabelSpace
from prolab_d2.modeling.property_space import PropertySpace
from prolab_d2.modeling.text_space import ConvexCombination, TextSpace

if TYPE_CHECKING:
    from prolab_d2.modeling.property_segmentor import PropertySegmentor

__all__ = ["with_category_offsets", "with_convex_combination", "with_label_space"]


def with_label_space(network: PropertySegmentor, label_space: LabelSpace) -> PropertySegmentor:
    """The same network for other categories.

    Args:
        label_space: its bank and signatures take the place of the trained ones; with text
            supervision, or a convex combination, the embeddings of its categories. With plain
            category supervision it has some of the trained categories.
    Raises:
        ProLabError: a category that category supervision has not trained, or embeddings of
            another width.
    """
    space = network.property_space
    if label_space.embedding_dim != space.embedding_dim:
        raise ProLabError(
            f"the label space has embeddings of {label_space.embedding_dim} numbers and the "
            f"network gives {space.embedding_dim}: build it with the encoder of the training"
        )
    result = _twin(network, label_space)
    result.property_space = PropertySpace.of_label_space(
        label_space,
        similarity=space.similarity,
        temperature=space.temperature,
        normalize_embedding=space.normalize_embedding,
    ).to(network.device)
    if network.supervision == "text":
        embeddings, temperature = label_space.category_embeddings, network.text_space.temperature
        result.text_space = TextSpace(embeddings, temperature).to(network.device)
    elif network.text_space is not None:
        result.text_space = _combination(network, label_space)
    elif network.supervision == "category":
        result.projection = _projection_to(label_space.categories, network)
    return result


def with_category_offsets(network: PropertySegmentor, offsets: Any) -> PropertySegmentor:
    """The same network, with numbers to add to its scores.

    Args:
        offsets: (N,), as `LabelSpace.with_category_offsets` takes them.
    """
    return _twin(network, network.label_space.with_category_offsets(offsets))


def with_convex_combination(
    network: PropertySegmentor, label_space: LabelSpace
) -> PropertySegmentor:
    """A network of category supervision that answers any categories, see `ConvexCombination`.

    Args:
        label_space: with embeddings of its sentences by the encoder of the training.
    Raises:
        ProLabError: another supervision, or a label space without such embeddings.
    """
    if network.supervision != "category":
        raise ProLabError(
            "convex combinations of embeddings need the probabilities of categories: use a "
            "checkpoint trained with MODEL.PROLAB.SUPERVISION category"
        )
    result = _twin(network, label_space)
    result.text_space = _combination(network, label_space)
    return result


def _combination(network: PropertySegmentor, label_space: LabelSpace) -> ConvexCombination:
    if network.text_space is None:
        trained = network.label_space.category_embeddings
    else:  # it has one already, and that alone knows the trained categories
        trained = network.text_space.trained.cpu().numpy()
    return ConvexCombination(trained, label_space.category_embeddings).to(network.device)


def _twin(network: PropertySegmentor, label_space: LabelSpace) -> PropertySegmentor:
    """A network of the same parts; one of them put in place of another leaves the first alone."""
    result = copy.copy(network)
    # A copy shares the dictionary of its parts.
    result._modules = dict(network._modules)
    result.label_space = label_space
    return result


def _projection_to(categories: Sequence[str], network: PropertySegmentor) -> nn.Conv2d:
    """The rows of the projection to category logits for some of the trained categories."""
    trained = network.label_space.categories
    unknown = [name for name in categories if name not in trained]
    if unknown:
        raise ProLabError(
            f"this network knows only the categories that it was trained with, not "
            f"{unknown[0]!r}, MODEL.PROLAB.SUPERVISION is 'category': use a checkpoint trained "
            "with SUPERVISION property"
        )
    rows = [trained.index(name) for name in categories]
    projection = nn.Conv2d(network.projection.in_channels, len(rows), 1, device=network.device)
    projection.load_state_dict(
        {name: value[rows] for name, value in network.projection.state_dict().items()}
    )
    return projection
