"""Episodes of stateless tools: what the policy reads when calls go well and when they do not."""

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import pytest

from lightning_agentrl.environments.base import Observation, Unforkable
from lightning_agentrl.environments.tools import ToolEpisode, ToolRules, state_key
from lightning_agentrl.tools.base import Tool, ToolLimits, ToolResult
from lightning_agentrl.tools.function import tool
from lightning_agentrl.tools.toolbox import Toolbox
from lightning_agentrl.types import Action, CallError, ParsedCall, Reward, Segment, StopReason, Task, Trajectory, Turn

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
LIMITS = ToolLimits(timeout=0.2, max_characters=100)


class Behaviour(Tool):
    """A tool that does whatever it was made to do."""

    name = ""
    description = "Does something."
    parameters: Mapping[str, Any] = SCHEMA
    limits = LIMITS

    def __init__(self, name: str, result: Any) -> None:
        self.name = name
        self.result = result

    async def __call__(self, **arguments: Any) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(**arguments) if callable(self.result) else self.result


async def hang(**arguments: Any) -> str:
    await asyncio.sleep(60)
    return "late"


class Hanging(Behaviour):
    """A tool that does not come back."""

    async def __call__(self, **arguments: Any) -> Any:
        return await hang(**arguments)


TOOLS = [
    Behaviour("echo", lambda text: text),
    Behaviour("broken", ZeroDivisionError("no way")),
    Behaviour("impatient", TimeoutError("the server said no")),
    Hanging("hanging", None),
    Behaviour("huge", "x" * 10_000_000),
    Behaviour("none", None),
    Behaviour("raw", b"raw"),
    Behaviour("number", 3),
    Behaviour("table", {"Zürich": [1, 2.5, None]}),
    Behaviour("bytes", ToolResult(b"raw")),  # type: ignore[arg-type]
    Behaviour("surrogate", "a\ud800b"),
    Behaviour("failing", ToolResult("Nothing there.", ok=False, error_kind="not_found")),
]


async def judge(trajectory: Trajectory) -> Reward:
    answer = trajectory.answer
    return Reward(float(answer == "Bodor"), 0.0, {"answered": float(answer is not None)})


def episode(**rules: Any) -> ToolEpisode:
    return ToolEpisode(Toolbox(TOOLS), judge, rules=ToolRules(**{"max_calls": 2, **rules}))


def step(*calls: ParsedCall, text: str = "", **rules: Any) -> Observation:
    return asyncio.run(episode(**rules).step(Action(text, calls)))


def call(name: str, **arguments: Any) -> ParsedCall:
    return ParsedCall(name, arguments or {"text": "hi"})


def test_a_good_call_gives_its_text() -> None:
    seen = step(call("echo", text="東京"))
    assert (seen.results, seen.done, seen.tool_calls[0].ok) == (("東京",), False, True)


@pytest.mark.parametrize(
    ("made", "kind", "text"),
    [
        (ParsedCall("", {}, "not valid JSON", CallError.BAD_JSON), "bad_json", "Error: not valid JSON."),
        (call("find"), "unknown_tool", "Error: there is no tool 'find', only echo, broken"),
        (ParsedCall("echo", {}), "missing_argument", "Error: missing argument 'text'."),
        (call("echo", text="a", limit=3), "extra_argument", "Error: unexpected argument 'limit'"),
        (call("echo", text=3), "wrong_type", "Error: argument 'text' must be of type string, got int."),
        (call("broken"), "exception", "Error: broken failed with ZeroDivisionError: no way."),
        (call("impatient"), "exception", "Error: impatient failed with TimeoutError: the server said no."),
        (call("hanging"), "timeout", "Error: hanging took longer than 0.2 seconds."),
        (call("none"), "bad_result", "Error: none returned NoneType instead of text."),
        (call("raw"), "bad_result", "Error: raw returned bytes instead of text."),
        (call("bytes"), "bad_result", "Error: bytes returned ToolResult instead of text."),
        (call("failing"), "not_found", "Nothing there."),
    ],
)
def test_a_failure_is_text_with_a_kind_and_the_episode_goes_on(made: ParsedCall, kind: str, text: str) -> None:
    seen = step(made)
    assert seen.results[0].startswith(text)
    assert (seen.done, seen.tool_calls[0].ok, seen.tool_calls[0].error_kind) == (False, False, kind)


def test_a_failure_leaves_its_neighbour_alone() -> None:
    assert step(call("broken"), call("echo", text="fine")).results[1] == "fine"


def test_a_huge_result_is_cut_off() -> None:
    assert step(call("huge")).results[0] == "x" * 100 + " [cut off]"


def test_half_a_surrogate_pair_becomes_something_that_can_be_encoded() -> None:
    assert step(call("surrogate")).results[0] == "a?b"


def test_half_a_surrogate_pair_in_a_call_does_no_harm() -> None:
    assert step(call("ec\ud800ho")).results[0].startswith("Error: there is no tool")


def test_calls_run_side_by_side() -> None:
    started = time.perf_counter()
    step(call("hanging"), call("hanging"))
    assert time.perf_counter() - started < 0.38  # one after the other takes 0.4 s


def test_a_function_that_blocks_its_thread_is_cut_off() -> None:
    release = threading.Event()

    @tool
    def block(text: str) -> str:
        """Block.

        Args:
            text: ignored.
        """
        release.wait(30)
        return text

    async def play() -> Observation:
        try:
            return await ToolEpisode(Toolbox([block], {"block": LIMITS}), judge).step(Action("", (call("block"),)))
        finally:
            release.set()

    assert asyncio.run(play()).tool_calls[0].error_kind == "timeout"


def test_latency_is_measured() -> None:
    assert 0.2 <= step(call("hanging")).tool_calls[0].latency < 1


def test_calls_beyond_the_limit_are_not_run_and_the_policy_is_told() -> None:
    seen = step(*[call("echo", text=str(n)) for n in range(5)])
    assert seen.results == ("0", "1", "Error: at most 2 calls in one turn; the rest were not run.")


def test_cancelling_the_rollout_is_not_taken_for_a_failure_of_the_tool() -> None:
    async def play() -> None:
        running = asyncio.create_task(episode().step(Action("", (call("hanging"),))))
        await asyncio.sleep(0.05)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(play())


def test_a_turn_without_calls_ends_the_episode() -> None:
    assert step(text="I give up.") == Observation(done=True)


def test_the_judge_sees_the_trajectory() -> None:
    said = Turn(Segment((1,), True), answer="Bodor")
    task = Task("t", ({"role": "user", "content": "Who?"},))
    finished = Trajectory(1, 0, 0, task, Segment((1,), False), (said,))
    assert asyncio.run(episode().reward(finished)).outcome == 1.0


def test_a_trajectory_that_a_limit_cut_has_no_answer() -> None:
    said = Turn(Segment((1,), True), answer="Bodor")
    task = Task("t", ({"role": "user", "content": "Who?"},))
    assert Trajectory(1, 0, 0, task, Segment((1,), False), (said,), stop=StopReason.MAX_TURNS).answer is None


QUOTED = ParsedCall("echo", {"text": "hi"}, "a call inside thinking is not run", CallError.IN_THOUGHT)


def test_a_call_where_none_counts_is_answered_with_its_error_if_there_is_nothing_else() -> None:
    seen = asyncio.run(episode().step(Action("", ignored=(QUOTED,))))
    assert (seen.results, seen.done) == (("Error: a call inside thinking is not run.",), False)
    assert seen.tool_calls[0].error_kind == "call_in_thought"


def test_a_call_where_none_counts_is_only_counted_beside_an_answer() -> None:
    seen = asyncio.run(episode().step(Action("", ignored=(QUOTED,), answer="Bodor")))
    assert (seen.results, seen.done, seen.tool_calls[0].error_kind) == ((), True, "call_in_thought")


def test_a_call_where_none_counts_is_only_counted_beside_a_good_one() -> None:
    seen = asyncio.run(episode().step(Action("", (call("echo"),), (QUOTED,))))
    assert (seen.results, len(seen.tool_calls)) == (("hi",), 2)


@pytest.mark.parametrize(("name", "text"), [("number", "3"), ("table", '{"Zürich": [1, 2.5, null]}')])
def test_what_json_can_write_is_written_as_json(name: str, text: str) -> None:
    assert step(call(name)).results == (text,)


def test_a_cut_off_result_is_marked() -> None:
    assert [step(call(name)).tool_calls[0].truncated for name in ("huge", "echo")] == [True, False]


def test_the_turn_reward_sees_the_results() -> None:
    seen = step(call("echo", text="a"), call("broken"), turn_reward=lambda results: sum(r.ok for r in results) / 4)
    assert seen.reward == 0.25


@pytest.mark.parametrize(
    ("made", "penalty"),
    [
        (call("echo"), 0.0),
        (call("broken"), 0.0),
        (call("find"), 0.5),
        (ParsedCall("", {}, "?", CallError.BAD_JSON), 0.5),
    ],
)
def test_only_the_policys_own_mistakes_are_penalised(made: ParsedCall, penalty: float) -> None:
    assert step(call("echo"), made, invalid_call_penalty=0.5).penalty == penalty


def test_equal_observations_have_equal_state_keys_and_others_do_not() -> None:
    keys = [step(call("echo", text=text)).state_key for text in ("a", "a", "b")]
    assert (keys[0] == keys[1], keys[0] == keys[2]) == (True, False)


def test_a_state_key_is_the_same_in_every_process_and_fits_int64() -> None:
    # blake2b-64 of "a" is 0x40f89e395b66422f, and half of it 0x207c4f1cadb32117.
    assert state_key(["a"]) == 0x207C4F1CADB32117


def test_two_results_are_not_confused_with_one() -> None:
    assert state_key(["a", "b"]) != state_key(["ab"])


async def _forked(episode: ToolEpisode) -> None:
    with pytest.raises(Unforkable, match="Counting must say how it forks"):
        await episode.fork()


def test_a_subclass_that_does_not_say_how_it_forks_is_not_copied_without_its_state() -> None:
    class Counting(ToolEpisode):
        pass

    asyncio.run(_forked(Counting(Toolbox([]), judge)))
