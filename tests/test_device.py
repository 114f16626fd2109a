"""What a program sets up before it computes on a CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

# Prints how many pages the kernel had to find for ten pieces of memory, after some others.
PAGES = """
import resource
import torch

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for _ in range(20):
    torch.empty(2**24).fill_(1)
print(sum(pages() for _ in range(10)))
"""

# Images of one size, then of many others, then of the first again.
SIZES = """
import torch

convolve = torch.nn.Conv2d(4, 4, 3)
with torch.inference_mode():
    for size in [9, *range(10, 330), 9]:
        convolve(torch.zeros(2, 4, size, 9))
"""

tuned_or_not = pytest.mark.parametrize(
    ("call", "tuned"), [("", False), ("tune_cpu()", True), ("tune_cpu(training=True)", True)]
)


def run(program: str, call: str, **environment: str) -> str:
    """What a program prints that begins with a call."""
    program = f"from prolab_d2.device import tune_cpu\n{call}\n{program}"
    usual = {name: value for name, value in os.environ.items() if not _says_the_same(name)}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**usual, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def _says_the_same(name: str) -> bool:
    return name.startswith(("MALLOC_", "GLIBC_", "ONEDNN_"))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
class TestFreedMemory:
    @tuned_or_not
    def test_is_used_again(self, call: str, tuned: bool) -> None:
        pages = int(run(PAGES, call))
        assert pages < 1000 if tuned else pages > 9 * 2**14

    def test_goes_back_where_the_user_says_so(self) -> None:
        asked = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
        assert int(run(PAGES, "tune_cpu()", **asked)) > 9 * 2**14


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")
class TestPreparedSizes:
    """oneDNN says what it prepares anew, and what it finds."""

    def prepared(self, call: str, **environment: str) -> list[str]:
        lines = run(SIZES, call, ONEDNN_VERBOSE="2", **environment).splitlines()
        return [line for line in lines if "create" in line and "convolution" in line]

    def test_the_last_are_kept(self) -> None:
        lines = self.prepared("tune_cpu()")
        assert "cache_miss" in lines[0]
        assert "cache_miss" in lines[-1]

    @pytest.mark.parametrize(
        ("call", "capacity"),
        [("", None), ("tune_cpu(training=True)", None), ("tune_cpu()", "2000")],
    )
    def test_all_are_kept_in_training_or_on_demand(self, call: str, capacity: str | None) -> None:
        asked = {} if capacity is None else {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": capacity}
        lines = self.prepared(call, **asked)
        assert "cache_miss" in lines[0]
        assert "cache_hit" in lines[-1]
