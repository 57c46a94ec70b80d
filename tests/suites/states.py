"""A model through its states: prompts in pieces, single tokens, several at a time, against whole sequences."""

from __future__ import annotations

from dataclasses import replace

import torch

from nautiloid.core.seed import Seed
from nautiloid.model.blocks.attention.config import RopeConfig
from nautiloid.model.blocks.config import StateSpec
from nautiloid.model.config import ModelConfig
from nautiloid.model.context import Context
from nautiloid.model.decoder import Decoder
from nautiloid.model.presets import preset
from nautiloid.model.states import StateStore

PAGE = 16


def small_config(*, rotates: bool) -> ModelConfig:
    """Two mixers and two attention layers whose sizes the GPU kernels take."""
    config = replace(preset("debug"), mtp=None, max_position_embeddings=512)
    letters = {"M": config.blocks["M"], "*": config.blocks["*"]}
    letters["M"] = replace(
        letters["M"], mamba_num_heads=4, mamba_head_dim=16, n_groups=2, ssm_state_size=16
    )
    letters["*"] = replace(
        letters["*"], num_attention_heads=4, num_key_value_heads=2, head_dim=64, qk_norm=rotates,
        rope=RopeConfig(rope_theta=1e4) if rotates else None,
    )  # fmt: skip
    return replace(config, pattern="M*M*", blocks={**config.blocks, **letters})


def check_states(device: str, dtype: torch.dtype, bound: float, *, rotates: bool = False) -> None:
    """Hidden states of every token, whichever way it came in."""
    config = small_config(rotates=rotates)
    model = Decoder(config, device=device, dtype=dtype)
    model.init_weights(Seed(0))
    mamba = config.blocks["M"]
    waiting = StateSpec((3, mamba.conv_channels + mamba.mamba_num_heads))
    extra = {name: {"pending": waiting} for name in ("layers.0", "layers.2")}
    store = StateStore(
        config, num_slots=4, num_pages=40, page_tokens=PAGE, device=device, dtype=dtype, extra=extra
    )
    slots, pages = (2, 0), ((7, 3, 9, 1, 12), (2, 8, 4, 20, 6))
    lengths = (70, 41)
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(0, config.vocab_size, (n,), generator=generator) for n in lengths]
    past, found = [0, 0], [[], []]

    def run(counts: tuple[int, ...], accepted: list[int] | None = None) -> None:
        """The next tokens of both; those of a check of drafts do not count yet."""
        view = store.view(slots, pages, past)
        if accepted is not None:
            view.accepted_S = torch.tensor(accepted, dtype=torch.int32, device=device)
        parts = [x[p : p + n] for x, p, n in zip(ids, past, counts, strict=True)]
        positions = [torch.arange(p, p + n) for p, n in zip(past, counts, strict=True)]
        context = Context(counts, torch.cat(positions).to(device), state=view)
        hidden = model.hidden(torch.cat(parts).to(device), context).hidden_TD
        for rows, out, start in zip(found, hidden.split(list(counts)), past, strict=True):
            del rows[start:]
            rows.extend(out)

    with torch.inference_mode():
        for counts in ((30, 9), (20, 17), (1, 1), (1, 1)):
            run(counts)
            past = [p + n for p, n in zip(past, counts, strict=True)]
        accepted = [0, 0]
        for kept in ([2, 3], [1, 2], [3, 3]):
            run((3, 3), accepted)
            accepted, past = kept, [p + n for p, n in zip(past, kept, strict=True)]
        view = store.view(slots, pages, past)
        view.accepted_S = torch.tensor(accepted, dtype=torch.int32, device=device)
        for index in (0, 2):
            model.layers[index].mixer.commit(view)
        for counts in ((1, 1), (11, 3)):
            run(counts)
            past = [p + n for p, n in zip(past, counts, strict=True)]
        exact = Decoder(config, device=device, dtype=torch.float32)
        exact.load_state_dict(model.state_dict())
        for rows, tokens, count in zip(found, ids, past, strict=True):
            whole = Context.packed([count], device)
            expected = exact.hidden(tokens[:count].to(device), whole).hidden_TD
            difference = (torch.stack(rows).float() - expected).norm(dim=1)
            worst = (difference / expected.norm(dim=1)).max()
            assert worst <= bound, (float(worst), difference.argmax())
