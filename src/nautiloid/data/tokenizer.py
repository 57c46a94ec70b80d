"""The tokenizer of a model folder: byte-level BPE, special tokens at fixed ids, the name of its chat grammar."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from nautiloid.core.errors import InputError
from nautiloid.core.files import read_json, write_json, write_text

if TYPE_CHECKING:
    from os import PathLike

    from nautiloid.data.render.base import Renderer

# The published splitter (tiktoken style, Megatron pattern v2): words keep one leading mark, each
# digit stands alone, punctuation takes the newlines and slashes behind it.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
SPLITTER = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+",
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*",
        r"\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)
_GRAMMAR = "nautiloid_grammar"
_PUBLISHED_RESERVED = 1000
_SMALL_RESERVED = 32


class Tokenizer:
    """Text to ids and back, by the files of a Hugging Face folder.

    Args:
        backend: The `tokenizers` object.
        grammar: Name of the chat grammar, a file of `nautiloid.data.render`.
        config: Content of `tokenizer_config.json`.
        template: The folder's own chat template; None writes the grammar's.

    Raises:
        InputError: The grammar is unknown or needs a special token that the vocabulary lacks.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        grammar: str,
        config: Mapping[str, Any] | None = None,
        template: str | None = None,
    ):
        self.grammar = grammar
        self._config = dict(config or {})
        self._template = template
        self._backend = backend
        # Shares the vocabulary but knows no added token, so whatever it reads stays plain text.
        self._plain = Backend(backend.model)
        if backend.normalizer is not None:
            self._plain.normalizer = backend.normalizer
        if backend.pre_tokenizer is not None:
            self._plain.pre_tokenizer = backend.pre_tokenizer
        added = backend.get_added_tokens_decoder()
        self.specials: Mapping[str, int] = {token.content: i for i, token in added.items()}
        self.vocab_size: int = (
            max(backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        )
        self._renderer = _grammar_class(grammar)(self)

    @classmethod
    def load(cls, folder: str | PathLike[str], *, grammar: str | None = None) -> Self:
        """Read `tokenizer.json` and `tokenizer_config.json` of a folder.

        Args:
            folder: A folder saved by us or by Hugging Face libraries.
            grammar: Overrides the recorded grammar; without either, the chat template tells it.

        Raises:
            InputError: A file is missing or damaged, or the grammar is unknown.
        """
        folder = Path(folder)
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(str(path), None, "no such file; name a folder that holds a tokenizer")
        try:
            backend = Backend.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every damage
            raise InputError(str(path), None, f"damaged ({error}); restore or remake it") from None
        config_path = folder / "tokenizer_config.json"
        config = read_json(config_path) if config_path.is_file() else {}
        if not isinstance(config, dict):
            raise InputError(str(config_path), None, "not a JSON object; restore or remake it")
        template_path = folder / "chat_template.jinja"
        template = config.get("chat_template")
        if template_path.is_file():
            template = template_path.read_text(encoding="utf-8")
        template = template if isinstance(template, str) else None
        name = grammar or config.get(_GRAMMAR) or _recognised(template or "")
        if not isinstance(name, str):
            remedy = f"pass grammar= or write {_GRAMMAR} into {config_path.name}"
            known = ", ".join(_grammar_names())
            raise InputError(str(folder), "unknown chat grammar", f"{remedy} (one of {known})")
        return cls(backend, grammar=name, config=config, template=template)

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        grammar: str = "nemotron3",
        *,
        num_reserved: int | None = None,
    ) -> Self:
        """Learn a byte-level BPE vocabulary.

        Special tokens take the first ids, in the published layout of the grammar; the 256 bytes
        follow, then the merges. A small corpus may give fewer merges than asked for.

        Args:
            texts: The corpus; read once.
            vocab_size: Number of ids, special tokens and bytes included.
            grammar: Decides the names of the special tokens.
            num_reserved: Ids kept for special tokens; None takes the published 1000 for
                vocabularies from 65536 on, and 32 below.

        Raises:
            InputError: The vocabulary has no room for the special tokens and the bytes.
        """
        if num_reserved is None:
            num_reserved = _PUBLISHED_RESERVED if vocab_size >= 65536 else _SMALL_RESERVED
        named = {0: "<unk>", 1: "<s>", 2: "</s>", **_grammar_class(grammar).layout}
        if num_reserved <= max(named):
            raise InputError(
                "num_reserved", num_reserved, f"{grammar} needs {max(named) + 1} or more"
            )
        if vocab_size < num_reserved + 256:
            raise InputError("vocab_size", vocab_size, f"use at least {num_reserved + 256}")
        backend = Backend(models.BPE())
        split = pre_tokenizers.Split(Regex(SPLITTER), behavior="isolated")
        as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            show_progress=False,
            special_tokens=[named.get(i, f"<SPECIAL_{i}>") for i in range(num_reserved)],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        backend.train_from_iterator(texts, trainer=trainer)
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "pad_token": "<unk>",
            "add_bos_token": False,
            "add_eos_token": False,
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        }
        return cls(backend, grammar=grammar, config=config)

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the tokenizer files into `folder`, beside whatever it holds.

        A template that came with the loaded folder is kept: published models were trained on it.
        """
        folder = Path(folder)
        config = {k: v for k, v in self._config.items() if k != "chat_template"}
        names = {k: _content(config[k]) for k in _NAMED_TOKENS if config.get(k) is not None}
        write_text(folder / "tokenizer.json", self._backend.to_str(pretty=True))
        write_json(folder / "tokenizer_config.json", {**config, _GRAMMAR: self.grammar})
        write_json(folder / "special_tokens_map.json", names)
        write_text(folder / "chat_template.jinja", self._template or self._renderer.chat_template())

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Ids of `text`; nothing is put before or after.

        Args:
            text: Any text; names of special tokens in it are read as plain text.
            allow_special: Read names of special tokens as those tokens. Only for trusted text.
        """
        backend = self._backend if allow_special else self._plain
        return backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several plain texts, on all cores."""
        return [e.ids for e in self._plain.encode_batch(list(texts), add_special_tokens=False)]

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of plain text and, for each, the range of characters that it covers."""
        encoding = self._plain.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD."""
        if skip_special:
            ids = [i for i in ids if i not in self._special_ids]
        return self._backend.decode(list(ids), skip_special_tokens=False)

    def special(self, name: str) -> int:
        """Id of a special token.

        Raises:
            InputError: The vocabulary has no such token.
        """
        if name not in self.specials:
            raise InputError(
                "special token", name, f"the vocabulary of this {self.grammar} folder lacks it"
            )
        return self.specials[name]

    def token_bytes(self) -> list[bytes]:
        """The bytes that each id stands for in decoded text; the name for special tokens."""
        is_byte_level = "ByteLevel" in repr(self._backend.decoder)  # alone or inside a sequence
        byte_of = _byte_of_character()
        spelled = [b""] * self.vocab_size
        for token, i in self._backend.get_vocab(with_added_tokens=True).items():
            if i in self._special_ids:
                spelled[i] = token.encode()
            elif is_byte_level and byte_of.keys() >= set(token):
                spelled[i] = bytes(byte_of[character] for character in token)
            elif _SPELLED_BYTE.fullmatch(token):
                spelled[i] = bytes.fromhex(token[3:5])
            else:
                spelled[i] = token.replace("\u2581", " ").encode()
        return spelled

    def byte_lengths(self) -> list[int]:
        """UTF-8 bytes that each id stands for (0 for special tokens): turns nats into bits per byte."""
        lengths = [len(spelled) for spelled in self.token_bytes()]
        for i in self._special_ids:
            lengths[i] = 0
        return lengths

    def renderer(self) -> Renderer:
        """The chat grammar, bound to this vocabulary."""
        return self._renderer

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end a generation; the first one also ends a document."""
        return self._renderer.stop_ids

    @property
    def bos_id(self) -> int | None:
        """Id of the token that may open a document; the chat grammars never insert it."""
        return self._named("bos_token")

    @property
    def pad_id(self) -> int:
        """Id that fills what is not read; 0 when the folder names none."""
        pad = self._named("pad_token")
        return 0 if pad is None else pad

    @cached_property
    def special_pattern(self) -> re.Pattern[str]:
        """Matches the name of any special token, the longest first; one group."""
        names = sorted(self.specials, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, names))})" if names else "((?!))")

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(self.specials.values())

    def _named(self, key: str) -> int | None:
        value = self._config.get(key)
        return None if value is None else self.specials.get(_content(value))


_SPELLED_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def _content(token: Any) -> str:
    """Name of a token that a config gives as text or as an object with flags."""
    return str(token["content"]) if isinstance(token, Mapping) else str(token)


def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable spelling of bytes, which byte-level vocabularies are written in."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    spelling = {chr(byte): byte for byte in shown}
    return spelling | {chr(256 + i): byte for i, byte in enumerate(hidden)}


def _grammar_class(name: str) -> type[Renderer]:
    from nautiloid.data.render.base import Renderer

    return Renderer.registry.get(name)


def _grammar_names() -> list[str]:
    from nautiloid.data.render.base import Renderer

    return Renderer.registry.names()


def _recognised(template: str) -> str | None:
    """The grammar with the most marks among those whose marks all stand in a chat template."""
    marks = {name: _grammar_class(name).marks for name in _grammar_names()}
    fitting = [name for name, words in marks.items() if all(word in template for word in words)]
    return max(fitting, key=lambda name: len(marks[name]), default=None)
