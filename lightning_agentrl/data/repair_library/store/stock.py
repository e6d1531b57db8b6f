"""How much of each article is there."""


class Stock:
    """Counts by article."""

    def __init__(self, counts: dict[str, int] | None = None, low: int = 3) -> None:
        """Start with some articles; below ``low`` an article has to be ordered."""
        self.counts = dict(counts or {})
        self.low = low

    def available(self, article: str) -> int:
        """How many there are."""
        return self.counts.get(article, 0)

    def add(self, article: str, count: int = 1) -> None:
        """Put some in."""
        self.counts[article] = self.available(article) + count

    def take(self, article: str, count: int = 1) -> bool:
        """Take some out, if there are enough; whether there were."""
        if count > self.available(article):
            return False
        self.counts[article] -= count
        return True

    def to_order(self) -> list[str]:
        """Articles of which there are too few, by name."""
        return sorted(article for article, count in self.counts.items() if count < self.low)
