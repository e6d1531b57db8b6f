"""A heap of numbers in a list: every number is at most as great as the two at 2n+1 and 2n+2."""


def push(heap: list[int], number: int) -> None:
    """Add a number."""
    heap.append(number)
    place = len(heap) - 1
    while place > 0:
        parent = (place - 1) // 2
        if heap[parent] <= heap[place]:
            break
        heap[parent], heap[place] = heap[place], heap[parent]
        place = parent


def pop(heap: list[int]) -> int:
    """Take the least number out.

    Raises:
        IndexError: for an empty heap.
    """
    last = heap.pop()
    if not heap:
        return last
    least = heap[0]
    heap[0] = last
    place = 0
    while 2 * place + 1 < len(heap):
        child = 2 * place + 1
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[place] <= heap[child]:
            break
        heap[place], heap[child] = heap[child], heap[place]
        place = child
    return least


def build(numbers: list[int]) -> list[int]:
    """A heap of these numbers, pushed one after the other."""
    heap: list[int] = []
    for number in numbers:
        push(heap, number)
    return heap


def ordered(numbers: list[int], reverse: bool = False) -> list[int]:
    """The numbers in order, by way of a heap."""
    heap = build(numbers)
    result = [pop(heap) for _ in range(len(numbers))]
    return result[::-1] if reverse else result


def is_heap(numbers: list[int]) -> bool:
    """Whether a list is a heap."""
    return all(numbers[(place - 1) // 2] <= numbers[place] for place in range(1, len(numbers)))


def smallest(numbers: list[int], count: int = 3) -> list[int]:
    """The least ``count`` numbers, in order; all, if there are not so many."""
    heap = build(numbers)
    return [pop(heap) for _ in range(min(count, len(numbers)))]
