"""What do the probes of information gain cost, as leaves of the prefix trees that are scored anyway?

    .venv/bin/python benchmarks/probes.py --repeats 7

Siblings of several turns, and after each turn (and before the first) the ground truth as the policy would write it.
Compared are: an update (forwards and backwards); the pass that scores old log-probs, without and with probes; and the
plain way, one padded forward per turn over all siblings. The plain way must give the same scores.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import torch
from prefix_tree import update
from timing import alternate, common, qwen3, ratios, spread
from transformers import PreTrainedModel

from lightning_agentrl.scoring import score
from lightning_agentrl.scoring.answers import answer_means, answer_probes
from lightning_agentrl.scoring.padded import padded_likelihoods
from lightning_agentrl.scoring.scores import answer_logprobs
from lightning_agentrl.testing import rollouts
from lightning_agentrl.types import RolloutBatch


def probed(siblings: int, turns: int, prompt: int, action: int, observation: int, probe: int) -> RolloutBatch:
    """Siblings that share their prompt and their answer; an observation follows each turn but the last, the answer."""
    sizes = [[action] * (turns + 1)] * siblings
    batch = rollouts(sizes, rewards=[0.0] * siblings, prompt=prompt, observation=observation)
    ids = torch.randint(0, 512, batch.input_ids.shape)
    ids[:, :prompt] = ids[0, :prompt]
    probes = torch.randint(0, 512, (1, 1, probe)).expand(siblings, 1, probe)
    scored = torch.ones_like(probes, dtype=torch.bool)
    scored[..., : probe // 3] = False  # the template before the answer
    ends = batch.turn_ends[:, : turns + 1]  # nothing follows the answer
    return replace(batch, input_ids=ids, probe_ids=probes, probe_scored=scored, turn_ends=ends)


@torch.no_grad()
def turn_by_turn(policy: PreTrainedModel, batch: RolloutBatch) -> torch.Tensor:
    """One padded forward for each turn, over all rows."""
    columns = []
    for turn in range(batch.turn_ends.shape[1]):
        one = replace(batch, turn_ends=batch.turn_ends[:, turn : turn + 1])
        columns.append(answer_means(padded_likelihoods(policy, answer_probes(one), 1.0, False, None)[0], one))
    return torch.cat(columns, 1)


def main() -> None:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"siblings": 8, "turns": 6, "prompt": 256, "action": 32, "observation": 64}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--probe", type=int, default=12, help="tokens of the answer with its template")
    options = common(parser)
    policy = qwen3(options.hidden, options.layers, "prefix_tree")
    batch = probed(options.siblings, options.turns, options.prompt, options.action, options.observation, options.probe)

    @torch.no_grad()
    def scored(answers: bool) -> object:
        return score(policy, batch, temperature=1.0, answers=answers)

    @torch.no_grad()
    def alone() -> torch.Tensor:
        return answer_logprobs(policy, batch, temperature=1.0)

    rows, both = (score(policy, batch, temperature=1.0, answers=answers) for answers in (False, True))
    # Before the first turn all siblings are the same; after it, none is.
    probes = options.probe * (1 + options.siblings * options.turns)
    assert both.load.computed == both.load.distinct == rows.load.distinct + probes
    torch.testing.assert_close(both.answer_logprobs, turn_by_turn(policy, batch), rtol=0, atol=1e-5)

    seconds = alternate(
        {
            "update": lambda: update(policy, batch, trees=True),
            "pass": lambda: scored(answers=False),
            "pass with probes": lambda: scored(answers=True),
            "probes alone": alone,
            "a forward per turn": lambda: turn_by_turn(policy, batch),
        },
        options.repeats,
    )
    added = [more - less for more, less in zip(seconds["pass with probes"], seconds["pass"], strict=True)]
    print(f"tokens: {both.load.computed} computed = {rows.load.distinct} of distinct rows + {probes} of probes")
    print("\n| | seconds |\n|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {spread(values)} |")
    print(f"\nprobes add {spread([100 * share for share in ratios(added, seconds['update'])], ' %')} of an update")
    plain = seconds["a forward per turn"]
    print(f"probes alone are {spread(ratios(plain, seconds['probes alone']))} times faster than a forward per turn")
    apart = [one + other for one, other in zip(seconds["pass"], plain, strict=True)]
    print(f"log-probs and probes are {spread(ratios(apart, seconds['pass with probes']))} times faster than both apart")
    if options.out:
        options.out.write_text(json.dumps(seconds))


if __name__ == "__main__":
    main()
