"""Reads a `.proto` file without protoc."""

import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

_BLOCK = re.compile(r"(message|enum|service|oneof) (\w+) \{")
_FIELD = re.compile(r"(repeated )?([\w.]+) (\w+) = (\d+);")
_MAP = re.compile(r"map<string, ([\w.]+)> (\w+) = (\d+);")
_VALUE = re.compile(r"(\w+) = (\d+);")
_METHOD = re.compile(r"rpc (\w+)\((\w+)\) returns \((\w+)\);")
_HEAD = re.compile(r'(syntax =|package|import) "?([\w./]+)"?;')
_SCALARS = ("bool", "bytes", "double", "float", "int32", "int64", "string")


def read_proto(text: str, name: str) -> FileDescriptorProto:
    r"""Reads a definition of messages and services, one statement a line.

    What is understood: `syntax`, `package`, `import`, messages within messages, enumerations,
    `oneof`, maps from strings, `repeated`, services of unary methods, and comments.

    Args:
        text: Content of the file.
        name: Its name.

    Returns:
        The definition as protoc would give it, with the types of fields left to the pool where they
        are messages or enumerations.

    Raises:
        ValueError: If a line is not understood.

    Example:
        >>> lines = ["message Dim {", "int64 size = 1;", "}"]
        >>> read_proto("\n".join(lines), "dim.proto").message_type[0].field[0].number
        1
    """
    file = FileDescriptorProto(name=name)
    lines = (line.partition("//")[0].strip() for line in text.splitlines())
    _read_block(iter([line for line in lines if line]), file)
    return file


def _read_block(lines: Iterator[str], block: Any, oneof: int | None = None) -> None:
    """Reads the statements up to the end of a block, of which a `oneof` is no block of its own."""
    for line in lines:
        if line == "}":
            return
        if found := _BLOCK.fullmatch(line):
            _open_block(lines, block, *found.groups())
        elif found := _FIELD.fullmatch(line):
            repeated, kind, name, number = found.groups()
            field = _add_field(block, kind, name, number, repeated=bool(repeated))
            if oneof is not None:
                field.oneof_index = oneof
        elif found := _MAP.fullmatch(line):
            kind, name, number = found.groups()
            entry = block.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            _add_field(entry, "string", "key", 1)
            _add_field(entry, kind, "value", 2)
            _add_field(block, entry.name, name, number, repeated=True)
        elif found := _VALUE.fullmatch(line):
            block.value.add(name=found[1], number=int(found[2]))
        elif found := _METHOD.fullmatch(line):
            block.method.add(name=found[1], input_type=found[2], output_type=found[3])
        elif found := _HEAD.fullmatch(line):
            _set_head(block, *found.groups())
        else:
            raise ValueError(f"{line!r} is not understood.")


def _open_block(lines: Iterator[str], parent: Any, kind: str, name: str) -> None:
    if kind == "oneof":
        parent.oneof_decl.add(name=name)
        _read_block(lines, parent, oneof=len(parent.oneof_decl) - 1)
        return
    kinds = {"message": "message_type", "enum": "enum_type", "service": "service"}
    if kind == "message" and not isinstance(parent, FileDescriptorProto):
        kinds["message"] = "nested_type"
    _read_block(lines, getattr(parent, kinds[kind]).add(name=name))


def _add_field(message: Any, kind: str, name: str, number: Any, *, repeated: bool = False) -> Any:
    label = "LABEL_REPEATED" if repeated else "LABEL_OPTIONAL"
    field = message.field.add(name=name, number=int(number))
    field.label = FieldDescriptorProto.Label.Value(label)
    if kind in _SCALARS:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type_name = kind
    return field


def _set_head(file: Any, statement: str, value: str) -> None:
    if statement == "import":
        file.dependency.append(value)
    else:
        setattr(file, statement.split()[0], value)
