"""A shopping basket of pydantic models: state, event, parameters and replies.

    spawn dev examples/basket.py
    curl -d '{"sku": "pen", "count": 2}' localhost:9001/v1/actors/Basket/ann/put
    curl -d '{"sku": "", "count": 0}' localhost:9001/v1/actors/Basket/ann/put   # 422, both fields
    curl -X POST localhost:9001/v1/actors/Basket/ann/get_state

It needs the extra `pydantic`.
"""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from spawn import Actor, Rejected, action

PRICES = {"pen": Decimal("1.20"), "ink": Decimal("4.50")}


class Line(BaseModel):
    """So many of one thing."""

    model_config = ConfigDict(frozen=True)

    sku: str = Field(min_length=1)
    count: int = Field(default=1, ge=1)


class Content(BaseModel):
    """The state: tuples, so that nothing in it can change, and nothing need be copied."""

    model_config = ConfigDict(frozen=True)

    lines: tuple[Line, ...] = ()


class Put(BaseModel):
    """An event: a line was put into the basket."""

    model_config = ConfigDict(frozen=True)

    line: Line


class Basket(Actor[Content, Put]):
    """One customer's basket."""

    @action
    def put(self, line: Line) -> Content:
        """Put a line into the basket."""
        if line.sku not in PRICES:
            raise Rejected("unknown-sku", f"there is no {line.sku}")
        self.emit(Put(line=line))
        return self.state

    @action
    def order(self) -> Decimal:
        """Return what the basket costs, and delete it."""
        if not self.state.lines:
            raise Rejected("empty", f"the basket of {self.id} is empty")
        self.log.info("ordered %d lines", len(self.state.lines))
        self.delete()
        return sum((PRICES[line.sku] * line.count for line in self.state.lines), Decimal())

    @staticmethod
    def evolve(state: Content, event: Put) -> Content:
        """Add the line."""
        return Content(lines=(*state.lines, event.line))
