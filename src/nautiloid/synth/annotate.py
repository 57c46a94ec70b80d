"""Hugging Face models that score or embed texts, as a process that answers JSON lines.

`curate` starts it: `python -m nautiloid.synth.annotate score --model DIR`. A first line says that
the model is loaded; then each line `{"texts": [...]}` on the standard input is answered by
`{"results": [...]}` or `{"error": "..."}` on the standard output. It ends when its input does.
Weights are safetensors, nothing is downloaded and no code of the folder is run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

import torch
from torch import Tensor

from nautiloid.core.errors import InputError, missing_extra


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How a long text is cut.

    Args:
        max_tokens: Tokens of a window with its special ones.
        max_windows: Most windows of a text, spread evenly.
        batch: Windows that go through the model at once.
    """

    max_tokens: int
    max_windows: int
    batch: int = 32


class Model:
    """A loaded model and its tokenizer.

    Args:
        folder: Of the model.
        task: `score` wants a head with one output, `embed` averages hidden states.
        max_tokens: Tokens of a window; None is what the model was made for.
    """

    def __init__(
        self,
        folder: str,
        task: Literal["score", "embed"],
        *,
        device: str = "cpu",
        dtype: str = "float32",
        max_tokens: int | None = None,
        max_windows: int = 8,
    ):
        try:
            import transformers
        except ModuleNotFoundError:
            raise missing_extra("transformers", "annotate") from None
        kind = {
            "score": transformers.AutoModelForSequenceClassification,
            "embed": transformers.AutoModel,
        }[task]
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True
            )
            self.model: Any = kind.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=getattr(torch, dtype)
            )
        except (OSError, ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0][:300]
            raise InputError(folder, None, f"cannot be loaded: {first}") from error
        if task == "score" and self.model.config.num_labels != 1:
            found = f"{self.model.config.num_labels} outputs"
            raise InputError(folder, found, "use a classifier trained as a regression: one output")
        self.task = task
        self.device = torch.device(device)
        self.model.to(self.device).eval()
        known = getattr(self.model.config, "max_position_embeddings", None) or 512
        if self.model.config.model_type in ("roberta", "xlm-roberta", "camembert"):
            known -= 2  # their positions start behind the padding index
        self.windows = Windows(max_tokens=max_tokens or min(known, 512), max_windows=max_windows)
        if self.windows.max_tokens > known:
            raise InputError("max_tokens", max_tokens, f"the model takes at most {known}")
        special = self.tokenizer.num_special_tokens_to_add()
        if self.windows.max_tokens <= special:
            raise InputError("max_tokens", max_tokens, f"use more than {special}")

    def cut(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Windows of token ids with special ones, and how many each text has."""
        encoded = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=self.windows.max_tokens,
            return_overflowing_tokens=True,
        )
        found: list[list[list[int]]] = [[] for _ in texts]
        owners = encoded["overflow_to_sample_mapping"]
        for ids, owner in zip(encoded["input_ids"], owners, strict=True):
            found[owner].append(ids)
        most = self.windows.max_windows
        for index, parts in enumerate(found):
            if len(parts) > most:
                step = (len(parts) - 1) / max(most - 1, 1)
                chosen = range(most) if most > 1 else (0.5,)
                found[index] = [parts[round(step * i)] for i in chosen]
        return [ids for parts in found for ids in parts], [len(parts) for parts in found]

    @torch.inference_mode()
    def run(self, texts: Sequence[str]) -> list[Tensor]:
        """Outputs a window, stacked for each text: `[windows, 1]` scores or `[windows, D]` states.

        Windows of like length share a batch; padding is masked, so the batch does not matter but
        for rounding.
        """
        rows, counts = self.cut(texts)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        outputs: list[Tensor | None] = [None] * len(rows)
        for first in range(0, len(order), self.windows.batch):
            chosen = order[first : first + self.windows.batch]
            for index, output in zip(chosen, self._batch([rows[i] for i in chosen]), strict=True):
                outputs[index] = output
        flat = torch.stack([output for output in outputs if output is not None])
        return list(flat.split(counts))

    def _batch(self, rows: Sequence[list[int]]) -> Tensor:
        width = max(map(len, rows))
        padding = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [padding] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        output = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        if self.task == "score":
            return output.logits.float().cpu()
        hidden = output.last_hidden_state.float()
        weight = mask.to(self.device).unsqueeze(-1)
        return ((hidden * weight).sum(1) / weight.sum(1).clamp(min=1)).cpu()


def answer(model: Model, texts: Sequence[str], pool: str) -> list[Any]:
    """A number or a vector of length 1 for each text."""
    if not texts:
        return []
    outputs = model.run(texts)
    if model.task == "score":
        scores = [part.mean() if pool == "mean" else part.max() for part in outputs]
        return torch.stack(scores).tolist()
    means = torch.stack([part.mean(0) for part in outputs])
    return torch.nn.functional.normalize(means, dim=-1).tolist()


def serve(model: Model, requests: IO[str], answers: IO[str], pool: str = "mean") -> None:
    """Answer line by line until the input ends."""
    for line in requests:
        try:
            texts = json.loads(line)["texts"]
            result: dict[str, Any] = {"results": answer(model, texts, pool)}
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            result = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        _say(answers, result)


def _say(answers: IO[str], value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


@contextlib.contextmanager
def _private_output() -> Iterator[IO[str]]:
    """The real standard output; what libraries print goes to the standard error instead."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def main(argv: Sequence[str] | None = None) -> int:
    """Load a model and serve it over the standard streams."""
    parser = argparse.ArgumentParser(prog="python -m nautiloid.synth.annotate")
    parser.add_argument("task", choices=("score", "embed"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--max-windows", type=int, default=8)
    parser.add_argument("--pool", default="mean", choices=("mean", "max"))
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(argv)
    # A worker bounds its own address space; the pages torch maps but never touches need more.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    with _private_output() as answers:
        if given.threads:
            torch.set_num_threads(given.threads)
        try:
            model = Model(
                given.model,
                given.task,
                device=given.device,
                dtype=given.dtype,
                max_tokens=given.max_tokens,
                max_windows=given.max_windows,
            )
        except (InputError, RuntimeError) as error:  # RuntimeError: no such device
            _say(answers, {"error": str(error)})
            return 2
        _say(answers, {"task": given.task, "max_tokens": model.windows.max_tokens})
        serve(model, sys.stdin, answers, given.pool)
    return 0


if __name__ == "__main__":
    sys.exit(main())
