"""From one checkpoint file to segmentations that can say why.

    predictor = Predictor.from_checkpoint("output/model_best.pth")
    prediction = predictor("street.jpg")
    print(prediction.explain(120, 80).describe())

Shapes: N categories, H x W image size.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.data.catalog import Metadata
from detectron2.data.detection_utils import convert_PIL_to_numpy
from PIL import Image, ImageOps
from torch import Tensor

from prolab_d2.checkpoint import Checkpoint, read_checkpoint
from prolab_d2.colors import more_colors
from prolab_d2.data import build_augmentations, read_image
from prolab_d2.data.augmentation import build_views, make_views
from prolab_d2.data.packing import channels_first
from prolab_d2.data.reading import eight_bits
from prolab_d2.device import check_device
from prolab_d2.engine import load_config
from prolab_d2.errors import ProLabError
from prolab_d2.explain.unknown import DEFAULT_THRESHOLD
from prolab_d2.label_space import LabelSpace
from prolab_d2.label_space.descriptions import check_descriptions
from prolab_d2.label_space.embedding import Encoder
from prolab_d2.label_space.vocabulary import (
    Vocabulary,
    encoder_of,
    in_trained_properties,
    trained_names,
)
from prolab_d2.modeling.backbones.weights import forget_weights
from prolab_d2.modeling.property_segmentor import PropertySegmentor
from prolab_d2.prediction import Prediction, require_properties
from prolab_d2.visualizer import label_metadata

__all__ = ["Prediction", "Predictor"]

ImageLike = str | PathLike[str] | Image.Image | np.ndarray


class Predictor:
    """Segments images with a trained `PropertySegmentor`; may be called from several threads."""

    def __init__(
        self,
        model: PropertySegmentor,
        cfg: CfgNode,
        colors: Sequence[Sequence[int]] | None = None,
        unknown_threshold: float | None = None,
    ) -> None:
        """
        Args:
            model: is switched to evaluation.
            cfg: its config, for the size and colour order of the input.
            colors: N triples of 0 to 255 to draw with (a background is black); None for those of
                the data sets that the config names, or distinct ones.
            unknown_threshold: of `Prediction.unknown_regions`; None for the default.
        """
        self.model = model.eval()
        self.label_space = model.label_space
        # The trained category that each of the label space is, None for a new one.
        self.trained_as: tuple[str | None, ...] = self.label_space.categories
        if colors is not None and model.background_threshold > 0:
            colors = [(0, 0, 0), *colors]
        self.metadata = _metadata(cfg, model.categories, colors)
        self._property_space = model.property_space if model.has_properties else None
        self._format = cfg.INPUT.FORMAT
        self._augmentations = T.AugmentationList(
            build_augmentations(cfg, False, model.ignore_label)
        )
        self._views = build_views(cfg)
        self.unknown_threshold = (
            DEFAULT_THRESHOLD if unknown_threshold is None else unknown_threshold
        )

    @classmethod
    def from_checkpoint(
        cls,
        path: str | PathLike[str],
        device: str | None = None,
        overrides: Sequence[str] = (),
        *,
        config_file: str | PathLike[str] | None = None,
    ) -> Predictor:
        """Builds the model of a checkpoint; the file alone is enough.

        Args:
            path: written by `train_net.py`.
            device: "cpu", "cuda", ...; None for a GPU where there is one.
            overrides: KEY VALUE pairs of the config, such as ["INPUT.MIN_SIZE_TEST", "512"].
                Another MODEL.PROLAB.LABEL_SPACE also needs ALLOW_OTHER_LABEL_SPACE True.
            config_file: read instead of the config in the checkpoint.
        Raises:
            ProLabError: unusable file, device or override, or a config of another network.
        """
        checkpoint = read_checkpoint(path)
        overrides = list(overrides)
        text = checkpoint.config if config_file is None else None
        cfg = load_config(config_file, overrides, text=text)
        if device is not None or "MODEL.DEVICE" not in overrides[::2]:
            cfg.MODEL.DEVICE = _device(device)
        # The checkpoint's weights take the place of any others.
        forget_weights(cfg)
        cfg.MODEL.PROLAB.CATEGORY_WARMUP_ITERS = 0
        label_space = checkpoint.label_space
        if "MODEL.PROLAB.LABEL_SPACE" in overrides[::2]:
            label_space = _other_label_space(cfg, checkpoint)
        if "MODEL.PROLAB.PROPERTY_WEIGHTS" in overrides[::2]:
            label_space = label_space.with_property_weights(None)
        elif config_file is None:
            # The label space of the checkpoint holds those of its config; the file may be gone.
            cfg.MODEL.PROLAB.PROPERTY_WEIGHTS = ""
        cfg.freeze()
        model = PropertySegmentor(cfg, label_space=label_space)
        checkpoint.load_into(model)
        model.to(device=cfg.MODEL.DEVICE, memory_format=torch.channels_last)
        return cls(model, cfg, checkpoint.colors, checkpoint.unknown_threshold)

    def __call__(self, image: ImageLike) -> Prediction:
        """Segments one image.

        With TEST.AUG.ENABLED the labels come from the views of test-time augmentation, properties
        and explanations from the image as it is.

        Args:
            image: a path, a Pillow image, or an RGB array (H, W, 3) of uint8.
        Raises:
            ProLabError: missing or damaged file, or an array of another kind.
        """
        rgb = _to_rgb(image)
        logits = self.model.predict_logits(self.prepare(rgb))
        with torch.inference_mode():
            if self._views:
                views = make_views(self._in_format(rgb), self._views)
                labels = self.model.predict_labels_of_views(views, rgb.shape[:2])
            else:
                labels = self.model.predict_labels(logits, rgb.shape[:2])
        return Prediction(
            rgb,
            labels.cpu().numpy(),
            self.label_space,
            self.metadata,
            logits,
            self._property_space,
            self.unknown_threshold,
        )

    def prepare(self, rgb: np.ndarray) -> Tensor:
        """What the model reads: (3, H', W') uint8 at test size, channels in INPUT.FORMAT."""
        augmented = T.AugInput(self._in_format(rgb))
        self._augmentations(augmented)
        return channels_first(augmented.image)

    def _in_format(self, rgb: np.ndarray) -> np.ndarray:
        return convert_PIL_to_numpy(Image.fromarray(rgb), self._format)

    def with_vocabulary(
        self,
        new: Mapping[str, Sequence[str]],
        encoder: Encoder | str | None = None,
        *,
        only: bool = False,
    ) -> Predictor:
        """A predictor of the same network that also knows other categories, described in words.

            predictor.with_vocabulary({"letter box": ["bright red", "a slot near the top"]})

        A sentence too far from every property is left out, unless a category has no other ones;
        `growing.describe_extension(result.label_space)` says what became of them.

        Args:
            new: sentences by category.
            encoder: that of the label space, or where it is now (see `load_encoder`); loaded as
                its provenance says when left out.
            only: know the categories of `new` alone. Those of the training among them (by name or
                synonym) keep what they were trained with, whatever their sentences.
        Raises:
            ProLabError: a name is taken, the encoder cannot be loaded or is another one, or the
                model has category supervision.
        """
        space = self.label_space
        new = check_descriptions(new, "new categories")
        if not only:
            taken = {name.lower() for name in space.categories}
            for name in new:
                if name.lower() in taken:
                    raise ProLabError(
                        f"the network has a category {name!r} already: leave it out, or use the "
                        "new categories only"
                    )
        asked = new if only else {**space.descriptions, **new}
        trained_as, _ = trained_names(tuple(asked), space.categories)
        if None in trained_as and (encoder is None or isinstance(encoder, str)):
            encoder = encoder_of(space, name=encoder)
        vocabulary = in_trained_properties(space, asked, encoder)
        trained = dict(zip(space.categories, self.trained_as, strict=True))
        result = copy.copy(self)
        result.model = self.model.with_label_space(vocabulary.label_space)
        result.label_space = vocabulary.label_space
        result.trained_as = tuple(known and trained[known] for known in vocabulary.trained_as)
        result._property_space = result.model.property_space if self._property_space else None
        result.metadata = label_metadata(
            result.model.categories, self._colors_of(vocabulary, len(result.model.categories))
        )
        return result

    def with_category_offsets(self, offsets: np.ndarray | None) -> Predictor:
        """A predictor of the same network that adds something to the scores of its categories.

        New categories hardly ever win against trained ones; offsets that give them a chance come
        from `evaluation.stacking`:

            found = choose_stacking(predictor, predictor.trained_as, ["camvid_sem_seg_train"])
            offsets = found.for_categories(predictor.label_space.categories)
            predictor = predictor.with_category_offsets(offsets)

        Args:
            offsets: (N,), as `LabelSpace.with_category_offsets` takes them; None for none.
        """
        result = copy.copy(self)
        result.model = self.model.with_category_offsets(offsets)
        result.label_space = result.model.label_space
        return result

    def _colors_of(self, vocabulary: Vocabulary, number: int) -> list[tuple[int, int, int]]:
        """Trained categories, and a background, keep their colours; new ones get others."""
        known = dict(zip(self.metadata.stuff_classes, self.metadata.stuff_colors, strict=True))
        background = list(self.metadata.stuff_colors[: number - len(vocabulary.trained_as)])
        kept = [known[name] for name in vocabulary.trained_as if name is not None]
        fresh = iter(more_colors([*background, *kept], vocabulary.trained_as.count(None)))
        return background + [
            next(fresh) if name is None else known[name] for name in vocabulary.trained_as
        ]

    def require_properties(self) -> None:
        """Raises a `ProLabError` if the model has no properties: it explains nothing."""
        require_properties(self._property_space)


def _to_rgb(image: ImageLike) -> np.ndarray:
    """(H, W, 3) uint8, upright."""
    if isinstance(image, (str, PathLike)):
        return read_image(image, "RGB")
    if isinstance(image, Image.Image):
        try:
            return np.asarray(eight_bits(ImageOps.exif_transpose(image)).convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ProLabError(f"unreadable image ({error}): replace it") from error
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        kind = getattr(image, "dtype", type(image).__name__)
        raise ProLabError(f"an image of {kind}: pass a path, a Pillow image or an array of uint8")
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ProLabError(f"an image array of shape {image.shape}: pass (H, W, 3) in RGB order")
    return np.ascontiguousarray(image)


def _device(name: str | None) -> str:
    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    check_device(name)
    return name


def _other_label_space(cfg: CfgNode, checkpoint: Checkpoint) -> LabelSpace:
    """The label space that the config names, if the config also allows it."""
    label_space = LabelSpace.load(cfg.MODEL.PROLAB.LABEL_SPACE)
    same = label_space.hash == checkpoint.label_space.hash
    if not same and not cfg.MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE:
        raise ProLabError(
            f"checkpoint {checkpoint.path} was trained with another label space than "
            f"{cfg.MODEL.PROLAB.LABEL_SPACE}: leave MODEL.PROLAB.LABEL_SPACE out, or add "
            "MODEL.PROLAB.ALLOW_OTHER_LABEL_SPACE True"
        )
    return label_space


def _metadata(
    cfg: CfgNode, categories: Sequence[str], colors: Sequence[Sequence[int]] | None
) -> Metadata:
    """Names of the categories with these colours, or those of the data set if known here."""
    if colors is not None and len(colors) == len(categories):
        return label_metadata(categories, colors)
    for name in (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN):
        known = MetadataCatalog.get(name) if name in MetadataCatalog else None
        if known is not None and len(known.get("stuff_colors", ())) == len(categories):
            return label_metadata(categories, known.stuff_colors)
    return label_metadata(categories)
