"""Finds rooms for meetings."""

from .slots import clash, minutes, round_up, show

Booking = tuple[str, int, int]


def book(bookings: list[Booking], room: str, start: str, end: str) -> list[Booking]:
    """The bookings with another one, by room and time.

    Raises:
        ValueError: when the room is taken, or the meeting has no length.
    """
    slot = (minutes(start), minutes(end))
    if slot[0] >= slot[1]:
        raise ValueError("A meeting ends after it began.")
    for other, begin, finish in bookings:
        if other == room and clash(slot, (begin, finish)):
            raise ValueError("The room is taken.")
    return sorted([*bookings, (room, slot[0], slot[1])])


def free_rooms(bookings: list[Booking], rooms: list[str], start: str, end: str) -> list[str]:
    """Rooms, in the given order, that are free for all of a slot."""
    slot = (minutes(start), minutes(end))
    taken = {room for room, begin, finish in bookings if clash(slot, (begin, finish))}
    return [room for room in rooms if room not in taken]


def earliest(bookings: list[Booking], room: str, length: int, after: str = "8:00", until: str = "18:00") -> str | None:
    """The first time, on a quarter of an hour, at which a room is free for so many minutes; None if there is none."""
    start = round_up(minutes(after))
    for other, begin, finish in sorted(bookings):
        if other == room and clash((start, start + length), (begin, finish)):
            start = round_up(finish)
    return show(start) if start + length <= minutes(until) else None


def usage(bookings: list[Booking], room: str) -> int:
    """For how many minutes a room is taken."""
    return sum(finish - begin for other, begin, finish in bookings if other == room)
