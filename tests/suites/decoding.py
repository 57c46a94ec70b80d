"""The near-tie rule: two greedy decodings may part only where the two best logits all but agree."""

import torch

TIE = 1e-4


def full_logits(model, ids):
    """Logits [T, V] of one whole sequence."""
    with torch.no_grad():
        return model(torch.tensor([list(ids)], device=model.device))[0].cpu()


def check_near_tie(model, prompt_ids, ids, other_ids, tie=TIE):
    """Equal, or parting where the two chosen tokens are within `tie` of the best logit."""
    for at, (a, b) in enumerate(zip(ids, other_ids, strict=True)):
        if a != b:
            logits = full_logits(model, [*prompt_ids, *ids[:at]])[-1]
            assert logits.max() - logits[[a, b]].min() < tie, (at, a, b)
            return


def check_greedy(model, prompt_ids, ids, logprobs, tie=TIE):
    """Every id is the best one, or within `tie` of it, in the full forward; so are the logprobs."""
    logits = full_logits(model, [*prompt_ids, *ids])
    rows = logits[len(prompt_ids) - 1 : -1]
    chosen = torch.tensor(list(ids))
    taken = rows.gather(1, chosen[:, None])[:, 0]
    assert (rows.amax(-1) - taken).max() < tie
    expected = rows.log_softmax(-1).gather(1, chosen[:, None])[:, 0]
    torch.testing.assert_close(torch.tensor(list(logprobs)), expected, atol=2e-5, rtol=1e-5)
