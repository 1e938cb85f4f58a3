"""Deleting actors: by their own code, and from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from eventstore.records import Flag
from spawn import Actor, action
from spawn.core.commands import DELETE
from spawn.core.ingress import Call
from spawn.errors import ActionFailed, ActorParked, KeyReused, UnknownAction, UnknownType
from spawn.sdk.settings import actor
from tests.integration.runtime.programs import Program


@dataclass(frozen=True)
class Items:
    """A state."""

    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Added:
    """An event."""

    name: str


class Cart(Actor[Items, Added]):
    """An actor that begins each life with an event and can delete itself."""

    def on_create(self) -> None:
        """Begin a life."""
        self.emit(Added(f"created by {self.caller or 'a reference'}"))

    @action
    def add(self, name: str) -> int:
        """Change it."""
        self.emit(Added(name))
        return len(self.state.names)

    @action
    def drop(self, *, twice: bool = False) -> int:
        """Delete it; what it held is told."""
        held = len(self.state.names)
        self.delete()
        if twice:
            self.delete()
        return held

    @action
    def drop_and_fail(self) -> None:
        """Delete nothing."""
        self.delete()
        raise ValueError("no")

    @action
    def add_and_drop(self) -> None:
        """Do what can't be done."""
        self.emit(Added("x"))
        self.delete()

    @action
    def drop_and_add(self) -> None:
        """Do what can't be done, the other way round."""
        self.delete()
        self.emit(Added("x"))

    @staticmethod
    def evolve(state: Items, event: Added) -> Items:
        """Fold."""
        return replace(state, names=(*state.names, event.name))


async def test_a_deleted_actor_starts_again_and_its_revision_goes_on() -> None:
    """`on_create` runs again with the first applied commit of the new life; also after a start."""
    program = Program(Cart)
    async with program.node() as node:
        cart = program.system.actor(Cart, "a")
        assert await cart.add("pen") == 2
        assert await cart.drop() == 2
        assert await cart.get_state() == Items()
        state = await node.state("Cart", "a", 5.0)
        assert (state.state, state.revision) == (b'{"names":[]}', 2)
    async with program.node() as node:
        cart = program.system.actor(Cart, "a")
        assert await cart.get_state() == Items()
        assert await cart.add("ink") == 2
        assert await cart.get_state() == Items(("created by a reference", "ink"))
        assert (await node.state("Cart", "a", 5.0)).revision == 3
    commits = [commit for commit, _ in await program.commits("Cart")]
    assert [commit.revision for commit in commits] == [1, 2, 3]
    assert [bool(commit.flags & Flag.DELETED) for commit in commits] == [False, True, False]


async def test_deleting_and_changing_do_not_go_together() -> None:
    """Either way round the action fails, and nothing happens; so it is when it raises."""
    program = Program(Cart)
    async with program.node():
        cart = program.system.actor(Cart, "a")
        await cart.add("pen")
        with pytest.raises(ActionFailed, match="Cart can't be deleted: this action has changed it"):
            await cart.add_and_drop()
        with pytest.raises(ActionFailed, match="Added can't be emitted: this action has deleted"):
            await cart.drop_and_add()
        with pytest.raises(ActionFailed, match="ValueError: no"):
            await cart.drop_and_fail()
        assert len((await cart.get_state()).names) == 2
        assert await cart.drop(twice=True) == 2


async def test_deleting_a_new_actor_changes_nothing() -> None:
    """By its own code or from outside, before its first commit or after its last."""
    program = Program(Cart)
    async with program.node() as node:
        cart = program.system.actor(Cart, "a")
        assert await cart.drop() == 1
        answer = await node.delete("Cart", "a", 5.0)
        assert (answer.reply, answer.revision) == (b"null", 0)
        await cart.add("pen")
        assert (await node.delete("Cart", "a", 5.0)).revision == 2
        assert (await node.delete("Cart", "a", 5.0)).revision == 2
        assert (await node.state("Cart", "a", 5.0)).revision == 2


async def test_a_deletion_from_outside_is_a_command_like_others() -> None:
    """With caller and key in its record; a repetition gets the first answer again."""
    program = Program(Cart)
    async with program.node() as node:
        await program.system.actor(Cart, "a").add("pen")
        first = await node.delete("Cart", "a", 5.0, "k1", "http 127.0.0.1")
        await program.system.actor(Cart, "a").add("ink")
        again = await node.delete("Cart", "a", 5.0, "k1", "http 127.0.0.1")
        assert again == first
        assert (await node.state("Cart", "a", 5.0)).revision == 3
        with pytest.raises(KeyReused):
            await node.invoke(Call("Cart", "a", "add", b'"x"', 5.0, key="k1"))
    _, body = (await program.commits("Cart"))[1]
    assert (body.action, body.caller, body.key) == (DELETE, "http 127.0.0.1", "k1")


async def test_the_name_of_a_deletion_can_not_be_called() -> None:
    """It is no action of any type."""
    program = Program(Cart)
    async with program.node() as node:
        with pytest.raises(UnknownAction):
            node.invoke(Call("Cart", "a", DELETE, b"", 5.0))
        with pytest.raises(UnknownType):
            node.delete("Cat", "a", 5.0)


@actor(named="main")
class Registry(Actor[Items]):
    """There is one."""

    @action
    def put(self, name: str) -> None:
        """Set the state."""
        self.state = Items((name,))

    @action
    def forget(self) -> None:
        """Delete it, after a change."""
        self.state = Items()
        self.delete()


async def test_a_named_actor_has_one_id_everywhere() -> None:
    """Any other is one of a type that is not there, whichever way it is asked for."""
    program = Program(Registry)
    async with program.node() as node:
        await program.system.actor(Registry).put("x")
        await program.system.actor(Registry, "main").put("y")
        with pytest.raises(UnknownType, match="Registry is one actor, 'main'"):
            program.system.actor(Registry, "other")
        with pytest.raises(UnknownType, match="Registry is one actor, 'main'"):
            node.invoke(Call("Registry", "other", "put", b'"x"', 5.0))
        with pytest.raises(UnknownType, match="Registry is one actor, 'main'"):
            node.delete("Registry", "other", 5.0)
        with pytest.raises(UnknownType, match="Registry is one actor, 'main'"):
            await node.state("Registry", "other", 5.0)
        with pytest.raises(ActionFailed, match="Registry can't be deleted"):
            await program.system.actor(Registry).forget()


class Choosy(Actor[Items]):
    """Has no first state for some ids."""

    @classmethod
    def initial(cls, actor_id: str, /) -> Items:
        """Refuse one id."""
        if actor_id == "bad":
            raise ValueError("not this one")
        return Items((actor_id,))

    @action
    def touch(self) -> None:
        """Change nothing."""


async def test_an_actor_without_an_initial_state_is_parked() -> None:
    """Its callers are told why; the others go on."""
    program = Program(Choosy)
    async with program.node() as node:
        for attempt in (
            program.system.actor(Choosy, "bad").touch,
            program.system.actor(Choosy, "bad").get_state,
        ):
            with pytest.raises(ActorParked, match="initial of Choosy/bad raised ValueError: not"):
                await attempt()
        with pytest.raises(ActorParked):
            await node.delete("Choosy", "bad", 5.0)
        assert await program.system.actor(Choosy, "good").get_state() == Items(("good",))


async def test_an_actor_never_written_is_read_and_not_written() -> None:
    """Revision 0, the initial state, no record."""
    program = Program(Cart)
    async with program.node() as node:
        assert await program.system.actor(Cart, "new").get_state() == Items()
        state = await node.state("Cart", "new", 5.0)
        assert (state.state, state.revision, state.position) == (b'{"names":[]}', 0, None)
        answer = await node.invoke(Call("Cart", "new", "get_state", b"", 5.0))
        assert (answer.reply, answer.revision, answer.position) == (b'{"names":[]}', 0, None)
    assert await program.commits("Cart") == []


async def test_wrong_ids_leave_memory_again() -> None:
    """Parked or not, an actor that was never written may go: it is met again as it was."""
    program = Program(Choosy)
    async with program.node() as node:
        with pytest.raises(ActorParked):
            await program.system.actor(Choosy, "bad").touch()
        [served] = node._served.values()
        residents = [worker.machine.residents for worker in served.workers]
        [(home, bad)] = [
            (some, actor)
            for some in residents
            for table in some.tables.values()
            for actor in table.actors.values()
        ]
        assert home.evict(bad)
        assert home.all_in_memory
        with pytest.raises(ActorParked):
            await program.system.actor(Choosy, "bad").touch()
