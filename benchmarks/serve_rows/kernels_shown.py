"""Where the time of a decoding step goes: kernels by their total, and what the device idles."""

from __future__ import annotations

from collections import defaultdict

import torch
from benchmarks.serve_rows.serving import Serving

STEPS = 5


def print_profile(serving: Serving, count: int, prompt_tokens: int, *, most: int = 30) -> None:
    """Print the kernels of a few steady steps of a new batch, by time."""
    if serving.scale.is_tiny:
        return
    requests = serving.submit(serving.prompts(count, prompt_tokens), 1000)
    serving.start(requests)
    for _ in range(10):
        serving.engine.step()
    print_steps(serving, f"{count} x {prompt_tokens}", most=most)
    serving.stop(requests)


def print_steps(serving: Serving, title: str, *, most: int = 30) -> None:
    """Print the kernels of the next steps of what runs, by time."""
    if serving.scale.is_tiny:
        return
    serving.scale.wait()
    activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(STEPS):
            serving.engine.step()
        serving.scale.wait()
    spans: list[tuple[float, float]] = []
    totals: dict[str, list[float]] = defaultdict(lambda: [0, 0.0])
    for event in profiler.events() or []:
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        start, stop = event.time_range.start, event.time_range.end
        spans.append((start, stop))
        totals[event.name][0] += 1
        totals[event.name][1] += stop - start
    if not spans:
        print("no kernels were recorded")
        return
    spans.sort()
    busy, reach = 0.0, spans[0][0]
    for start, stop in spans:
        busy += max(0.0, stop - max(start, reach))
        reach = max(reach, stop)
    span = reach - spans[0][0]
    kernels = sum(c for c, _ in totals.values())
    print(
        f"{title}: {kernels / STEPS:.0f} kernels a step, "
        f"device busy {busy / STEPS:.0f} us of {span / STEPS:.0f} us a step"
    )
    for name, (calls, total) in sorted(totals.items(), key=lambda item: -item[1][1])[:most]:
        print(
            f"{total / STEPS:9.1f} us {calls / STEPS:6.1f} x {total / calls:8.2f} us  {name[:90]}",
            flush=True,
        )
