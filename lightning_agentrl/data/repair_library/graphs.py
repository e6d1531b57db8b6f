"""Directed graphs as mappings from a node to the nodes that it leads to."""

from collections import deque

Graph = dict[str, list[str]]


def shortest_path(graph: Graph, start: str, goal: str) -> list[str] | None:
    """Nodes of a path with the fewest steps; None if there is no path."""
    came_from: dict[str, str | None] = {start: None}
    queue = deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            path = [node]
            while (before := came_from[path[-1]]) is not None:
                path.append(before)
            return path[::-1]
        for follower in graph.get(node, []):
            if follower not in came_from:
                came_from[follower] = node
                queue.append(follower)
    return None


def reachable(graph: Graph, start: str) -> set[str]:
    """All nodes that can be reached, the start included."""
    seen = {start}
    stack = [start]
    while stack:
        for follower in graph.get(stack.pop(), []):
            if follower not in seen:
                seen.add(follower)
                stack.append(follower)
    return seen


def order(graph: Graph) -> list[str]:
    """Every node before those that it leads to; of several that may come next, the alphabetically first.

    Raises:
        ValueError: when the graph has a circle.
    """
    nodes = set(graph) | {follower for followers in graph.values() for follower in followers}
    waiting = dict.fromkeys(nodes, 0)
    for followers in graph.values():
        for follower in followers:
            waiting[follower] += 1
    ready = sorted(node for node in nodes if waiting[node] == 0)
    result: list[str] = []
    while ready:
        node = ready.pop(0)
        result.append(node)
        for follower in graph.get(node, []):
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready = sorted([*ready, follower])
    if len(result) < len(nodes):
        raise ValueError("The graph has a circle.")
    return result


def turned(graph: Graph) -> Graph:
    """The graph with every edge the other way round; nodes without edges are left out."""
    result: Graph = {}
    for node, followers in graph.items():
        for follower in followers:
            result.setdefault(follower, []).append(node)
    return result
