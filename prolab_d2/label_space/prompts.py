"""Prompts: files that say how a language model is asked. `prompts/README.md` describes them.

The files lie in the folder of the same name as this module, and a user may copy and edit them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from prolab_d2.errors import ProLabError
from prolab_d2.label_space.category_list import CategoryEntry
from prolab_d2.label_space.llm.base import Message, Question

__all__ = [
    "MAX_LINE",
    "MAX_SENTENCES",
    "PROMPT_STYLES",
    "NamingPrompt",
    "Prompt",
    "Task",
    "load_naming_prompt",
    "load_prompt",
    "shipped_prompts",
]

PROMPT_STYLES = ("chat", "facets")
MAX_SENTENCES = 40
# Characters of a line of an answer; notes of a few words were asked for.
MAX_LINE = 120

_FOLDER = Path(__file__).with_suffix("")
_SUFFIX = ".yaml"
_DEFAULTS = {"chat": "structured", "facets": "facets"}
_NAMING = "naming"
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Generous, since other scripts need more tokens for the same.
_TOKENS_PER_LINE = 40


@dataclass(frozen=True)
class Task:
    """One question about a category, and what its answer is made of.

    Attributes:
        sentences: how many the answer should hold.
        frame: what a phrase of the answer becomes, "made of {answer}"; None where the answer is a
            list of whole lines.
        examples: sentences that the question itself holds, solved for other categories.
    """

    question: Question
    sentences: int
    frame: str | None
    examples: tuple[str, ...]


@dataclass(frozen=True)
class _Example:
    category: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class _Facet:
    """One sentence frame with solved examples; each example has one sentence, the bare answer."""

    frame: str
    sentence: str
    examples: tuple[_Example, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt file, read and checked.

    Attributes:
        name: of a shipped prompt, or the file's name.
        style: one of `PROMPT_STYLES`.
        sha256: of the file's content.
        sentences: how many it asks for.
        temperature: that it was written for.
        repeat_penalty: likewise.
    """

    name: str
    style: str
    sha256: str
    sentences: int
    temperature: float
    repeat_penalty: float
    _system: str = ""
    _question: str = ""
    _examples: tuple[_Example, ...] = ()
    _facets: tuple[_Facet, ...] = ()

    def tasks(self, entry: CategoryEntry, sentences: int) -> list[Task]:
        """The questions about a category that together give `sentences` sentences.

        Raises:
            ProLabError: the prompt cannot give so many.
        """
        most = len(self._facets) if self.style == "facets" else MAX_SENTENCES
        if not 1 <= sentences <= most:
            raise ProLabError(
                f"{sentences} sentences for each category, but the prompt {self.name!r} gives 1 to "
                f"{most}: choose a number in between"
            )
        category = f"{entry.name} ({entry.hint})" if entry.hint else entry.name
        if self.style == "facets":
            return [_facet_task(facet, entry, category) for facet in self._facets[:sentences]]
        return [self._chat_task(entry, category, sentences)]

    def _chat_task(self, entry: CategoryEntry, category: str, sentences: int) -> Task:
        number = {"sentences": str(sentences)}
        messages = [Message("system", _fill(self._system, **number))] if self._system else []
        for example in self._examples:
            lines = "".join(f"- {line}\n" for line in example.sentences[:sentences])
            asked = _fill(self._question, category=example.category, **number)
            messages += [Message("user", asked), Message("assistant", lines)]
        last = _fill(self._question, category=category, **number)
        question = Question(
            prompt=(*messages, Message("user", last)),
            shared=_shared(_fill(self._question, **number)),
            max_tokens=_TOKENS_PER_LINE * sentences,
            grammar=_line_grammar(sentences),
        )
        return Task(question, sentences, None, _foreign(self._examples, entry))


@dataclass(frozen=True)
class NamingPrompt:
    """How a language model is asked for the name of a property."""

    sha256: str
    temperature: float
    repeat_penalty: float
    _system: str
    _question: str
    _examples: tuple[tuple[str, str], ...]

    @property
    def examples(self) -> tuple[str, ...]:
        """The names and the sentences in it."""
        return tuple(part for pair in self._examples for part in pair)

    def question(self, sentences: Sequence[str], chat: bool) -> Question:
        """
        Args:
            chat: a conversation; otherwise a text to be continued.
        """
        asked = [
            _fill(self._question, sentences=text)
            for text in (*(text for text, _ in self._examples), "; ".join(sentences))
        ]
        shared = _shared(self._question.replace("{sentences}", "{category}"))
        answers = [name for _, name in self._examples]
        if not chat:
            pairs = zip(asked, answers, strict=False)
            solved = self._system + "".join(f"\n{text}\nName: {name}\n" for text, name in pairs)
            prompt: str | tuple[Message, ...] = f"{solved}\n{asked[-1]}\nName:"
            return Question(prompt, len(solved) + 1 + shared, 24, stop=("\n",))
        messages = [Message("system", self._system)]
        for text, name in zip(asked, answers, strict=False):
            messages += [Message("user", text), Message("assistant", name)]
        return Question((*messages, Message("user", asked[-1])), shared, 24, stop=("\n",))


def load_prompt(source: str | os.PathLike[str] | None = None, style: str | None = None) -> Prompt:
    """A shipped prompt by name ("structured", "naive", "visual", "facets") or a file by path.

    Args:
        source: "structured" for the style chat and "facets" for the style facets if left out.
        style: must be that of the file if given; "chat" if both are left out.
    Raises:
        ProLabError: unknown name, unreadable file, or a file of another style.
    """
    if style is not None and style not in PROMPT_STYLES:
        raise ProLabError(f"unknown prompt style {style!r}: choose chat or facets")
    path = _find(os.fspath(source) if source is not None else _DEFAULTS[style or "chat"])
    file = _File(path)
    prompt = _read_facets(file) if file.style == "facets" else _read_chat(file)
    if style not in (None, prompt.style):
        raise ProLabError(
            f"the prompt {prompt.name!r} is of the style {prompt.style}, not {style}: choose "
            "another prompt, or leave the style out"
        )
    return prompt


def shipped_prompts() -> list[str]:
    """Names that `load_prompt` knows without a path."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}") if path.stem != _NAMING)


def load_naming_prompt() -> NamingPrompt:
    """The prompt that names properties."""
    file = _File(_FOLDER / f"{_NAMING}{_SUFFIX}")
    pairs = [
        ("; ".join(file.texts(entry["sentences"], "sentences")), entry["name"])
        for entry in file.entries("examples")
    ]
    return NamingPrompt(
        file.sha256,
        file.number("temperature", 0, 2),
        file.number("repeat_penalty", 0.5, 2),
        file.text("system").strip(),
        file.text("question", needs="sentences").strip(),
        tuple(pairs),
    )


def _find(source: str) -> Path:
    if source in shipped_prompts():
        return _FOLDER / f"{source}{_SUFFIX}"
    path = Path(source).expanduser()
    if not source or not path.is_file():
        raise ProLabError(
            f"there is no prompt {source!r}: give a file, or one of {', '.join(shipped_prompts())}"
        )
    return path


class _File:
    """Reads values out of a prompt file; whatever does not fit is a `ProLabError` naming it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = path.read_bytes()
            self._data = yaml.safe_load(content.decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ProLabError(
                f"cannot read the prompt {path} ({reason}): correct it, or copy one from {_FOLDER}"
            ) from error
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name = path.stem if path.parent == _FOLDER else path.name
        if not isinstance(self._data, dict):
            raise self.error("it is no list of keys and values")
        self.style = self._data.get("style")
        if self.style not in (*PROMPT_STYLES, _NAMING):
            raise self.error(f"its style is {self.style!r}, not chat or facets")

    def error(self, what: str) -> ProLabError:
        return ProLabError(f"{self._path}: {what}: correct it, or copy a prompt from {_FOLDER}")

    def allow(self, *keys: str) -> None:
        unknown = sorted(map(str, self._data.keys() - {"style", *keys}))
        if unknown:
            raise self.error(f"the key {unknown[0]!r} means nothing here")

    def number(self, key: str, low: float, high: float) -> float:
        value = self._data.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(f"{key!r} must be a number")
        if not low <= value <= high:
            raise self.error(f"{key!r} is {value}, not from {low} to {high}")
        return value

    def text(self, key: str, needs: str | None = None, optional: bool = False) -> str:
        value = self._data.get(key, "" if optional else None)
        known = {"sentences", needs} if needs else {"sentences"}
        return self.template(value, repr(key), known, needs)

    def template(self, value: Any, what: str, known: set[str], needs: str | None) -> str:
        """A text with placeholders."""
        if not isinstance(value, str) or (needs and not value.strip()):
            raise self.error(f"{what} must be a text")
        found = _PLACEHOLDER.findall(value)
        unknown = [name for name in found if name not in known]
        if unknown:
            raise self.error(f"{what} holds {{{unknown[0]}}}, which nothing is put in for")
        if needs and found.count(needs) != 1:
            raise self.error(f"{what} must hold {{{needs}}} once")
        return value

    def entries(self, key: str) -> list[dict[str, Any]]:
        value = self._data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self.error(f"{key!r} must be a list of entries with keys and values")
        return value

    def texts(self, value: Any, what: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not value:
            raise self.error(f"{what!r} of an example must be a list of sentences")
        return tuple(self.line(item, what) for item in value)

    def line(self, value: Any, what: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"{what!r} of an example is {value!r}, not a text; put it in quotes")
        return " ".join(value.split())


def _read_chat(file: _File) -> Prompt:
    if file.style != "chat":
        raise file.error(f"its style is {file.style!r}, not chat or facets")
    file.allow("sentences", "temperature", "repeat_penalty", "system", "question", "examples")
    examples = [
        _Example(
            file.line(entry.get("category"), "category"),
            file.texts(entry.get("sentences"), "sentences"),
        )
        for entry in file.entries("examples")
    ]
    return Prompt(
        file.name,
        "chat",
        file.sha256,
        int(file.number("sentences", 1, MAX_SENTENCES)),
        file.number("temperature", 0, 2),
        file.number("repeat_penalty", 0.5, 2),
        _system=file.text("system", optional=True).strip(),
        _question=file.text("question", needs="category").strip(),
        _examples=tuple(examples),
    )


def _read_facets(file: _File) -> Prompt:
    file.allow("temperature", "repeat_penalty", "facets")
    facets = []
    for entry in file.entries("facets"):
        frame = file.template(entry.get("frame"), "a frame", {"category"}, "category").strip()
        sentence = file.template(entry.get("sentence"), "a sentence", {"answer"}, "answer")
        examples = entry.get("examples")
        if not isinstance(examples, Mapping) or not examples:
            raise file.error(f"the frame {frame!r} has no examples by category")
        pairs = [
            _Example(file.line(category, "examples"), (file.line(answer, "examples"),))
            for category, answer in examples.items()
        ]
        facets.append(_Facet(frame, sentence.strip(), tuple(pairs)))
    if not facets:
        raise file.error("it has no facets")
    return Prompt(
        file.name,
        "facets",
        file.sha256,
        len(facets),
        file.number("temperature", 0, 2),
        file.number("repeat_penalty", 0.5, 2),
        _facets=tuple(facets),
    )


def _facet_task(facet: _Facet, entry: CategoryEntry, category: str) -> Task:
    solved = "".join(
        f"{_fill_frame(facet.frame, example.category)} {example.sentences[0]}\n"
        for example in facet.examples
    )
    question = Question(
        prompt=solved + _fill_frame(facet.frame, category),
        # Without the article, which depends on the category.
        shared=len(solved) + _shared(re.sub(r"\ba (?=\{category\})", "", facet.frame)),
        max_tokens=_TOKENS_PER_LINE,
        stop=("\n", "."),
    )
    examples = _foreign(facet.examples, entry)
    return Task(
        question, 1, facet.sentence, tuple(_fill(facet.sentence, answer=line) for line in examples)
    )


def _fill_frame(frame: str, category: str) -> str:
    if category[:1].lower() in "aeiou":
        frame = re.sub(r"\b([aA]) (?=\{category\})", r"\1n ", frame)
    return _fill(frame, category=category)


def _fill(template: str, **values: str) -> str:
    """Puts values in for their placeholders; braces in values stay as they are."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _shared(template: str) -> int:
    """How many characters come before the category."""
    return template.index("{category}")


def _foreign(examples: Sequence[_Example], entry: CategoryEntry) -> tuple[str, ...]:
    """Sentences about other categories than this one."""
    return tuple(
        line
        for example in examples
        if example.category.lower() != entry.name.lower()
        for line in example.sentences
    )


def _line_grammar(lines: int) -> str:
    """GBNF for so many lines, each with "- " in front."""
    return f'root ::= line{{{lines}}}\nline ::= "- " [^ \\n*#-] [^\\n]{{2,{MAX_LINE - 1}}} "\\n"\n'
