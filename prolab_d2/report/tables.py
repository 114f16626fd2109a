"""Evidence and contrasts as HTML tables with bars.

Classes are styled by the page that shows them: `report.css`, or the explorer's style.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prolab_d2.explain import Changes, Contrast, Evidence, Explanation, Term
from prolab_d2.markup import escape
from prolab_d2.report.bars import bar, diverging_bar

__all__ = ["LONGEST_NAME", "ROWS", "contrast_table", "evidence_tables", "short_name"]

ROWS = 6
LONGEST_NAME = 160

# HTML to put beside the name of a property, given its index.
More = Callable[[int], str]


def short_name(text: str) -> str:
    return escape(text, LONGEST_NAME)


def evidence_tables(explanation: Explanation, more: More | None = None) -> str:
    """What speaks for a category, what is missing and what is unexpected, `ROWS` of each."""
    absent = set(explanation.missing)
    present = [item for item in explanation.evidence if item not in absent]
    items = (*explanation.evidence, *explanation.unexpected)
    longest, full = max((item.activation for item in items), default=0.0), explanation.full_share
    return "".join(
        (
            _table("What speaks for it: shares of the score", present, full, "supports", more),
            _table("Expected, but not seen", explanation.missing, full, "missing", more),
            _table("Seen, but not expected", explanation.unexpected, longest, "opposes", more),
        )
    )


def _table(
    heading: str, items: Sequence[Evidence], longest: float, kind: str, more: More | None
) -> str:
    if not items:
        return ""
    values = [item.activation if kind == "opposes" else item.share for item in items[:ROWS]]
    rows = [
        _row(bar(value / longest if longest > 0 else 0, kind), f"{value:.3f}", item, more)
        for item, value in zip(items, values, strict=False)
    ]
    return f"<h4>{heading}</h4><table>{''.join(rows)}{_rest(len(items) - ROWS)}</table>"


def _row(drawn: str, number: str, item: Evidence | Term, more: More | None) -> str:
    # What is shown beside a name must be reached without a mouse, too.
    start = "<tr>" if more is None else '<tr class="property" tabindex="0">'
    beside = "" if more is None else more(item.index)
    return f"{start}<td>{drawn}</td><td>{number}</td><td>{short_name(item.name)}{beside}</td></tr>"


def _rest(count: int) -> str:
    return (
        f'<tr><td></td><td></td><td class="muted">and {count} more</td></tr>' if count > 0 else ""
    )


def contrast_table(contrast: Contrast, changes: Changes | None, more: More | None = None) -> str:
    """Why one category and not the other, and what would change that."""
    terms = [term for term in contrast.terms if not (term.in_category and term.in_other)]
    strongest = max((term.activation for term in contrast.terms), default=0.0)
    longest = max((abs(strongest * term.weight) for term in terms), default=0.0) or 1.0
    rows = []
    for term in terms[: 2 * ROWS]:
        drawn = diverging_bar(term.difference / longest, strongest * term.weight / longest)
        rows.append(_row(drawn, f"{term.difference:+.3f}", term, more))
    rows.append(_rest(len(terms) - 2 * ROWS))
    text = (
        f"<h4>Why not <bdi>{short_name(contrast.other)}</bdi></h4>"
        f'<p class="muted">{contrast.score:.3f} &minus; {contrast.other_score:.3f} = '
        f"{contrast.difference_text}; to the right: only "
        f"<bdi>{short_name(contrast.category)}</bdi> has it, to the left: only "
        f"<bdi>{short_name(contrast.other)}</bdi></p><table>{''.join(rows)}</table>"
    )
    if changes is not None and changes.changes:
        wanted = [
            f"<li>{'seen' if change.appears else 'not seen'}: {short_name(change.name)}</li>"
            for change in changes.changes[:ROWS]
        ]
        if len(changes.changes) > ROWS:
            wanted.append(f"<li>and {len(changes.changes) - ROWS} more</li>")
        text += (
            f"<h4>It would be <bdi>{short_name(changes.category)}</bdi> with</h4>"
            f"<ul>{''.join(wanted)}</ul>"
        )
    return text
