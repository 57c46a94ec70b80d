"""Tensors of one block as Hugging Face checkpoints store them: fused projections, experts one by one."""

from __future__ import annotations

from collections.abc import Sequence

from nautiloid.model.blocks.config import BlockConfig, TensorSpec
from nautiloid.model.family import Part, Stored

# Our segment names -> the projection that holds them all, in storage order.
_FUSED = {"in_proj": "in_proj", "conv": "conv1d"}
_RENAMED = {
    "qkv.q": "q_proj",
    "qkv.k": "k_proj",
    "qkv.v": "v_proj",
    "router": "gate",
}


def whole(name: str, ours: str, spec: TensorSpec) -> Stored:
    """A tensor that is stored as it is."""
    return Stored(name, spec.shape, (Part(ours),), spec.is_fp32)


def fused(name: str, segments: Sequence[tuple[str, TensorSpec]], axis: int = 0) -> Stored:
    """Segments laid end to end along `axis`."""
    parts: list[Part] = []
    start = 0
    for ours, spec in segments:
        parts.append(Part(ours, None, axis, start, start + spec.shape[axis]))
        start += spec.shape[axis]
    first = segments[0][1].shape
    return Stored(name, (*first[:axis], start, *first[axis + 1 :]), tuple(parts))


def mixer(
    config: BlockConfig, d: int, ours: str, stored: str, *, per_expert: bool = True
) -> list[Stored]:
    """Tensors of a block whose module path is `ours` and whose prefix in the file is `stored`."""
    out: list[Stored] = []
    segments: dict[str, list[tuple[str, TensorSpec]]] = {}
    experts: dict[str, TensorSpec] = {}
    for name, spec in config.tensors(d).items():
        head, _, rest = name.partition(".")
        if head in _FUSED and "." in rest:
            kind = rest.rpartition(".")[2]
            key = f"{_FUSED[head]}.{kind}"
            segments.setdefault(key, []).append((f"{ours}.{name}", spec))
        elif head == "experts":
            experts[rest] = spec
        else:
            out.append(whole(f"{stored}.{_rename(name)}", f"{ours}.{name}", spec))
    for key, group in segments.items():
        one = fused(f"{stored}.{key}", group)
        if key == "conv1d.weight":  # depthwise: [channels, 1, K]
            one = Stored(one.name, (one.shape[0], 1, *one.shape[1:]), one.parts)
        out.append(one)
    out += _experts(experts, f"{ours}.experts", f"{stored}.experts", per_expert=per_expert)
    return out


def _rename(name: str) -> str:
    for old, new in _RENAMED.items():
        if name.startswith(old + "."):
            return new + name[len(old) :]
    return name


def _experts(
    specs: dict[str, TensorSpec], ours: str, stored: str, *, per_expert: bool
) -> list[Stored]:
    if per_expert:
        return [
            Stored(f"{stored}.{j}.{name}.weight", spec.shape[1:], (Part(f"{ours}.{name}", j),))
            for name, spec in specs.items()
            for j in range(spec.shape[0])
        ]
    rest = dict(specs)
    out: list[Stored] = []
    if "gate_proj" in rest:
        pair = [(f"{ours}.{name}", rest.pop(name)) for name in ("gate_proj", "up_proj")]
        out.append(fused(f"{stored}.gate_up_proj", pair, axis=1))
    return out + [whole(f"{stored}.{name}", f"{ours}.{name}", spec) for name, spec in rest.items()]
