"""The pages of a made-up shop as text, what can be done on each, and what comes of it. No state of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from lightning_agentrl.data.shop_catalogue import Catalogue, Product
from lightning_agentrl.tools.search import SearchTool

BACK, NEXT, PREV, BUY = "back to search", "next >", "< prev", "buy now"
COMMAND = re.compile(r"(search|click)\[(.*)\]", re.DOTALL)
PageName = Literal["search", "results", "item", "description", "features", "bought"]


@dataclass(frozen=True)
class Visit:
    """Where a customer is in the shop."""

    page: PageName = "search"
    query: str = ""
    """What was last searched for."""
    found: tuple[int, ...] = ()
    """Numbers of the products found, best first."""
    first: int = 0
    """Place among the found ones of the first that the page of results shows."""
    item: Product | None = None
    """The product that is looked at, or bought."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Kind of option → value, of the product that is looked at."""


@dataclass(frozen=True)
class Shopfront:
    """The shop as its visitors see it."""

    catalogue: Catalogue
    page_size: int = 10
    """Products on a page of results."""
    most_results: int = 50
    """Products that a search finds at most."""

    @cached_property
    def _search(self) -> SearchTool:
        return SearchTool([product.text for product in self.catalogue.products], self.most_results)

    def act(self, visit: Visit, command: str) -> Visit | None:
        """Where a command leads; None if it cannot be done here.

        Args:
            visit: where the customer is.
            command: ``search[words]`` or ``click[button]``, in lower case.
        """
        match = COMMAND.fullmatch(command)
        if match is None:
            return None
        argument = match[2].strip()
        if match[1] == "search":
            return self._find(argument) if visit.page == "search" and argument else None
        return self._click(visit, argument) if argument in self.buttons(visit) else None

    def buttons(self, visit: Visit) -> tuple[str, ...]:
        """What can be clicked."""
        item = visit.item
        if visit.page == "search" or visit.page == "bought":
            return ()
        if visit.page == "results":
            more = (*([PREV] if visit.first else []), *([NEXT] if self._end(visit) < len(visit.found) else []))
            return (BACK, *more, *(product.id for product in self._shown(visit)))
        if visit.page == "item":
            assert item is not None
            values = (value for kind in item.options.values() for value in kind)
            return (BACK, PREV, *values, "description", "features", BUY)
        return (BACK, PREV)

    def admissible(self, visit: Visit) -> tuple[str, ...]:
        """The commands that can be done here."""
        if visit.page == "search":
            return ("search[<words>]",)
        return tuple(f"click[{button}]" for button in self.buttons(visit))

    def text(self, visit: Visit) -> str:
        """The page; what stands in brackets can be clicked."""
        if visit.page == "search":
            return "Search page"
        if visit.page == "bought":
            return "Thank you for your purchase."
        if visit.page == "results":
            return self._results(visit)
        assert visit.item is not None
        head = f"[{BACK}] [{PREV}]\n"
        if visit.page == "item":
            return head + _item(visit.item, visit.chosen)
        lines = visit.item.features if visit.page == "features" else (visit.item.description,)
        return head + "\n".join((f"{visit.page} of {visit.item.id}", *lines))

    def _find(self, query: str) -> Visit:
        return Visit("results", query, tuple(self._search.rank(query)))

    def _click(self, visit: Visit, button: str) -> Visit:
        if button == BACK:
            return Visit()
        if visit.page == "results":
            if button in (NEXT, PREV):
                step = self.page_size if button == NEXT else -self.page_size
                return replace(visit, first=visit.first + step)
            return replace(visit, page="item", item=self.catalogue.by_id[button])
        if visit.page in ("description", "features"):  # the only other button goes back to the item
            return replace(visit, page="item")
        if button == PREV:
            return replace(visit, page="results", item=None, chosen={})
        if button == BUY:
            return replace(visit, page="bought")
        if button in ("description", "features"):
            return replace(visit, page="features" if button == "features" else "description")
        assert visit.item is not None
        kind = next(kind for kind, values in visit.item.options.items() if button in values)
        return replace(visit, chosen={**visit.chosen, kind: button})

    def _end(self, visit: Visit) -> int:
        return min(visit.first + self.page_size, len(visit.found))

    def _shown(self, visit: Visit) -> list[Product]:
        return [self.catalogue.products[number] for number in visit.found[visit.first : self._end(visit)]]

    def _results(self, visit: Visit) -> str:
        head = " ".join(f"[{button}]" for button in self.buttons(visit) if button in (BACK, PREV, NEXT))
        if not visit.found:
            return f"{head}\nNothing found for: {visit.query}"
        number = f"Page {1 + visit.first // self.page_size}, {len(visit.found)} results"
        lines = (f"[{product.id}] {product.title}, {_dollars(product.price)}" for product in self._shown(visit))
        return "\n".join((head, number, *lines))


def _item(item: Product, chosen: Mapping[str, str]) -> str:
    lines = [f"{item.title}, {_dollars(item.cost(chosen))}"]
    for kind, values in item.options.items():
        title = f"{kind} {chosen[kind]}:" if kind in chosen else f"{kind}:"
        lines.append(" ".join((title, *map(_value, values.items()))))
    return "\n".join((*lines, f"[description] [features] [{BUY}]"))


def _value(offer: tuple[str, float]) -> str:
    value, extra = offer
    return f"[{value}]" + (f" (+{_dollars(extra)})" if extra else "")


def _dollars(amount: float) -> str:
    return f"${amount:.2f}"
