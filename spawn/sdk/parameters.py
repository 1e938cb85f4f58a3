"""The parameters of one action: JSON input to arguments, arguments of a call to JSON.

One parameter: the input is its JSON. Several: an object by name. None: nothing, or `null`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from spawn.errors import BodyMismatch, InvalidJson, InvalidTarget
from spawn.sdk.carrying import Carrier, Unfit, encode_json, too_long
from spawn.sdk.mismatch import describe_mismatch, json_text, value_text
from spawn.sdk.shapes import place_of, type_text

__all__ = ["Parameters"]

_NOTHING: Final = (b"", b"null")
_EXAMPLES: Final[dict[Any, str]] = {int: "5", float: "1.5", bool: "true", str: '"text"'}


class _Parameter(NamedTuple):
    name: str
    carrier: Carrier
    default: bytes | None
    """As JSON; None: it has none."""


class Parameters:
    """Knows an action's parameters; `action` is its full name, e.g. `Counter.add`."""

    __slots__ = ("_decode_object", "_parameters", "_signature", "action", "count", "function")

    def __init__(self, action: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
        """Raises: InvalidTarget - a parameter can't be what it is."""
        self.action = action
        _, *parameters = inspect.signature(function).parameters.values()
        self._signature = inspect.Signature(parameters)
        self._parameters = [self._describe(each, hints, function) for each in parameters]
        self.count = len(parameters)
        self._decode_object = self._object_decoder() if self.count > 1 else None
        self.function = _positional(function, parameters)
        """Takes an actor and all arguments in order."""

    @property
    def sole(self) -> Carrier | None:
        """The carrier of the only parameter, if there is exactly one."""
        return self._parameters[0].carrier if self.count == 1 else None

    @property
    def described(self) -> Sequence[tuple[str, Any, bytes | None]]:
        """Each one's name, annotation, and default as JSON (None: it has none)."""
        return [(name, carrier.annotation, default) for name, carrier, default in self._parameters]

    def decode(self, payload: bytes) -> tuple[Any, ...]:
        """Return the arguments that a JSON input stands for. Raises: InvalidJson, BodyMismatch."""
        try:
            if self._decode_object is not None:
                return self._checked(self._from_object(payload), payload)
            if self.count == 1:
                return self._checked((self._decode_sole(payload),), payload)
        except BodyMismatch:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse(payload, error)
        except Exception as error:
            # A class of the user's refused its fields with an exception of its own.
            raise BodyMismatch(f"{self.action}: {error}", hint=self._hint()) from error
        if payload not in _NOTHING:
            self._check_json(payload)
            raise BodyMismatch(
                f"{self.action} has no parameters, got {value_text(msgspec.json.decode(payload))}",
                hint=self._hint(),
            )
        return ()

    def _checked(self, arguments: tuple[Any, ...], payload: bytes) -> tuple[Any, ...]:
        for parameter, value in zip(self._parameters, arguments, strict=True):
            if text := too_long(value, payload, parameter.name):
                raise BodyMismatch(f"{self.action}: {text}", hint=self._hint())
        return arguments

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], bytes]:
        """Return a call's arguments as the actor gets them, and the JSON input.

        Raises: TypeError - wrong number or names; BodyMismatch - a wrong type.
        """
        if kwargs or len(args) != self.count:
            try:
                bound = self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{self.action}: {error}") from None
            bound.apply_defaults()
            args = tuple(bound.arguments.values())
        values: list[Any] = []
        encoded: list[bytes] = []
        for (name, carrier, _), value in zip(self._parameters, args, strict=True):
            try:
                carried, part = carrier.carry(value, name)
            except Unfit as error:
                raise BodyMismatch(f"{self.action}: {error}", hint=self._hint()) from error
            if text := too_long(carried, part, name):
                raise BodyMismatch(f"{self.action}: {text}", hint=self._hint())
            values.append(carried)
            encoded.append(part)
        if self.count == 1:
            return tuple(values), encoded[0]
        if not self.count:
            return (), b"null"
        parts = (
            encode_json(parameter.name) + b":" + part
            for parameter, part in zip(self._parameters, encoded, strict=True)
        )
        return tuple(values), b"{" + b",".join(parts) + b"}"

    def _describe(
        self, parameter: inspect.Parameter, hints: Mapping[str, Any], function: Any
    ) -> _Parameter:
        name = parameter.name
        where = f"{self.action}: parameter `{name}`"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidTarget(f"{where} takes any number: name each", at=place_of(function))
        if name not in hints:
            raise InvalidTarget(
                f"{where} has no annotation: it says what JSON is valid", at=place_of(function)
            )
        try:
            carrier = Carrier(hints[name], where)
            if parameter.default is parameter.empty:
                return _Parameter(name, carrier, None)
            return _Parameter(name, carrier, carrier.carry(parameter.default, name)[1])
        except InvalidTarget as error:
            error.at = place_of(function)
            raise
        except Unfit as error:
            raise InvalidTarget(f"{where}: its default: {error}", at=place_of(function)) from error

    def _object_decoder(self) -> Callable[[bytes], Any]:
        fields: list[Any] = []
        for name, carrier, default in self._parameters:
            if default is None:
                fields.append((name, carrier.annotation))
            else:
                fresh = _fresh(carrier, default)
                fields.append((name, carrier.annotation, msgspec.field(default_factory=fresh)))
        struct = msgspec.defstruct("Body", fields, kw_only=True, forbid_unknown_fields=True)
        return Carrier(struct, self.action).decode

    def _from_object(self, payload: bytes) -> tuple[Any, ...]:
        assert self._decode_object is not None, "there are several parameters"
        if payload in _NOTHING and all(each.default is not None for each in self._parameters):
            payload = b"{}"
        return msgspec.structs.astuple(self._decode_object(payload or b"null"))

    def _decode_sole(self, payload: bytes) -> Any:
        (_, carrier, default) = self._parameters[0]
        if payload in _NOTHING and default is not None:
            # An edge may stand `null` for an empty body: a null that fits counts as one.
            payload = b"null" if payload and type(None) in carrier.passed else default
        return carrier.decode(payload or b"null")

    def _refuse(self, payload: bytes, error: Exception) -> NoReturn:
        """Raise what fits; a mismatch may have hidden that the rest is no JSON."""
        self._check_json(payload or b"null")
        root = self._parameters[0].name if self.count == 1 else ""
        text = describe_mismatch(str(error), payload or b"null", root)
        missing = [f"`{name}`" for name, _, default in self._parameters if default is None]
        if not payload and missing:
            text = f"{', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
        elif allowed := self._enum_values(str(error)):
            text += f"; it is one of {allowed}"
        raise BodyMismatch(f"{self.action}: {text}", hint=self._hint()) from error

    def _enum_values(self, text: str) -> str:
        """Return the values of the enum that a value was none of; empty: that is not the reason."""
        if not text.startswith("Invalid enum value"):
            return ""
        path = text.rpartition(" - at `$")[2].rstrip("`").lstrip(".") if " - at `$" in text else ""
        annotation: Any
        if self.count == 1:
            annotation = None if path else self._parameters[0].carrier.annotation
        else:
            annotation = next(
                (c.annotation for name, c, _ in self._parameters if name == path), None
            )
        if not (isinstance(annotation, type) and issubclass(annotation, Enum)):
            return ""
        return ", ".join(value_text(member.value) for member in annotation)

    def _check_json(self, payload: bytes) -> None:
        try:
            msgspec.json.decode(payload)
        except RecursionError as error:
            raise InvalidJson(f"{self.action}: the body is nested too deeply") from error
        except msgspec.ValidationError:
            return  # A number beyond what Python takes: JSON, but no value.
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = str(error).removeprefix("JSON is malformed: ").replace("Input", "input")
            raise InvalidJson(
                f"{self.action}: the body is not JSON: {reason}", hint=self._hint()
            ) from error

    def _hint(self) -> str:
        return f"{self.action}{self._signature_text()}: {self._body_text()}"

    def _signature_text(self) -> str:
        shown = [
            f"{name}: {type_text(carrier.annotation)}"
            + ("" if default is None else f" = {default.decode(errors='replace')[:40]}")
            for name, carrier, default in self._parameters
        ]
        return f"({', '.join(shown)})"

    def _body_text(self) -> str:
        """Say what JSON is to be sent, in JSON's own words."""
        if not self.count:
            return "no parameters, so there is no input"
        texts = [json_text(carrier.annotation) for _, carrier, _ in self._parameters]
        if self.count == 1:
            example = _EXAMPLES.get(self._parameters[0].carrier.annotation)
            return f"one parameter, so the input is its JSON, {texts[0]}" + (
                f", e.g. {example}" if example else ""
            )
        names = ", ".join(
            f'"{name}": {text}' for (name, _, _), text in zip(self._parameters, texts, strict=True)
        )
        return f"several parameters, so the input is an object {{{names}}}"


def _fresh(carrier: Carrier, default: bytes) -> Callable[[], Any]:
    return lambda: carrier.decode(default)


def _positional(
    function: Callable[..., Any], parameters: Sequence[inspect.Parameter]
) -> Callable[..., Any]:
    names = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    if not names:
        return function
    count = len(parameters) - len(names)

    def call(actor: Any, *arguments: Any) -> Any:
        named = zip(names, arguments[count:], strict=True)
        return function(actor, *arguments[:count], **dict(named))

    return call
