"""The basket of pydantic models."""

from decimal import Decimal

import pytest

from examples.basket import Basket, Content, Line, Put
from spawn.errors import Rejected
from spawn.testing import Kit


async def test_a_basket_is_filled_ordered_and_gone() -> None:
    """Each step replayed from its encoded events."""
    kit = Kit(Basket, "ann").given(Put(line=Line(sku="pen", count=2)))
    out = await kit.when(Basket.put, Line(sku="ink"))
    assert out.reply == Content(lines=(Line(sku="pen", count=2), Line(sku="ink")))
    ordered = await kit.when(Basket.order)
    assert (ordered.reply, kit.state) == (Decimal("6.90"), Content())


async def test_what_is_not_sold_is_refused() -> None:
    """With a code of the example's own."""
    with pytest.raises(Rejected, match="there is no hat"):
        await Kit(Basket).when(Basket.put, Line(sku="hat"))
    with pytest.raises(Rejected, match="is empty"):
        await Kit(Basket).when(Basket.order)
