"""How much faster is an update on prefix trees than on padded rows? Prints a Markdown table.

    .venv/bin/python benchmarks/prefix_tree.py --repeats 7

An update is log-probs of the siblings' own tokens, forwards and backwards, of one prompt in one micro-batch. Before it
is timed, both ways must give the same gradients. The first shape is the one that trees are made for; in the others,
siblings share less than they say. One thread unless told otherwise: on shared cores, two wait for each other at every
operation, which costs the same for few tokens as for many.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial

import torch
from timing import alternate, common, qwen3, ratios, spread
from transformers import PreTrainedModel

from lightning_agentrl.scoring import Scores, score
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def siblings(count: int, prompt: int, own: int) -> RolloutBatch:
    """Rows of random tokens that share their prompt."""
    batch = rollouts([[own]] * count, rewards=[0.0] * count, prompt=prompt)
    ids = torch.randint(0, 512, batch.input_ids.shape)
    ids[:, :prompt] = ids[0, :prompt]
    return replace(batch, input_ids=ids)


def update(policy: PreTrainedModel, batch: RolloutBatch, trees: bool) -> Scores:
    """Forwards and backwards; gradients are left with the policy."""
    policy.zero_grad()
    scores = score(policy, batch, temperature=1.0, trees=trees)
    (scores.logprobs * batch.input_ids.sin()).sum().backward()  # tokens pull in different directions
    return scores


def check(policy: PreTrainedModel, batch: RolloutBatch) -> tuple[Scores, Scores]:
    """Both ways agree: log-probs to 1e-5, every tensor's gradient to 1e-5 of its norm."""
    found = update(policy, batch, trees=True)
    gradients = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
    expected = update(policy, batch, trees=False)
    assert (found.logprobs - expected.logprobs).abs().max() <= 1e-5
    for one, parameter in zip(gradients, policy.parameters(), strict=True):
        assert parameter.grad is not None
        assert (one - parameter.grad).norm() <= 1e-5 * parameter.grad.norm()
    return found, expected


def main() -> None:
    """Time all shapes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["768+128", "256+256", "256+672"], help="shared+own tokens")
    parser.add_argument("--siblings", type=int, default=8)
    parser.add_argument("--attention", default="prefix_tree", help="of the trees; padded rows always take plain SDPA")
    options = common(parser)
    policy = qwen3(options.hidden, options.layers, options.attention)
    raw = {}
    print("| shared + own | tokens | distinct | computed, tree / padded | tree, s | padded, s | times faster |")
    print("|---|---|---|---|---|---|---|")
    for shape in options.shapes:
        prompt, own = map(int, shape.split("+"))
        batch = siblings(options.siblings, prompt, own)
        tree, padded = (scores.load for scores in check(policy, batch))
        ways = {name: partial(update, policy, batch, trees=name == "tree") for name in ("tree", "padded")}
        seconds = alternate(ways, options.repeats)
        raw[shape] = seconds
        print(
            f"| {prompt} + {own} | {tree.tokens} | {tree.distinct} | {tree.computed} / {padded.computed} "
            f"| {spread(seconds['tree'])} | {spread(seconds['padded'])} "
            f"| {spread(ratios(seconds['padded'], seconds['tree']))} |",
            flush=True,
        )
    if options.out:
        options.out.write_text(json.dumps(raw))


if __name__ == "__main__":
    main()
