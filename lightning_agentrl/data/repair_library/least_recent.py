"""A cache that forgets what was not used for longest."""


class Cache:
    """Keeps at most ``size`` values by key."""

    def __init__(self, size: int = 2) -> None:
        """Start empty.

        Raises:
            ValueError: for a size below 1.
        """
        if size < 1:
            raise ValueError("A cache needs room for at least one value.")
        self.size = size
        self.values: dict[str, int] = {}
        self.hits = 0
        self.misses = 0

    def get(self, key: str, default: int = 0) -> int:
        """A value, which counts as used now, or the default."""
        if key not in self.values:
            self.misses += 1
            return default
        self.hits += 1
        value = self.values.pop(key)
        self.values[key] = value
        return value

    def put(self, key: str, value: int) -> None:
        """Keep a value, which counts as used now; the one unused for longest may have to go."""
        self.values.pop(key, None)
        self.values[key] = value
        if len(self.values) > self.size:
            oldest = next(iter(self.values))
            del self.values[oldest]


def replay(text: str, size: int = 2) -> list[int]:
    """What a new cache answers: ``a=1`` keeps a value, ``a`` asks for it."""
    cache = Cache(size)
    answers = []
    for step in text.split():
        key, is_put, value = step.partition("=")
        if is_put:
            cache.put(key, int(value))
        else:
            answers.append(cache.get(key, -1))
    return answers


def hit_rate(keys: str, size: int = 2) -> tuple[int, int]:
    """Hits and misses when each letter is asked for and, where it is missing, kept."""
    cache = Cache(size)
    for key in keys:
        if cache.get(key) == 0:
            cache.put(key, 1)
    return (cache.hits, cache.misses)
