"""A kitchen in the domain that ALFWorld ships, small enough to read: what to heat or to cool, and where to put it."""

from __future__ import annotations

import json
from pathlib import Path

PLACES = {
    "Fridge": "FridgeType",
    "Microwave": "MicrowaveType",
    "CounterTop": "CounterTopType",
    "Sink": "SinkBasinType",
    "GarbageCan": "GarbageCanType",
}
THINGS = {"Apple": "CounterTop", "Egg": "Fridge", "Mug": "CounterTop"}
"""Where each thing is."""
OPENABLE = ("Fridge", "Microwave")


def identity(name: str, number: int) -> str:
    """An object's number in the simulator."""
    return f"{name}_bar__plus_0{number}_dot_00_bar__plus_01_dot_00_bar__minus_0{number}_dot_50"


def problem(goal: str) -> str:
    """The kitchen as PDDL; the metric must come last."""
    places = {name: identity(name, number) for number, name in enumerate(PLACES)}
    things = {name: identity(name, number) for number, name in enumerate(THINGS)}
    at = {name: f"loc_bar_{number}_bar_1_bar_0_bar_30" for number, name in enumerate(PLACES)}
    start = "loc_bar_9_bar_9_bar_0_bar_30"
    objects = [f"{start} - location", "agent1 - agent"]
    objects += [f"{location} - location" for location in at.values()]
    objects += [f"{place} - receptacle" for place in places.values()]
    objects += [f"{thing} - object" for thing in things.values()]
    objects += [f"{name} - rtype" for name in PLACES.values()] + [f"{name}Type - otype" for name in THINGS]
    facts = [f"(atLocation agent1 {start})", "(= (total-cost) 0)"]
    for name, place in places.items():
        facts += [f"(receptacleType {place} {PLACES[name]})", f"(receptacleAtLocation {place} {at[name]})"]
        facts += [f"(openable {place})"] if name in OPENABLE else []
        facts += [f"(canContain {PLACES[name]} {thing}Type)" for thing in THINGS]
    for name, thing in things.items():
        facts += [f"(objectType {thing} {name}Type)", f"(inReceptacle {thing} {places[THINGS[name]]})"]
        facts += [f"(objectAtLocation {thing} {at[THINGS[name]]})"]
        facts += [f"({property} {thing})" for property in ("pickupable", "heatable", "coolable", "cleanable")]
    listed = "\n    ".join
    return f"""(define (problem kitchen)
(:domain alfred)
(:objects
    {listed(objects)}
)
(:init
    {listed(facts)}
)
(:goal {goal})
(:metric minimize (total-cost))
)
"""


def put(thing: str, place: str, state: str) -> str:
    """The goal of a thing in some state in some place."""
    return f"""(exists (?r - receptacle) (exists (?o - object) (and
    ({state} ?o) (objectType ?o {thing}Type) (receptacleType ?r {PLACES[place]}) (inReceptacle ?o ?r))))"""


def write_game(folder: Path, sentence: str, goal: str, kind: str, domain: str = "", grammar: str = "") -> None:
    """A trial as ALFWorld lays it out; with the package's domain and grammar it can be played."""
    folder.mkdir(parents=True)
    (folder / "traj_data.json").write_text(json.dumps({"task_type": kind}))
    game = {"pddl_domain": domain, "grammar": grammar.replace("UNKNOWN GOAL", sentence), "pddl_problem": problem(goal)}
    (folder / "game.tw-pddl").write_text(json.dumps({**game, "solvable": True, "walkthrough": []}))


def write_kitchens(data: Path, domain: str = "", grammar: str = "") -> None:
    """Two training games and one validation game."""
    root = data / "json_2.1.1"
    rule = (domain, grammar)
    heat, cool = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"
    write_game(
        root / "train" / f"{heat}-Apple-None-GarbageCan-1" / "trial_1",
        "put a hot apple in garbagecan",
        put("Apple", "GarbageCan", "isHot"),
        heat,
        *rule,
    )
    write_game(
        root / "train" / f"{cool}-Mug-None-CounterTop-1" / "trial_1",
        "cool some mug and put it in countertop",
        put("Mug", "CounterTop", "isCool"),
        cool,
        *rule,
    )
    write_game(
        root / "valid_seen" / f"{heat}-Egg-None-CounterTop-1" / "trial_1",
        "heat some egg and put it in countertop",
        put("Egg", "CounterTop", "isHot"),
        heat,
        *rule,
    )
