"""Restate's counter: a virtual object, served by hypercorn in the peers' own environment."""

import restate

counter = restate.VirtualObject("Counter")


@counter.handler()
async def add(ctx: restate.ObjectContext, number: int) -> int:
    """Add a number; return the new total."""
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total


app = restate.app(services=[counter])
