"""What users import, written from their side; a change here is a breaking change."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

import nautiloid
from nautiloid.core.seed import Seed
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset


def parameters(function: object) -> list[str]:
    assert callable(function)
    return [
        str(p).split(":")[0].split("=")[0].strip()
        for p in inspect.signature(function).parameters.values()
    ]


def test_the_names_are_these() -> None:
    assert nautiloid.__all__ == ["Engine", "SamplingParams", "__version__", "load", "pack", "save"]
    assert set(nautiloid.__all__) <= set(dir(nautiloid))
    for name in nautiloid.__all__:
        assert getattr(nautiloid, name)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        nautiloid.laod  # noqa: B018


def test_signatures_hold() -> None:
    assert parameters(nautiloid.load)[:3] == ["path", "device", "dtype"]
    assert (
        inspect.signature(nautiloid.load).parameters["device"].kind
        is inspect.Parameter.KEYWORD_ONLY
    )
    assert parameters(nautiloid.save)[:2] == ["model", "path"]
    assert parameters(nautiloid.pack) == ["list_of_ids"]
    engine = nautiloid.Engine
    assert parameters(engine)[0] == "path_or_model"
    options = {"tokenizer", "max_batch", "memory_bytes", "device", "dtype", "seed"}
    assert options <= set(parameters(engine))
    assert parameters(engine.generate)[:5] == ["self", "prompts", "params", "thinking", "tools"]
    for name in ("stream", "submit", "abort", "step", "score", "load_weights", "pause", "resume"):
        assert callable(getattr(engine, name))


def test_the_promise_of_the_front_page(tmp_path: Path) -> None:
    """load, call, pack, save and generate, as the package's own docstring shows them."""
    made = Decoder(preset("debug"))
    made.init_weights(Seed(0))
    nautiloid.save(made, tmp_path / "one")
    model = nautiloid.load(tmp_path / "one", device="cpu", dtype=torch.float32)
    batch = torch.tensor([[1, 2, 3], [4, 5, 6]])
    logits = model(batch)
    assert logits.shape == (2, 3, model.config.vocab_size)
    assert logits.dtype == torch.float32
    tokens, cu_seqlens = nautiloid.pack([[1, 2, 3], [4, 5]])
    packed = model(tokens, cu_seqlens)
    assert packed.shape == (5, model.config.vocab_size)
    torch.testing.assert_close(packed[:3], logits[0], rtol=1e-4, atol=1e-4)
    assert model.double()(batch).dtype == torch.float64
    nautiloid.save(model.float(), tmp_path / "two")
    engine = nautiloid.Engine(tmp_path / "two", max_batch=2, seed=0)
    done = engine.generate([[1, 2, 3]], nautiloid.SamplingParams(max_tokens=4, temperature=0.0))
    assert 1 <= len(done[0].ids) <= 4
    assert len(done[0].logprobs) == len(done[0].ids)


def test_pack_refuses_what_is_no_document() -> None:
    with pytest.raises(ValueError, match="at least one document"):
        nautiloid.pack([])
    with pytest.raises(ValueError, match=r"list_of_ids\[1\]"):
        nautiloid.pack([[1], []])
