"""The file around the graph: metadata and integrity, read and written without the onnx package.

An artifact is an ONNX ``ModelProto``. Its ``metadata_props`` (field 14, a list of key/value records) hold

- ``potstill.card``: the `Card` as JSON,
- ``potstill.probes``: some raw rows and the model's answers to them, as JSON,
- ``potstill.sha256``: SHA-256 of the whole file with these 64 digits themselves set to ``0``.

Only the top level of the Protocol Buffers encoding is read here: a record is a varint key (field number and
wire type) and its payload, so one walk over a handful of records finds the metadata and steps over the graph.

The hash tells damage and careless editing; it is no signature: whoever can edit the file can compute it anew.

References
----------
https://protobuf.dev/programming-guides/encoding/ ; ModelProto and StringStringEntryProto in onnx.proto.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from potstill.errors import ArtifactError, UserError

CARD_KEY = "potstill.card"
PROBES_KEY = "potstill.probes"
HASH_KEY = "potstill.sha256"
_BLANK_HASH = "0" * 64

_METADATA_FIELD = 14
_GRAPH_FIELD = 7
_IR_VERSION_FIELD = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(ValueError):
    """The bytes are no Protocol Buffers message."""


@dataclass(frozen=True)
class Record:
    """One record of a message: its field number, and where it, its payload and its end are."""

    field: int
    start: int
    payload: int
    end: int


@dataclass(frozen=True)
class Envelope:
    """What stands around the graph.

    Parameters
    ----------
    metadata
        All of the file's metadata, key to text.
    graph_hash
        SHA-256, hex digits, of the file without its metadata records.
    """

    metadata: Mapping[str, str]
    graph_hash: str


def open_envelope(data: bytes, *, source: str) -> Envelope:
    """Read an artifact's metadata after checking that its bytes are those that were written.

    Parameters
    ----------
    data
        The whole file.
    source
        What to call it in errors: its path.

    Raises
    ------
    ArtifactError
        When the bytes are no ONNX model, carry no card, or do not match their hash.
    """
    try:
        found = list(records(data))
        entries = [(_entry(data, record), record) for record in found if record.field == _METADATA_FIELD]
    except (_Malformed, UnicodeDecodeError):
        raise _not_onnx(source, data) from None
    if not {_IR_VERSION_FIELD, _GRAPH_FIELD} <= {record.field for record in found}:
        raise _not_onnx(source, data)
    metadata = {key: value for (key, value), _ in entries}
    if not {CARD_KEY, PROBES_KEY, HASH_KEY} <= metadata.keys():
        raise ArtifactError(
            f"{source} is an ONNX model, but it carries no potstill card.",
            hint="Only files written by potstill can be loaded; open others with onnxruntime itself.",
        )
    _, hash_record = next(entry for entry in entries if entry[0][0] == HASH_KEY)
    if len(metadata) < len(entries) or _blanked_hash(data, hash_record.end) != metadata[HASH_KEY]:
        raise ArtifactError(
            f"{source} was changed after potstill wrote it: its bytes do not match the hash it carries.",
            hint="Copy the file again from where it was made, in binary mode, or export it anew.",
        )
    return Envelope(metadata, graph_hash(data))


def read_file(path: str | PathLike[str]) -> tuple[str, bytes]:
    """What to call a file in errors, and its bytes.

    Raises
    ------
    UserError
        When there is no such file or it cannot be read.
    """
    file = Path(path)
    try:
        return str(file), file.read_bytes()
    except FileNotFoundError:
        raise UserError(f"There is no file {file}.", hint="Check the path; artifacts end in .onnx.") from None
    except OSError as error:
        raise UserError(
            f"{file} cannot be read: {error.strerror}.", hint="Check what it is and who owns it."
        ) from None


def graph_hash(data: bytes) -> str:
    """SHA-256, hex digits, of a serialised model without its metadata records."""
    digest = hashlib.sha256()
    view = memoryview(data)
    for record in records(data):
        if record.field != _METADATA_FIELD:
            digest.update(view[record.start : record.end])
    return digest.hexdigest()


def with_metadata(model: bytes, metadata: Mapping[str, str]) -> bytes:
    """The serialised model with ``metadata`` in place of what it had, and the hash over all of it."""
    kept = b"".join(
        model[record.start : record.end] for record in records(model) if record.field != _METADATA_FIELD
    )
    entries = b"".join(_encoded(key, value) for key, value in metadata.items())
    blanked = kept + entries + _encoded(HASH_KEY, _BLANK_HASH)
    return kept + entries + _encoded(HASH_KEY, hashlib.sha256(blanked).hexdigest())


def _blanked_hash(data: bytes, end: int) -> str:
    """SHA-256 of the file with the 64 digits before ``end`` set to 0; a view, for files may be large."""
    view = memoryview(data)
    digest = hashlib.sha256(view[: end - len(_BLANK_HASH)])
    digest.update(_BLANK_HASH.encode())
    digest.update(view[end:])
    return digest.hexdigest()


def _not_onnx(source: str, data: bytes) -> ArtifactError:
    what = "is empty" if not data else "is not an ONNX model"
    return ArtifactError(
        f"{source} {what}; wanted an artifact written by potstill.",
        hint="Give the .onnx file that `potstill distill` wrote; a copy that was cut off is none.",
    )


def records(data: bytes) -> Iterator[Record]:
    """The records of a message, in order; a nested message is the payload of one."""
    position = 0
    while position < len(data):
        key, payload = varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            _, end = varint(data, payload)
        elif wire == _BYTES:
            length, payload = varint(data, payload)
            end = payload + length
        elif wire in (_FIXED64, _FIXED32):
            end = payload + (8 if wire == _FIXED64 else 4)
        else:
            raise _Malformed
        if end > len(data) or key >> 3 == 0:
            raise _Malformed
        yield Record(key >> 3, position, payload, end)
        position = end


def _entry(data: bytes, record: Record) -> tuple[str, str]:
    body = data[record.payload : record.end]
    texts = {part.field: body[part.payload : part.end].decode() for part in records(body)}
    return texts.get(1, ""), texts.get(2, "")


def varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position``, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _Malformed


def _encoded(key: str, value: str) -> bytes:
    texts = [(1, key.encode()), (2, value.encode())]
    body = b"".join(_key(field) + encoded_varint(len(text)) + text for field, text in texts)
    return _key(_METADATA_FIELD) + encoded_varint(len(body)) + body


def _key(field: int) -> bytes:
    return encoded_varint(field << 3 | _BYTES)


def encoded_varint(value: int) -> bytes:
    """A number from 0 on, as Protocol Buffers writes it."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
