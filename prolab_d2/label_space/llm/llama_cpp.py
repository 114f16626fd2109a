"""llama.cpp in this process.

The part of a prompt that all categories share is evaluated once. Its state is kept and restored
before each question, so that an answer depends on the question alone, never on those before it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prolab_d2.device import available_cores
from prolab_d2.errors import ProLabError, first_line
from prolab_d2.files import sha256_of
from prolab_d2.hub import require_hub
from prolab_d2.label_space.gguf import check_gguf, import_llama_cpp, listen_for_errors
from prolab_d2.label_space.llm.base import Answer, Message, Question, Sampling
from prolab_d2.packages import PACKAGE, package_folder

if TYPE_CHECKING:
    from llama_cpp import Llama

__all__ = ["DEFAULT_MODEL", "LlamaCpp"]

DEFAULT_MODEL = "TheBloke/Llama-2-7B-Chat-GGUF:*Q4_K_M.gguf"

_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+?)(?::(?P<pattern>[^:]+))?")
_PATTERN = "*[Qq]4_[Kk]_[Mm].gguf"
# States of shared beginnings that are kept; a prompt of facets has one for each.
_KEPT = 16
# Splits a rendered conversation after its shared part.
_MARK = "\N{OBJECT REPLACEMENT CHARACTER}"


class LlamaCpp:
    """A GGUF model, with its own chat template if it has one."""

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        *,
        threads: int | None = None,
        gpu_layers: int = 0,
        context: int = 2048,
    ) -> None:
        """
        Args:
            model: a GGUF file, "package:NAME" for one that a Python package carries, or
                "OWNER/REPOSITORY:PATTERN" for one on the Hugging Face hub.
            threads: as many as there are cores when left out.
            gpu_layers: how many layers run on the GPU; -1 for all.
            context: tokens of prompt and answer together.
        Raises:
            ProLabError: llama-cpp-python is missing or has no GPU, or the model cannot be found
                or loaded, or it writes no text.
        """
        self._library = import_llama_cpp("a language model in this process")
        if gpu_layers and not self._library.llama_supports_gpu_offload():
            raise ProLabError(
                f"{gpu_layers} layers of the language model cannot run on a GPU, this "
                "llama-cpp-python was built for the CPU only: build it for your GPU, or leave "
                "the layers out"
            )
        threads = threads or available_cores()
        options = {
            "n_ctx": context,
            "n_threads": threads,
            "n_threads_batch": threads,
            "n_gpu_layers": gpu_layers,
            "verbose": False,
        }
        self._llama = self._load(os.fspath(model), options)
        facts = self._llama.metadata
        if facts.get(f"{facts.get('general.architecture')}.attention.causal") == "false":
            raise ProLabError(
                f"{self._llama.model_path} embeds sentences and writes none: give a language model"
            )
        self._context = context
        self._formatter = self._chat_formatter()
        self.can_chat = self._formatter is not None
        path = Path(self._llama.model_path)
        self.provenance: dict[str, Any] = {"llm": path.name, "llm_sha256": sha256_of(path)}
        self._lock = threading.Lock()
        # Tokens of a shared beginning -> state of the model after them.
        self._states: OrderedDict[tuple[int, ...], ctypes.Array] = OrderedDict()

    def answer(self, question: Question, sampling: Sampling) -> Answer:
        """
        Raises:
            ProLabError: the question is too long, or a conversation is meant for a model that
                knows none.
        """
        with self._lock:
            tokens, shared = self._tokens(question)
            room = self._context - question.max_tokens
            if len(tokens) > room:
                raise ProLabError(
                    f"the prompt has {len(tokens)} tokens where the context of {self._context} "
                    f"leaves {max(room, 0)} beside the answer: shorten it, or give the model a "
                    "larger context"
                )
            grammar = None
            if question.grammar is not None:
                grammar = self._grammar(question.grammar)
            self._rewind_to(shared)
            result = self._llama.create_completion(
                tokens,
                max_tokens=question.max_tokens,
                stop=list(question.stop),
                seed=sampling.seed,
                temperature=sampling.temperature,
                repeat_penalty=sampling.repeat_penalty,
                grammar=grammar,
            )
        choice = result["choices"][0]
        return Answer(choice["text"], cut=choice["finish_reason"] == "length")

    def close(self) -> None:
        """Gives back the memory."""
        self._states.clear()
        self._llama.close()

    def _load(self, model: str, options: dict[str, Any]) -> Llama:
        path = _local_file(model)
        if path is None:
            repository, pattern = _hub_name(model)
            path = _cached_file(repository, pattern)
        errors = listen_for_errors()
        try:
            if path is None:
                require_hub(
                    f"the language model {model!r}",
                    "connect once so that it is downloaded, or give the path of a GGUF file",
                )
                with warnings.catch_warnings():
                    # It passes an option to the hub's client that newer ones ignore.
                    warnings.filterwarnings("ignore", message=".*local_dir_use_symlinks.*")
                    return self._library.Llama.from_pretrained(repository, pattern, **options)
            check_gguf(path)
            return self._library.Llama(str(path), **options)
        except ProLabError:
            raise
        except (OSError, ValueError, RuntimeError) as error:
            reason = next(iter(errors), first_line(error))
            raise ProLabError(
                f"cannot load the language model {model} ({reason}): check the "
                "name, or whether the GGUF file is whole and memory is enough"
            ) from error

    def _chat_formatter(self) -> Any:
        """Renders conversations by the model's own template; None where the file has none."""
        template = self._llama.metadata.get("tokenizer.chat_template")
        if template is None:
            return None
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        class Formatter(Jinja2ChatFormatter):
            # Some templates state the date: answers would differ from day to day.
            strftime_now = staticmethod(lambda form: datetime(2024, 1, 1).strftime(form))

        vocabulary = self._library.llama_model_get_vocab(self._llama.model)

        def text(token: int) -> str:
            return (
                ""
                if token == -1
                else self._library.llama_vocab_get_text(vocabulary, token).decode()
            )

        return Formatter(template, text(self._llama.token_eos()), text(self._llama.token_bos()))

    def _tokens(self, question: Question) -> tuple[list[int], tuple[int, ...]]:
        """All tokens, and those at their beginning that belong to the shared part alone."""
        if isinstance(question.prompt, str):
            whole, beginning = question.prompt, question.prompt[: question.shared]
        else:
            *first, last = question.prompt
            marked = last.content[: question.shared] + _MARK
            beginning, found, _ = self._render([*first, Message("user", marked)]).partition(_MARK)
            whole = self._render(question.prompt)
            if not found:
                beginning = ""
        chat = self._formatter is not None and not isinstance(question.prompt, str)
        tokens = self._tokenize(whole, chat)
        # The last token of the beginning may join with what follows.
        shared = self._tokenize(beginning, chat)[:-1]
        return tokens, tuple(shared) if tokens[: len(shared)] == shared else ()

    def _tokenize(self, text: str, chat: bool) -> list[int]:
        # A template writes the token of the beginning itself.
        return self._llama.tokenize(text.encode(), add_bos=not chat, special=chat)

    def _render(self, messages: Sequence[Message]) -> str:
        if self._formatter is None:
            raise ProLabError(
                f"{self.provenance['llm']} has no chat template: use --prompt-style facets, or a "
                "model that was trained for conversations"
            )
        try:
            return self._formatter(messages=_as_dicts(messages)).prompt
        except Exception as error:  # a template may raise anything
            if messages[0].role != "system":
                raise ProLabError(
                    f"the chat template of {self.provenance['llm']} does not take the prompt "
                    f"({error}): use --prompt-style facets, or another model"
                ) from error
        # Some know no system message: the first of the user takes it up.
        system, first, *others = messages
        merged = Message(first.role, f"{system.content.strip()}\n\n{first.content}")
        return self._render([merged, *others])

    def _rewind_to(self, shared: tuple[int, ...]) -> None:
        """Brings the model into the state after the shared beginning, evaluating it if new."""
        llama, library = self._llama, self._library
        llama.reset()
        if not shared:
            return
        state = self._states.pop(shared, None)
        if state is None:
            llama.eval(shared)
            state = (ctypes.c_uint8 * library.llama_state_seq_get_size(llama.ctx, 0))()
            library.llama_state_seq_get_data(llama.ctx, state, len(state), 0)
            while len(self._states) >= _KEPT:
                self._states.popitem(last=False)
        # Restored also right after the evaluation, so that the first question is no exception.
        if not library.llama_state_seq_set_data(llama.ctx, state, len(state), 0):
            raise RuntimeError("llama.cpp cannot restore the state of a prompt")
        self._states[shared] = state
        llama.n_tokens = len(shared)
        llama.input_ids[: len(shared)] = shared

    def _grammar(self, text: str) -> Any:
        """Makes sure that llama.cpp can read a grammar: the library crashes over one it cannot."""
        library = self._library
        vocabulary = library.llama_model_get_vocab(self._llama.model)
        sampler = library.llama_sampler_init_grammar(vocabulary, text.encode(), b"root")
        if not sampler:
            raise ProLabError(f"llama.cpp cannot read the grammar {text!r}: correct it")
        library.llama_sampler_free(sampler)
        return library.LlamaGrammar.from_string(text, verbose=False)


def _local_file(model: str) -> Path | None:
    """The file that is named, or None for a name on the hub."""
    if model.startswith(PACKAGE):
        folder = package_folder(model, "language model")
        files = sorted(folder.rglob("*.gguf"))
        if len(files) != 1:
            raise ProLabError(
                f"language model: {model!r} holds {len(files)} GGUF files, not one: give the path "
                f"of a file below {folder} instead"
            )
        return files[0]
    path = Path(model).expanduser()
    if path.is_file():
        return path
    is_path = path.exists() or model.startswith((".", "/", "~")) or model.endswith(".gguf")
    if is_path and ":" not in model or not _HUB_NAME.fullmatch(model):
        problem = "is a folder" if model and path.is_dir() else "does not exist"
        raise ProLabError(
            f"the language model {model!r} {problem}: give a GGUF file, package:NAME, or "
            f"OWNER/REPOSITORY:PATTERN on the Hugging Face hub, such as {DEFAULT_MODEL}"
        )
    return None


def _hub_name(model: str) -> tuple[str, str]:
    match = _HUB_NAME.fullmatch(model)
    return match["repository"], match["pattern"] or _PATTERN


def _cached_file(repository: str, pattern: str) -> Path | None:
    """The file if it was downloaded before; the library's own loader always asks the hub."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "snapshots")
    files = [path for path in folder.rglob("*.gguf") if fnmatch(path.name, pattern)]
    # Several revisions may hold the same file.
    return files[0] if len({path.resolve() for path in files}) == 1 else None


def _as_dicts(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
