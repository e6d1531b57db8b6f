"""Classes written for TRL: rewards, branches, what is closed, demonstrations, and settings that make no sense."""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trl_classes import ROWS, Counter, call, environment, perform, rollout

from lightning_agentrl.data.demonstrations import read_demonstrations
from lightning_agentrl.environments.base import Unforkable
from lightning_agentrl.environments.trl import TRLEnvironment
from lightning_agentrl.testing.treasure_hunt import TreasureHunt, play, rows
from lightning_agentrl.tools.base import InfrastructureError
from lightning_agentrl.types import Action, Reward, Segment, ToolCall, Turn

# --- rewards -----------------------------------------------------------------------------------------------------


def test_the_class_may_own_the_reward() -> None:
    _, reward = perform(environment(), [call("add", number=2)])
    assert reward == Reward(5.0, 5.0, {"Counter": 5.0})


def test_an_async_reward_is_awaited() -> None:
    class Later(Counter):
        async def get_reward(self) -> float:  # type: ignore[override]
            return 7.0

    assert perform(environment(Later))[1].outcome == 7.0


def test_reward_functions_get_what_trl_gives_them_and_add_up_by_their_weights() -> None:
    seen: dict[str, Any] = {}

    def by_state(environments: list[Counter], **others: Any) -> list[float]:
        seen.update(others)
        return [environments[0].count]

    async def by_column(completions: list[Any], label: list[str], log_metric: Any, **others: Any) -> list[float]:
        log_metric("labels", len(label))
        return [10.0 * (label == ["x"])]

    def not_mine(**others: Any) -> list[float | None]:
        return [None]

    functions = [by_state, by_column, not_mine]
    made = environment(reward_funcs=functions, reward_weights=[1.0, 0.5, 9.0])
    _, reward = perform(made, [call("add", number=1)])
    assert reward.outcome == 4 + 4 + 5  # get_reward, the state, half of the column's
    assert reward.components == {"Counter": 4.0, "by_state": 4.0, "labels": 1.0, "by_column": 10.0}
    assert (seen["start"], seen["prompts"], seen["completion_ids"]) == ([3], ["Count. "], [[]])


def test_completions_of_a_chat_are_messages_with_calls_and_results() -> None:
    seen: list[Any] = []

    def judge(prompts: list[Any], completions: list[Any], completion_ids: list[Any], **others: Any) -> list[float]:
        seen.extend([prompts, completions, completion_ids])
        return [1.0]

    made = TRLEnvironment(TreasureHunt, rows=rows, reward_funcs=[judge])
    task = made.tasks("train")[0]
    said = Segment((5, 6), sampled=True, logprobs=(0.0, 0.0))
    opened = Turn(said, Segment((7,), sampled=False), (ToolCall("open", {"box": "red"}),), text="a", results=("empty",))

    async def run() -> Reward:
        return await (await made.open(task, 0)).reward(rollout(task, opened, Turn(said, text="Done.")))

    asyncio.run(run())
    prompts, completions, completion_ids = seen
    assert prompts == [[dict(task.messages[0])]]
    assert completion_ids == [[5, 6, 7, 5, 6]]
    function = {"type": "function", "function": {"name": "open", "arguments": {"box": "red"}}}
    assert completions == [
        [
            {"role": "assistant", "content": "a", "tool_calls": [function]},
            {"role": "tool", "name": "open", "content": "empty"},
            {"role": "assistant", "content": "Done."},
        ]
    ]


def test_a_rollout_that_nobody_scores_earns_nothing_and_says_so() -> None:
    silent = type("Silent", (Counter,), {"get_reward": lambda self: None})
    with pytest.warns(UserWarning, match="No reward function had a number"):
        assert perform(environment(silent))[1].outcome == 0


def test_a_reward_that_hangs_is_no_fault_of_the_policy() -> None:
    slow = type("Slow", (Counter,), {"get_reward": lambda self: threading.Event().wait(5)})
    with pytest.raises(InfrastructureError, match=r"Slow\.get_reward took longer than 0\.1 seconds"):
        perform(environment(slow, timeout=0.1))


def test_a_reward_function_must_return_one_number_for_one_rollout() -> None:
    with pytest.raises(ValueError, match="list of one number"):
        perform(environment(reward_funcs=[lambda **others: [1.0, 2.0]]))


def test_a_class_without_any_reward_is_refused() -> None:
    class Bare:
        def reset(self, **columns: Any) -> None:
            """Nothing to reset."""

    with pytest.raises(ValueError, match=r"Bare has no get_reward method; set reward_funcs"):
        environment(Bare).prepare()


# --- branches, and the end ---------------------------------------------------------------------------------------


def test_a_copy_goes_its_own_way() -> None:
    made = environment(fork="copy")

    async def run() -> list[str]:
        parent = await made.open(made.tasks("train")[0], seed=0)
        await parent.step(Action("…", (call("add", number=1),)))
        twin = await parent.fork()
        heard = [await each.step(Action("…", (call("add", number=n),))) for each, n in ((parent, 1), (twin, 10))]
        return [text for each in heard for text in each.results]

    assert asyncio.run(run()) == ["5", "14"]


@pytest.mark.parametrize("fork", ["replay", "copy"])
def test_what_is_not_or_cannot_be_copied_is_left_to_replaying(fork: str) -> None:
    class Uncopyable(Counter):
        def __deepcopy__(self, memory: Any) -> Any:
            raise copy.Error("holds a socket")

    made = environment(Uncopyable, fork=fork)

    async def run() -> None:
        await (await made.open(made.tasks("train")[0], seed=0)).fork()

    with pytest.raises(Unforkable):
        asyncio.run(run())


def test_closing_closes_the_instances() -> None:
    held: list[Counter] = []

    def factory() -> Counter:
        held.append(Counter())
        return held[-1]

    made = environment(factory)
    perform(made)
    made.close()
    assert held
    assert all(instance.closed for instance in held)


def test_an_instance_whose_machinery_failed_is_closed_and_not_used_again() -> None:
    class Remote(Counter):
        def ask(self) -> str:
            """Ask a service."""
            raise InfrastructureError("no answer")

    held: list[Remote] = []

    def factory() -> Remote:
        held.append(Remote())
        return held[-1]

    made = environment(factory)
    with pytest.raises(InfrastructureError, match="no answer"):
        perform(made, [call("ask")])
    (heard,), _ = perform(made, [call("add", number=1)])
    assert heard.results == ("4",)
    assert [instance.closed for instance in held] == [True, False]


# --- demonstrations and settings ---------------------------------------------------------------------------------


def test_a_script_plays_demonstrations_with_calls(tmp_path: Path) -> None:
    path = tmp_path / "demonstrations.jsonl"
    TRLEnvironment(TreasureHunt, rows=rows, player=play, demonstrations=path, demonstration_passes=2).prepare()
    demonstrations = read_demonstrations(path)
    assert len(demonstrations) == 2 * len(list(rows("train")))
    assert all(each.turns[-1][0] == "Done." for each in demonstrations)
    ends = {str(each.turns[-2][1]) for each in demonstrations}
    assert ends == {"('You have the coin.',)", "('You have no coin.',)"}  # hasty and patient ones


def test_no_trail_of_several_boxes_is_in_both_splits() -> None:
    trails = [{tuple(row["trail"]) for row in rows(split) if row["hops"] > 1} for split in ("train", "validation")]
    assert trails[1]
    assert not trails[0] & trails[1]


def _nothing(split: str) -> Iterator[Any]:
    return iter(())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": None}, "either rows, or both"),
        ({"train": Path("a")}, "either rows, or both"),
        ({"reward_funcs": ["a.b"], "reward_weights": []}, "1 reward_funcs, but 0 reward_weights"),
        ({"player": "a.b"}, "no place for its demonstrations"),
        ({"rows": _nothing}, "got 0 rows"),
        ({"factory": "Counter"}, "must be an import path"),
        ({"factory": dict}, "must have a method reset"),
        ({"factory": lambda: 1 / 0}, "without arguments, got ZeroDivisionError"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TRLEnvironment(**{"factory": Counter, "rows": lambda split: ROWS, **settings}).prepare()
