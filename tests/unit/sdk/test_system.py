"""Systems: a name and actor types."""

import subprocess
import sys

import pytest

import spawn
from examples.counter import Counter
from spawn.errors import InvalidTarget
from spawn.sdk.system import System


def test_a_system_holds_its_types() -> None:
    """In the order in which they were named, each once."""
    system = System("shop", actors=[Counter, Counter])
    assert [behavior.type for behavior in system.behaviors] == ["Counter"]
    assert system.name == "shop"


def test_a_system_without_actors_takes_in_what_is_referred_to() -> None:
    """So that a reference can be made while its module is loaded."""
    system = System("shop")
    assert system.actor(Counter, "a").id == "a"
    assert [behavior.type for behavior in system.behaviors] == ["Counter"]


@pytest.mark.parametrize("name", ["", "1", "a b", "é", "x" * 64])
def test_a_name_that_no_topic_can_have_is_refused(name: str) -> None:
    """It is part of every topic's."""
    with pytest.raises(InvalidTarget, match="is no name for a system"):
        System(name)


def test_what_is_no_actor_class_is_refused() -> None:
    """E.g. an instance, or some other class."""
    with pytest.raises(InvalidTarget, match="is no actor class"):
        System("shop", actors=[int])  # type: ignore[list-item]


def test_the_public_names_are_these() -> None:
    """Taking one away breaks users; each exists, and they are sorted."""
    assert spawn.__all__ == [
        "ActionFailed",
        "Actor",
        "BodyMismatch",
        "CallError",
        "Client",
        "InvalidTarget",
        "MailboxFull",
        "NotStarted",
        "OutcomeUnknown",
        "Rejected",
        "SpawnError",
        "System",
        "Unavailable",
        "action",
        "actor",
    ]
    assert sorted(spawn.__all__) == spawn.__all__
    assert all(hasattr(spawn, name) for name in spawn.__all__)


def test_importing_spawn_loads_no_client_of_a_server() -> None:
    """It is what every program with actors does first."""
    heavy = {"aiokafka", "aiohttp", "asyncpg", "nats", "fastavro", "asyncio"}
    code = f"import sys, spawn; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"
