"""The class decorator `actor`: settings of one actor type."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NoReturn, TypeVar, cast, overload

from spawn.core.behavior import TypeSettings
from spawn.core.ids import ID_BYTES_MAX, NAME_PATTERN
from spawn.errors import InvalidTarget
from spawn.sdk.actor import Actor, definition_of, is_actor_type
from spawn.sdk.shapes import place_of

__all__ = ["actor", "settings_of"]

A = TypeVar("A", bound=Actor[Any, Any])
_DEFAULT = TypeSettings()


@overload
def actor(cls: type[A], /) -> type[A]: ...
@overload
def actor(
    *,
    name: str = ...,
    named: bool | str = ...,
    topic: str = ...,
    partitions: int | None = ...,
    idle_timeout_s: float = ...,
    mailbox_size_max: int = ...,
    history_interval: int = ...,
    snapshot_version: int = ...,
    strict_reads: bool = ...,
    record_commands: bool = ...,
) -> Callable[[type[A]], type[A]]: ...
def actor(
    cls: type[A] | None = None,
    /,
    *,
    name: str = "",
    named: bool | str = False,
    topic: str = _DEFAULT.topic,
    partitions: int | None = _DEFAULT.partitions,
    idle_timeout_s: float = _DEFAULT.idle_timeout_s,
    mailbox_size_max: int = _DEFAULT.mailbox_size_max,
    history_interval: int = _DEFAULT.history_interval,
    snapshot_version: int = _DEFAULT.snapshot_version,
    strict_reads: bool = _DEFAULT.strict_reads,
    record_commands: bool = _DEFAULT.record_commands,
    **unknown: Any,
) -> type[A] | Callable[[type[A]], type[A]]:
    """Set how a type is run; a class without this decorator has the defaults.

    `name`: the type's name in topics and URLs (default: the class's). `named`: there is one actor
    of this type, with this id (True: the type's name). The rest as in `TypeSettings`.
    """

    def set_settings(decorated: type[A]) -> type[A]:
        type_name = name or decorated.__name__
        settings = TypeSettings(
            partitions=1 if named and not topic else partitions,
            topic=topic,
            named_id=type_name if named is True else named or "",
            idle_timeout_s=idle_timeout_s,
            mailbox_size_max=mailbox_size_max,
            history_interval=history_interval,
            snapshot_version=snapshot_version,
            strict_reads=strict_reads,
            record_commands=record_commands,
        )
        for wrong in unknown:
            _refuse_name(decorated, wrong)
        if not isinstance(named, bool | str):
            _refuse(decorated, "it is an id, or True: the type's name", f"named={named!r}")
        if named and partitions not in (None, 1):
            _refuse(decorated, "a named type has one partition", f"partitions={partitions}")
        _check(decorated, type_name, settings)
        decorated.__spawn_settings__ = (type_name, settings)
        if type_name != decorated.__name__ and is_actor_type(decorated):
            decorated.__spawn_definition__ = None  # Made again, under the new name.
            definition_of(decorated)
        return decorated

    return set_settings if cls is None else set_settings(cls)


def settings_of(cls: type[Actor[Any, Any]]) -> tuple[str, TypeSettings]:
    """Return an actor class's type name and settings. Raises: InvalidTarget."""
    if cls.__spawn_settings__ is None:
        _check(cls, cls.__name__, _DEFAULT)
        return cls.__name__, _DEFAULT
    return cls.__spawn_settings__


def _check(cls: type, name: str, settings: TypeSettings) -> None:
    for key, value in (("name", name), ("topic", settings.topic)):
        given: object = value
        is_name = isinstance(given, str) and NAME_PATTERN.fullmatch(given)
        if (given or key == "name") and not is_name:
            wanted = "letters, digits, _ and -, a letter first, at most 63 in all"
            _refuse(cls, f"a {key} is made of {wanted}", f"{key}={value!r}")
    if len(settings.named_id.encode()) > ID_BYTES_MAX:
        _refuse(cls, f"an id has at most {ID_BYTES_MAX} bytes of UTF-8", "named=...")
    for key, least in (
        ("partitions", 1),
        ("mailbox_size_max", 1),
        ("history_interval", 0),
        ("snapshot_version", 1),
    ):
        number = getattr(settings, key)
        if number is not None and (type(number) is not int or number < least):
            _refuse(cls, f"it is a number of at least {least}", f"{key}={number!r}")
    for key in ("strict_reads", "record_commands"):
        if type(flag := getattr(settings, key)) is not bool:
            _refuse(cls, "it is True or False", f"{key}={flag!r}")
    seconds: object = settings.idle_timeout_s
    if type(seconds) not in (int, float) or not cast("float", seconds) > 0:
        _refuse(cls, "it is a time above 0, in seconds", f"idle_timeout_s={seconds!r}")


def _refuse_name(cls: type, wrong: str) -> NoReturn:
    known = ["name", "named", *(field.name for field in fields(TypeSettings))]
    known.remove("named_id")
    # A name that lacks its unit is near to the one that has it.
    near = difflib.get_close_matches(wrong, known, 1, 0.5)
    near = near or [each for each in known if wrong in each or each in wrong][:1]
    raise InvalidTarget(
        f"{cls.__name__}: @actor has no setting `{wrong}`; it has {', '.join(known)}",
        at=place_of(cls),
        hint=f"did you mean `{near[0]}`?" if near else "",
    )


def _refuse(cls: type, rule: str, given: str) -> NoReturn:
    raise InvalidTarget(f"{cls.__name__}: @actor({given}): {rule}", at=place_of(cls))
