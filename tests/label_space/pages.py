"""A label space whose every text would do harm, or be shown wrongly, if it were taken as markup."""

from __future__ import annotations

import numpy as np

from prolab_d2 import LabelSpace

SEPARATORS = "line\u2028and\u2029paragraph\nend\ttab"
NASTY = (
    "<script>window.hurt = 1</script>",
    '"quoted" \'twice\' & </script><img src=x onerror="window.hurt = 1">',
    SEPARATORS,
    "{{data}} {{title}} \\u003c $& \\1",
    "<!-- <script> ]]>",
    "שלום مرحبا 家具 🚲",
    "__proto__",
    "long " * 80,
)


def nasty_space() -> LabelSpace:
    """8 categories, 10 properties, 4 sentences for every category."""
    n, k = len(NASTY), 10
    sentences = {
        name: [f"{name} {i} </script><script>window.hurt = 1</script>" for i in range(4)]
        for name in NASTY
    }
    assigned = (np.arange(4 * n) * 3) % k
    signatures = np.zeros((n, k), dtype=bool)
    signatures[np.repeat(np.arange(n), 4), assigned] = True
    return LabelSpace.from_arrays(
        list(sentences),
        np.random.default_rng(0).normal(size=(k, 6)),
        signatures,
        [f"{NASTY[i % n]} {i}" for i in range(k)],
        sentences,
        {"llm": "<img src=x onerror=alert(1)>", "clustering": {"</script>": ["<b>", 1, None]}},
        property_of_description=assigned,
    )
