"""What is in an answer of a language model: sentences that can be used, and known faults.

Small models fail in ways that repeat: they copy an example, say the same again and again, or say
of every category what they would say of a word that means nothing.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from prolab_d2.label_space.llm.base import Answer
from prolab_d2.label_space.prompts import MAX_LINE, Task

__all__ = [
    "COPIED",
    "EMPTY",
    "ENDLESS",
    "GENERIC",
    "NAMES_ITSELF",
    "REFUSED",
    "REPEATED",
    "Findings",
    "distinct_lines",
    "judge",
    "normalize",
    "read_name",
]

EMPTY = "no sentence in the answer"
REPEATED = "sentence repeated"
COPIED = "example copied"
GENERIC = "same as for a word without meaning"
NAMES_ITSELF = "describes the category by its own name"
ENDLESS = "text without end"
REFUSED = "refusal"

_MAX_NAME_WORDS = 6
# Characters; a small model that does not stop in time has lost the thread.
_MAX_PHRASE = 80
_ALMOST_EQUAL = 0.9
# Two words may well be the same for two categories ("dark grey"), a longer phrase hardly.
_MIN_COPIED_WORDS = 3
_BULLET = re.compile(r"^\s*(?:[-*•·–—+>]+|\(?\d{1,2}[.):](?!\d)|[a-z]\))\s*")
_LABEL = re.compile(r"^(?:[^\W\d_][\w ,&/'-]{2,40})[:：]\s+(?=\S)")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|not (?:sure|familiar|able))|i (?:cannot|can't|don't know)|"
    r"as an ai\b|language model)",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"\s*,\s*(?:(?:and|or)\s+)?|\s+(?:and|or)\s+")
_FILLERS = {"a", "an", "the", "some", "of", "this", "that", "is", "are", "it", "its", "other"}


@dataclass
class Findings:
    """`sentences` in the order of the answer, without equal ones; `faults` with their numbers."""

    sentences: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)


def judge(
    task: Task, answer: Answer, category: str, generic: Collection[str] = frozenset()
) -> Findings:
    """Reads the answer to a question about a category.

    Args:
        generic: normalised sentences that the model says of a word that means nothing.
    """
    found = Findings()
    text = _clean(answer.text)
    if task.frame is None:
        candidates = _lines(text, answer.cut, found)
    else:
        candidates = [_phrase(text, answer.cut, category, found)]
    examples = {normalize(line) for line in task.examples}
    seen: set[str] = set()
    for candidate in filter(None, candidates):
        sentence = (task.frame or "{answer}").replace("{answer}", candidate)
        key = normalize(sentence)
        fault = _fault(candidate, key, category, task, examples)
        if fault is None and key in generic:
            fault = GENERIC
        if fault is None and key in seen:
            fault = REPEATED
        seen.add(key)
        if fault is None:
            found.sentences.append(sentence)
        else:
            found.faults[fault] += 1
    if not found.sentences and not found.faults:
        found.faults[EMPTY] += 1
    return found


def _fault(
    candidate: str, key: str, category: str, task: Task, examples: Collection[str]
) -> str | None:
    """What is wrong with a sentence taken by itself."""
    if _says_nothing(candidate, category):
        return NAMES_ITSELF
    if len(candidate) >= (MAX_LINE if task.frame is None else _MAX_PHRASE) or _loops(candidate):
        return ENDLESS
    if _REFUSAL.search(candidate):
        return REFUSED
    return COPIED if _is_copy(candidate, key, examples) else None


def normalize(text: str) -> str:
    """Words in lower case, without punctuation, for comparisons."""
    return " ".join(re.findall(r"[\w'-]+", text.lower()))


def read_name(answer: Answer, examples: Collection[str] = ()) -> str | None:
    """The name of a property in an answer, or None when it holds none of at most 6 words.

    Args:
        examples: texts that the question holds; a name must not be copied from them.
    """
    lines = [_BULLET.sub("", line) for line in _clean(answer.text).splitlines() if line.strip()]
    name = re.sub(r"^name\s*:\s*", "", lines[0], flags=re.IGNORECASE) if lines else ""
    name = _trim(name)
    words = name.split()
    if answer.cut or not 1 <= len(words) <= _MAX_NAME_WORDS or len(name) > 60:
        return None
    if not any(map(str.isalpha, name)) or _loops(name) or _REFUSAL.search(name):
        return None
    key, texts = normalize(name), [normalize(text) for text in examples]
    copied = key in texts or (
        len(words) >= _MIN_COPIED_WORDS and any(f" {key} " in f" {text} " for text in texts)
    )
    return None if copied else name


def _clean(text: str) -> str:
    """Without the thoughts of reasoning models, and without characters that no file takes."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL)
    text = text.encode("utf-8", "ignore").decode()
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


def _lines(text: str, cut: bool, found: Findings) -> list[str]:
    """The lines of a list, whatever stands in front of each; or of a JSON list of texts."""
    lines = _from_json(text)
    if lines is None:
        lines = text.splitlines()
        if cut and lines and not text.endswith("\n"):
            lines.pop()
            found.faults[ENDLESS] += 1
        marked = [line for line in lines if _BULLET.match(line)]
        # Where some lines are marked, the others are introductions and closing words.
        lines = marked or [line for line in lines if not line.rstrip().endswith((":", "："))]
    lines = [_trim(_BULLET.sub("", line)) for line in lines]
    lines = [_trim(_LABEL.sub("", line)) for line in lines]
    return [line for line in lines if len(normalize(line)) > 2 and not line.endswith((":", "："))]


def _from_json(text: str) -> list[str] | None:
    text = re.sub(r"^\s*```\w*\n|\n```\s*$", "", text)
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if isinstance(data, dict) and len(data) == 1:
        data = next(iter(data.values()))
    if not isinstance(data, list):
        return None
    return [line for line in data if isinstance(line, str)]


def _trim(line: str) -> str:
    """Without emphasis, quotes around the whole and the stop at the end."""
    line = " ".join(line.replace("**", "").replace("__", "").split())
    line = line.strip("*_` ").rstrip(" .;,")
    for first, last in (('"', '"'), ("'", "'"), ("“", "”")):
        if len(line) > 1 and line[0] == first and line[-1] == last:
            line = line[1:-1].strip(" .;,")
    return line


def _phrase(text: str, cut: bool, category: str, found: Findings) -> str:
    """The continuation of a frame, without items that come again or name the category itself."""
    text = _trim(text)
    items = _SEPARATOR.split(text)
    if cut:
        items.pop()
    kept: list[str] = []
    for item in items:
        key = _content(item)
        if any(key == _content(other) for other in kept):
            break
        if not _ends_with_name(item, category):
            kept.append(item)
    if not kept:
        found.faults[ENDLESS if cut else NAMES_ITSELF if text else EMPTY] += 1
        return ""
    if len(kept) == len(items) and not cut:
        return text
    conjunction = "or" if re.search(r"\bor\b", text) else "and"
    return f" {conjunction} ".join(filter(None, (", ".join(kept[:-1]), kept[-1])))


def _content(text: str) -> str:
    return " ".join(word for word in normalize(text).split() if word not in _FILLERS)


def _says_nothing(text: str, category: str) -> bool:
    """Whether only words of the category's name are left, in the singular or plural."""
    words = _content(text).split()
    name = normalize(category).split()
    return all(word in name or word.removesuffix("s") in name for word in words)


def _ends_with_name(text: str, category: str) -> bool:
    """ "stands on a fence" says nothing of a fence; but a car is found in a "car park"."""
    words, name = _content(text).split(), _content(category)
    if not words:
        return True
    ending = " ".join(words[-len(name.split()) :]) if name else None
    return ending in (name, f"{name}s", f"{name}es") or _says_nothing(text, category)


def _loops(text: str) -> bool:
    """Whether one to four words come three times in a row, or items of a list come again."""
    words = normalize(text).split()
    for size in range(1, 5):
        for start in range(len(words) - 3 * size + 1):
            part = words[start : start + size]
            if part * 3 == words[start : start + 3 * size]:
                return True
    items = [_content(item) for item in text.split(",")]
    return len(items) > 3 and max(Counter(items).values()) > 2


def _is_copy(candidate: str, key: str, examples: Collection[str]) -> bool:
    if len(normalize(candidate).split()) < _MIN_COPIED_WORDS:
        return False
    matcher = difflib.SequenceMatcher(b=key)
    for example in examples:
        matcher.set_seq1(example)
        # Cheap upper bounds first.
        if all(
            ratio() >= _ALMOST_EQUAL
            for ratio in (matcher.real_quick_ratio, matcher.quick_ratio, matcher.ratio)
        ):
            return True
    return False


def distinct_lines(lines: Iterable[str]) -> list[str]:
    """Lines that say different things, the first of equal ones."""
    return list({normalize(line): line for line in reversed(list(lines))}.values())[::-1]
