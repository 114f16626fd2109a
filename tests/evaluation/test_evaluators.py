"""The evaluators in Detectron2's loop, on masks in files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import SemSegEvaluator as Detectron2Evaluator
from detectron2.evaluation import print_csv_format
from detectron2.utils import comm
from PIL import Image

from prolab_d2 import LabelSpace
from prolab_d2.data.property_annotations import PropertyAnnotations
from prolab_d2.errors import ProLabError
from prolab_d2.evaluation import PropertyEvaluator, SemSegEvaluator
from prolab_d2.evaluation.reporting import sum_over_processes

NAME = "evaluator_test_sem_seg_val"
SIZE = (24, 30)
Register = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    """Writes masks to files and registers them as a data set; gives its records."""

    def _register(
        masks: list[np.ndarray], categories: tuple[str, ...], **metadata: Any
    ) -> list[dict[str, Any]]:
        records = []
        for i, mask in enumerate(masks):
            file = tmp_path / f"mask{i}.png"
            Image.fromarray(mask).save(file)
            height, width = mask.shape
            records.append(
                {
                    "file_name": str(tmp_path / f"image{i}.jpg"),
                    "sem_seg_file_name": str(file),
                    "height": height,
                    "width": width,
                }
            )
        DatasetCatalog.register(NAME, lambda: records)
        values = {"ignore_label": 255, "evaluator_type": "sem_seg"} | metadata
        MetadataCatalog.get(NAME).set(stuff_classes=list(categories), **values)
        return records

    yield _register
    if NAME in DatasetCatalog:
        DatasetCatalog.remove(NAME)
    if NAME in MetadataCatalog.list():
        MetadataCatalog.remove(NAME)


def random_masks(count: int, categories: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    masks = rng.integers(0, categories, size=(count, *SIZE)).astype(np.uint8)
    masks[:, :3] = 255
    return list(masks)


def random_scores(masks: list[np.ndarray], categories: int) -> list[torch.Tensor]:
    """(N, H, W) scores that are right about half of the time."""
    generator = torch.Generator().manual_seed(0)
    scores = []
    for mask in masks:
        truth = torch.from_numpy(np.where(mask == 255, 0, mask).astype(np.int64))
        one_hot = torch.nn.functional.one_hot(truth, categories).permute(2, 0, 1)
        scores.append(0.5 * one_hot + torch.rand(one_hot.shape, generator=generator))
    return scores


def evaluate(evaluator: Any, records: list[dict], outputs: list[dict]) -> dict[str, Any]:
    evaluator.reset()
    for record, output in zip(records, outputs, strict=True):
        evaluator.process([record], [output])
    return evaluator.evaluate()


class TestSemSegEvaluator:
    def test_gives_detectron2s_numbers(self, register):
        masks = random_masks(3, 4)
        records = register(masks, ("sky", "road", "car", "bus"))
        outputs = [{"sem_seg": scores} for scores in random_scores(masks, 4)]
        expected = evaluate(Detectron2Evaluator(NAME), records, outputs)["sem_seg"]
        actual = evaluate(SemSegEvaluator(NAME), records, outputs)["sem_seg"]
        # Its main branch also has boundary metrics.
        shared = [name for name in expected if "B-I" not in name and "Boundary" not in name]
        assert len(shared) == 4 + 2 * 4
        for name in shared:
            assert actual[name] == pytest.approx(expected[name], abs=1e-9), name
        assert actual["mIoU_mmseg"] == pytest.approx(actual["mIoU"])

    def test_labels_and_scores_give_the_same(self, register):
        masks = random_masks(2, 4)
        records = register(masks, ("sky", "road", "car", "bus"))
        scores = random_scores(masks, 4)
        by_scores = evaluate(SemSegEvaluator(NAME), records, [{"sem_seg": s} for s in scores])
        labels = [{"labels": s.argmax(dim=0)} for s in scores]
        assert evaluate(SemSegEvaluator(NAME), records, labels) == by_scores

    def test_mask_of_the_mapper_is_used_when_it_has_the_original_size(self, register):
        masks = random_masks(1, 4)
        records = register(masks, ("sky", "road", "car", "bus"))
        outputs = [{"labels": random_scores(masks, 4)[0].argmax(dim=0)}]
        expected = evaluate(SemSegEvaluator(NAME), records, outputs)
        Path(records[0]["sem_seg_file_name"]).unlink()
        mapped = [records[0] | {"sem_seg": torch.from_numpy(masks[0].astype(np.int64))}]
        assert evaluate(SemSegEvaluator(NAME), mapped, outputs) == expected
        # A resized mask does not do: the file is asked for, and it is gone.
        mapped = [records[0] | {"sem_seg": torch.zeros(12, 15, dtype=torch.int64)}]
        with pytest.raises(ProLabError, match=r"missing mask.*mask0\.png"):
            evaluate(SemSegEvaluator(NAME), mapped, outputs)

    def test_mask_is_found_when_the_mapper_drops_its_name(self, register):
        masks = random_masks(2, 4)
        records = register(masks, ("sky", "road", "car", "bus"))
        mapped = [{"file_name": record["file_name"]} for record in records]
        outputs = [{"labels": scores.argmax(dim=0)} for scores in random_scores(masks, 4)]
        expected = evaluate(SemSegEvaluator(NAME), records, outputs)
        assert evaluate(SemSegEvaluator(NAME), mapped, outputs) == expected

    def test_more_than_255_categories(self, register):
        mask = np.array([[255, 256, 299], [65535, 0, 255]], dtype=np.uint16)
        names = tuple(f"c{i}" for i in range(300))
        records = register([mask], names, ignore_label=65535)
        labels = torch.tensor([[255, 256, 0], [7, 0, 0]])
        results = evaluate(SemSegEvaluator(NAME), records, [{"labels": labels}])["sem_seg"]
        assert results["pACC"] == pytest.approx(100 * 3 / 5)
        assert results["IoU-c255"] == pytest.approx(50)
        assert math.isnan(results["IoU-c7"])

    def test_label_map_of_the_metadata(self, register):
        mask = np.array([[0, 1, 2], [2, 1, 0]], dtype=np.uint8)
        records = register([mask], ("sky", "road"), label_map={0: 255, 1: 0, 2: 1})
        labels = torch.tensor([[1, 0, 1], [0, 0, 0]])
        results = evaluate(SemSegEvaluator(NAME), records, [{"labels": labels}])["sem_seg"]
        assert results["pACC"] == pytest.approx(75)

    def test_mask_of_another_size_is_refused_by_name(self, register):
        records = register(random_masks(1, 4), ("sky", "road", "car", "bus"))
        outputs = [{"labels": torch.zeros(12, 15, dtype=torch.int64)}]
        with pytest.raises(ProLabError, match=r"30 x 24 .* 15 x 12.*mask0\.png"):
            evaluate(SemSegEvaluator(NAME), records, outputs)

    def test_unknown_label_is_refused_by_name(self, register):
        records = register(random_masks(1, 4), ("sky", "road", "car"))
        outputs = [{"labels": torch.zeros(SIZE, dtype=torch.int64)}]
        with pytest.raises(ProLabError, match=r"label id 3 outside.*mask0\.png"):
            evaluate(SemSegEvaluator(NAME), records, outputs)

    def test_predictions_of_a_model_with_more_categories_are_refused(self, register):
        records = register(random_masks(1, 3), ("sky", "road", "car"))
        outputs = [{"labels": torch.full(SIZE, 5)}]
        with pytest.raises(ProLabError, match=r"image0\.jpg.*predicted id 5 outside"):
            evaluate(SemSegEvaluator(NAME), records, outputs)

    def test_image_without_a_mask_is_refused(self, register):
        records = register(random_masks(1, 3), ("sky", "road", "car"))
        del records[0]["sem_seg_file_name"]
        outputs = [{"labels": torch.zeros(SIZE, dtype=torch.int64)}]
        with pytest.raises(ProLabError, match="without a label mask"):
            evaluate(SemSegEvaluator(NAME), records, outputs)

    def test_data_set_without_labelled_pixels_is_refused(self, register):
        records = register([np.full(SIZE, 255, dtype=np.uint8)], ("sky", "road", "car"))
        outputs = [{"labels": torch.zeros(SIZE, dtype=torch.int64)}]
        with pytest.raises(ProLabError, match="no labelled pixel"):
            evaluate(SemSegEvaluator(NAME), records, outputs)

    def test_data_set_without_categories_is_refused(self):
        with pytest.raises(ProLabError, match="stuff_classes"):
            SemSegEvaluator("a_data_set_that_nobody_registered")

    def test_result_file_and_log(self, register, tmp_path, caplog):
        masks = [np.array([[0, 0, 1], [1, 1, 255]], dtype=np.uint8)]
        records = register(masks, ("sky", "road", "car"))
        labels = torch.tensor([[0, 1, 1], [1, 1, 0]])
        folder = tmp_path / "results"
        evaluator = SemSegEvaluator(NAME, output_dir=str(folder))
        with caplog.at_level("INFO"):
            results = evaluate(evaluator, records, [{"labels": labels}])
            print_csv_format(results)
        lines = [line.replace(" ", "") for line in caplog.text.splitlines()]
        assert "|sky|50.00|50.00|40.00|" in lines
        assert "|car|-|-|0.00|" in lines
        assert "mIoU,mIoU_mmseg,fwIoU,mACC,pACC" in caplog.text
        content = json.loads((folder / "sem_seg_metrics.json").read_text())
        assert content["percent"]["mIoU"] == pytest.approx(62.5)
        assert content["images"] == 1 and content["labelled_pixels"] == 5
        road, car = content["categories"][1:]
        assert road["name"] == "road" and road["iou"] == pytest.approx(0.75)
        # NaN is not JSON.
        assert car["iou"] is None and car["labelled_pixels"] == 0
        assert [file.name for file in folder.iterdir()] == ["sem_seg_metrics.json"]

    def test_reset_forgets(self, register):
        masks = random_masks(1, 3)
        records = register(masks, ("sky", "road", "car"))
        right = [{"labels": torch.from_numpy(np.where(masks[0] == 255, 0, masks[0]))}]
        evaluator = SemSegEvaluator(NAME)
        evaluator.process(records, [{"labels": torch.zeros(SIZE, dtype=torch.int64)}])
        assert evaluate(evaluator, records, right)["sem_seg"]["mIoU"] == pytest.approx(100)


class TestPropertyEvaluator:
    @pytest.fixture
    def label_space(self) -> LabelSpace:
        signatures = np.array([[1, 1, 0], [0, 1, 0]], dtype=bool)
        bank = np.eye(3, dtype=np.float32)
        # The third property is expected of no category that occurs.
        signatures = np.vstack([signatures, [0, 0, 1]]).astype(bool)
        names = ("blue", "far away", "on wheels")
        return LabelSpace.from_arrays(("sky", "road", "car"), bank, signatures, names)

    def test_counts_at_the_resolution_of_the_activations(self, register, label_space, tmp_path):
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[4:] = 1
        mask[:4, :4] = 255
        records = register([mask], ("sky", "road", "car"))
        # Labelled cells: (0, 1) sky, (1, 0) and (1, 1) road.
        activations = torch.tensor(
            [[[0.9, 0.8], [0.7, 0.1]], [[0.1, 0.9], [0.9, 0.9]], [[0.9, 0.1], [0.1, 0.1]]]
        )
        evaluator = PropertyEvaluator(NAME, label_space, output_dir=str(tmp_path / "out"))
        results = evaluate(evaluator, records, [{"properties": activations}])["properties"]
        assert results["mIoU"] == pytest.approx(100 * (0.5 + 1) / 2)
        assert results["mAP"] == pytest.approx(100)
        content = json.loads((tmp_path / "out" / "property_metrics.json").read_text())
        blue, _, wheels = content["properties"]
        assert blue["iou"] == 0.5 and blue["pixels"] == 1 and blue["name"] == "blue"
        assert wheels["iou"] is None and wheels["average_precision"] is None
        assert content["pixels"] == 3

    def test_annotations_are_evaluated_beside_the_signatures(self, register, label_space, tmp_path):
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[4:] = 1
        mask[:4, :4] = 255
        regions = np.where(mask == 0, 2, 0)
        regions[4:, 4:] = 1
        # Only one of the two cells of road is far away, which no signature can say; of the other
        # one, region 0, nobody knows whether it is blue.
        truth = np.array([[-1, 0, -1], [0, 1, -1], [1, 1, -1]], dtype=np.int8)
        seen = []

        def read(record, space):
            seen.append((record["file_name"], space))
            return PropertyAnnotations(regions, truth)

        records = register([mask], ("sky", "road", "car"), property_annotations=read)
        activations = torch.tensor(
            [[[0.9, 0.8], [0.7, 0.1]], [[0.1, 0.9], [0.95, 0.9]], [[0.9, 0.1], [0.1, 0.1]]]
        )
        evaluator = PropertyEvaluator(NAME, label_space, output_dir=str(tmp_path / "out"))
        results = evaluate(evaluator, records, [{"properties": activations}])["properties"]
        assert seen == [(records[0]["file_name"], label_space)]
        assert results["mIoU"] == pytest.approx(100 * (0.5 + 1) / 2)
        # Blue: the cells of regions 2 and 1, both right. Far away: 2 of 3, the wrong one first.
        assert results["mIoU_annotated"] == pytest.approx(100 * (1 + 2 / 3) / 2)
        assert results["mAP_annotated"] == pytest.approx(100 * (1 + 2 / 3) / 2)
        content = json.loads((tmp_path / "out" / "property_metrics.json").read_text())
        blue, far, wheels = (entry["annotated"] for entry in content["properties"])
        assert (blue["pixels"], blue["pixels_with"]) == (2, 1)
        assert (far["pixels"], far["pixels_with"]) == (3, 2)
        assert wheels["pixels"] == 0 and wheels["average_precision"] is None

    def test_label_space_of_another_data_set_is_refused(self, register, label_space):
        register([np.zeros((8, 8), dtype=np.uint8)], ("sky", "road"))
        with pytest.raises(ProLabError, match="2 categories, the label space 3"):
            PropertyEvaluator(NAME, label_space)


def test_counts_are_reduced_when_there_are_several_processes(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_backend", lambda: "gloo")
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    counts = np.arange(6).reshape(2, 3)
    assert np.array_equal(sum_over_processes(counts), 2 * counts)
    # The counts of this process stay as they are.
    assert np.array_equal(counts, np.arange(6).reshape(2, 3))


def _sum_in_process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    np.save(f"{folder}/{rank}.npy", sum_over_processes(np.arange(6).reshape(2, 3) + 10 * rank))
    dist.destroy_process_group()


@pytest.mark.slow
def test_counts_of_two_real_processes_are_added_up(tmp_path):
    multiprocessing.spawn(_sum_in_process, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        assert np.load(tmp_path / f"{rank}.npy").tolist() == [[10, 12, 14], [16, 18, 20]]
