"""Protobuf messages without a compiler: classes made from field lists."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["messages"]

_Field = descriptor_pb2.FieldDescriptorProto
_KINDS = {
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "double": _Field.TYPE_DOUBLE,
    "bytes": _Field.TYPE_BYTES,
}


def messages(**described: str) -> dict[str, Any]:
    """Return message classes of package `shop`, each from `number name type, ...`.

    A type is a plain one, another message's name or `Color`, with `*` behind it if repeated.
    """
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    colors = described.pop("Color", "RED BLUE").split()
    enum = file.enum_type.add(name="Color")
    for number, name in enumerate(colors):
        enum.value.add(name=name, number=number)
    for message, fields in described.items():
        made = file.message_type.add(name=message)
        for field in filter(None, fields.split(", ")):
            number_text, name, kind = field.split()
            added = made.field.add(name=name, number=int(number_text), label=_Field.LABEL_OPTIONAL)
            if kind.endswith("*"):
                added.label = _Field.LABEL_REPEATED
                kind = kind[:-1]
            if kind in _KINDS:
                added.type = _KINDS[kind]
            else:
                added.type = _Field.TYPE_ENUM if kind == "Color" else _Field.TYPE_MESSAGE
                added.type_name = f".shop.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}"))
        for name in described
    }
