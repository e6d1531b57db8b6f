"""The library of projects works, and what is broken in them is noticed."""

import ast
from random import Random
from types import ModuleType

import pytest

from lightning_agentrl.data.repair_run import Project
from lightning_agentrl.data.repair_tasks import Repository, Source, break_project, read_library

LIBRARY = {source.name: source for source in read_library()}


@pytest.fixture(scope="module")
def broken() -> list[Repository]:
    return [made for source in LIBRARY.values() for made in break_project(source, 12, Random(0))]


# What the projects should do, worked out by hand and not by them.
KNOWN = {
    "averages": {"median([3, 1, 2])": 2.0, "percentile([10, 20, 30, 40], 50)": 20, "modes([1, 2, 2, 3, 3])": [2, 3]},
    "bits": {"ones(11)": 3, "gray(2)": 3, "reverse(1)": 128, "to_binary(5, 8)": "00000101", "highest(9)": 3},
    "brackets": {"first_error('(]')": 1, "depth('(()(()))')": 3, "strip_outer('(a)(b)')": "(a)(b)"},
    "calculator": {"evaluate('2*(3+4)-5')": 9, "evaluate('2^3^2')": 512, "evaluate('10-4-3')": 3},
    "ciphers": {
        "shift('Hello, xyz')": "Khoor, abc",
        "vigenere('attack', 'lemon')": "lxfopv",
        "atbash('Hello')": "svool",
    },
    "coins": {"fewest(11, [1, 5, 6])": 2, "ways(5, [1, 2, 5])": 4, "change(100, 37)": [50, 10, 2, 1]},
    "csv_lines": {"parse('a,\"b,c\",d')": ["a", "b,c", "d"], "write(['say \"hi\"'])": '"say ""hi"""'},
    "dates": {"weekday(1969, 7, 20)": "Sunday", "day_of_year(2024, 3, 1)": 61, "is_leap(1900)": False},
    "durations": {"parse('1h30m')": 5400, "write(3725)": "1h2m5s", "clock(3725)": "1:02:05", "rounded(90)": 2},
    "edits": {"distance('kitten', 'sitting')": 3, "common_prefix(['flow', 'flight'])": "fl"},
    "fares": {"fare(2, 66, night=True)": 295, "group_fare(1, [30, 30, 30, 30, 10])": 720, "base_fare(5)": 480},
    "graphs": {"order({'a': ['b'], 'c': ['a']})": ["c", "a", "b"], "reachable({'a': ['b']}, 'a')": {"a", "b"}},
    "heap": {"ordered([4, 2, 7, 1])": [1, 2, 4, 7], "is_heap([1, 3, 2])": True, "smallest([9, 4, 6], 2)": [4, 6]},
    "intervals": {"merge([(5, 8), (1, 3), (2, 6)])": [(1, 8)], "overlap((0, 5), (3, 9))": 2},
    "least_recent": {"replay('a=1 b=2 a c=3 b a')": [1, -1, 1], "hit_rate('aab')": (1, 2)},
    "ledger": {"parse('-3.07')": -307, "share(100, 3)": [34, 33, 33], "settle(['a 2 a,b'])": ["b pays a 1.00"]},
    "life": {"neighbours(['##.', '...', '..#'], 1, 1)": 3, "step(['###'])": [".#."], "population(['#.#'])": 2},
    "markup": {"render('a *b* <c>')": "a <b>b</b> &lt;c&gt;", "heading_level('## Title')": 2},
    "matrix": {
        "multiply([[1, 2], [3, 4]], [[0, 1], [1, 0]])": [[2, 1], [4, 3]],
        "rotate([[1, 2], [3, 4]])": [[3, 1], [4, 2]],
    },
    "queries": {
        "normalize('/a/./b//../c')": "/a/c",
        "join('/docs/g.html', '../x')": "/x",
        "extension('x.tar.GZ')": "gz",
    },
    "roman": {"to_roman(1994)": "MCMXCIV", "from_roman('xiv')": 14, "add_roman('XL', 'II')": "XLII"},
    "rooms": {"minutes('9:30')": 570, "round_up(61)": 75, "clash((0, 10), (10, 20))": False},
    "run_length": {"compress('aaabccd')": "a3bc2d", "longest_run('aabb')": "aa", "encode('aab')": [("a", 2), ("b", 1)]},
    "sorted_search": {"lower_bound([1, 3, 3, 5], 3)": 1, "upper_bound([1, 3, 3, 5], 3)": 3, "nearest([1, 5], 3)": 1},
    "store": {"price({'pen': 10, 'ink': 1})": 1530, "day({'pen': 1}, [{'pen': 2}])": (0, ["pen"])},
    "text_wrap": {"wrap('the quick brown fox', 10)": ["the quick", "brown fox"], "justify('a bb c', 9)": "a   bb  c"},
    "versions": {"compare('1.10.0', '1.9.9')": 1, "bump('1.2.3', 'minor')": "1.3.0", "satisfies('2.0', '^1.2')": False},
}


@pytest.mark.parametrize("name", LIBRARY)
def test_a_project_does_what_it_says(name: str) -> None:
    project = Project(LIBRARY[name].files)
    assert [ast.literal_eval(text) for text in project.evaluate(list(KNOWN[name]))] == list(KNOWN[name].values())


def test_there_are_more_than_twenty_projects_of_one_to_three_files() -> None:
    assert len(LIBRARY) > 20
    assert {len(source.files) for source in LIBRARY.values()} == {1, 2, 3}


@pytest.mark.parametrize("source", LIBRARY.values(), ids=lambda source: source.name)
def test_cases_in_sight_and_hidden_ones_call_every_function(source: Source) -> None:
    home = Project(source.files).home
    hidden = [case for number, case in enumerate(source.cases) if number not in source.visible]
    assert len(source.visible) >= 5
    assert len(hidden) >= 10
    called = {node.id for case in source.cases for node in ast.walk(ast.parse(case)) if isinstance(node, ast.Name)}
    assert set(home) - called <= {"apply"}  # which evaluate calls


def test_a_bug_is_noticed_by_a_test_in_sight_and_by_a_hidden_case(broken: list[Repository]) -> None:
    for repository in broken:
        assert repository.failing & set(repository.visible)
        assert repository.failing - set(repository.visible)
        assert len(repository.failing) < len(repository.cases)


def test_the_right_file_passes_every_case(broken: list[Repository]) -> None:
    for repository in broken[::7]:
        files = {**repository.files, repository.path: repository.right}
        mended = {path: text for path, text in files.items() if not path.startswith("test_")}
        assert Project(mended).evaluate(repository.cases) == repository.expected


def test_repositories_are_many_distinct_and_of_many_kinds(broken: list[Repository]) -> None:
    assert len({repository.id for repository in broken}) == len(broken) > 250
    assert len({(repository.project, repository.actual) for repository in broken}) == len(broken)
    assert len({repository.kind for repository in broken}) >= 10


def test_the_same_seed_breaks_the_same_way() -> None:
    roman = LIBRARY["roman"]
    assert (
        break_project(roman, 5, Random(1)) == break_project(roman, 5, Random(1)) != break_project(roman, 5, Random(2))
    )


def test_kinds_of_bugs_take_turns() -> None:
    kinds = [made.kind for made in break_project(LIBRARY["csv_lines"], 6, Random(0))]
    assert len(set(kinds)) >= 5


def run_tests(files: dict[str, str], name: str) -> list[str]:
    """Names of the tests of a project that fail, each run here."""
    module, works = ModuleType("tests"), Project({path: text for path, text in files.items() if path != name})
    source = "\n".join(line for line in files[name].split("\n") if not line.startswith("from "))
    module.__dict__.update(works._names)
    exec(source, module.__dict__)
    failed = []
    for test, function in vars(module).copy().items():
        if test.startswith("test_"):
            try:
                function()
            except Exception:  # noqa: BLE001
                failed.append(test)
    return failed


@pytest.mark.parametrize("source", LIBRARY.values(), ids=lambda source: source.name)
def test_the_tests_in_sight_fail_where_there_is_a_bug_and_pass_where_there_is_none(source: Source) -> None:
    for repository in break_project(source, 2, Random(3)):
        name = f"test_{source.name}.py"
        failing = [n for n in repository.visible if n in repository.failing]
        assert len(run_tests(dict(repository.files), name)) == len(failing) > 0
        assert run_tests({**repository.files, repository.path: repository.right}, name) == []


def test_no_answer_of_a_hidden_case_stands_in_the_files() -> None:
    source = LIBRARY["roman"]
    (repository,) = break_project(source, 1, Random(0))
    assert "'CDXLVIII'" in repository.expected  # of to_roman(448), which is hidden
    assert not any("CDXLVIII" in text for text in repository.files.values())
