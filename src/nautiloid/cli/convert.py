"""`nautiloid convert` and `nautiloid convert merge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from nautiloid.cli import flags
from nautiloid.core.errors import InputError

TEXT = """
Rewrite a model folder: a Hugging Face folder of any supported family into our checkpoint (with model
card, provenance and checksums) and back, in another dtype, or the average of several of one model.

examples:
  nautiloid convert runs/sft-debug/model --to hf --dtype bfloat16 --out exported
  nautiloid convert path/to/hf-folder --to nautiloid --out checkpoints/nano
  nautiloid convert merge runs/a/model runs/b/model --out merged
"""

MERGE_TEXT = """
Average checkpoints of one model in float32, tensor by tensor.

examples:
  nautiloid convert merge runs/a/model runs/b/model --out merged
  nautiloid convert merge a b c --weights 1 1 2 --out merged
"""


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of the verb.

    Args:
        source: Folder of a model, or of a finished run.
        out: Folder to write; an existing model folder there is replaced.
        to: `hf` is what transformers, vLLM and SGLang load; `nautiloid` adds card, provenance, checksums.
        dtype: Of the weights; the folder's when not given.
        stacked_experts: Store the experts of a layer in one tensor.
        max_shard_gb: Largest file in GB.
    """

    source: Positional[Path]
    out: Path
    to: Literal["hf", "nautiloid"] = "hf"
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    stacked_experts: bool = False
    max_shard_gb: float = 5.0


@dataclass(frozen=True, kw_only=True)
class MergeOptions:
    """Options of `convert merge`.

    Args:
        sources: Two or more folders; config, dtype and tokenizer of the last are kept.
        out: Folder to write; an existing model folder there is replaced.
        weights: Shares of the folders; equal when not given.
    """

    sources: Positional[tuple[Path, ...]]
    out: Path
    weights: tuple[float, ...] = ()


def main(argv: Sequence[str], *, verbose: bool) -> int:
    """Run the verb."""
    if argv and argv[0] == "merge":
        return _merge(argv[1:])
    options = flags.parse(ConvertOptions, argv, prog="nautiloid convert", description=TEXT)
    from nautiloid.model.convert import convert

    if options.max_shard_gb <= 0:
        raise InputError("--max-shard-gb", options.max_shard_gb, "use a number above 0")
    out = convert(
        _model(options.source),
        options.out,
        to=options.to,
        dtype=options.dtype,
        per_expert=not options.stacked_experts,
        max_shard_bytes=options.max_shard_gb * 1e9,
    )
    print(out)
    return 0


def _merge(argv: Sequence[str]) -> int:
    options = flags.parse(
        MergeOptions, argv, prog="nautiloid convert merge", description=MERGE_TEXT
    )
    from nautiloid.model.checkpoint import merge

    sources = [_model(path) for path in options.sources]
    card = "# Merged model\n\nThe average of:\n\n" + "".join(f"- {path}\n" for path in sources)
    print(merge(sources, options.out, weights=options.weights or None, card=card))
    return 0


def _model(path: Path) -> Path:
    from nautiloid.train.recipe import model_folder

    return Path(model_folder(str(path), "model"))
