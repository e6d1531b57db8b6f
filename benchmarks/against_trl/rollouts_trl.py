"""TRL's side of the comparison of rollouts: greedy ones, collected again and again."""

from __future__ import annotations

import json

from world import PROMPTS, SIBLINGS, arguments, load
from world_trl import make, questions


def main() -> None:
    """Roll out the same questions in every step; write seconds and tokens."""
    options = arguments(__doc__).parse_args()
    world = load()
    trainer = make(world, options, rows=32, generation_kwargs={"do_sample": False})
    asked = questions(world)[: PROMPTS * SIBLINGS]
    for _ in range(options.steps):
        trainer._generate_and_score_completions(asked)
    options.out.write_text(json.dumps({"seconds": trainer.rollouts, "completions": trainer.completions}))


if __name__ == "__main__":
    main()
