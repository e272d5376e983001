"""Messages to frames and back. Whatever bytes come in, `decode` returns a valid message or raises WireError.

A message is one msgpack frame, [type, {field: value}], and for those with a payload a second frame that holds
the payload as it is, so that a megabyte is never copied into msgpack. A record in a message is the list of its values:
there may be many. Nothing here can run code: msgpack knows numbers, strings, lists and maps, and every field is checked
against its declared type before it is used.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any, get_type_hints

import msgpack

from topology.errors import GossamerError
from transport.addresses import digest
from transport.messages import MESSAGES, Identity, Liveness, Member, Message, Plain, Report, Sketch, Suspect

MAX_INT = 2**63 - 1
MAX_FIELDS = 64
"""Of one message, and entries of a map in it: far more than any has, so that a newer version may add some."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class WireError(GossamerError, ValueError):
    """The peer's bytes are not a message: its fault, never a reason to stop."""

    code = "G307"


@dataclass(frozen=True)
class Limits:
    """The largest message that is decoded. members: in the list of them in one message."""

    header_bytes: int = 1 << 20
    payload_bytes: int = 1 << 20
    text_chars: int = 1024
    members: int = 4096
    settings: int = 64


LIMITS = Limits()


class UnknownType(WireError):
    """A well-formed message of a type this version doesn't know."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown message type {name!r}")
        self.name = name


def encode(message: Message, payload: Any = None) -> list[Any]:
    """[header] or [header, payload]; the payload (the message's own if None) is the buffer itself, not a copy."""
    kind = type(message)
    frames: list[Any] = [msgpack.packb([kind.__name__, _values(message)], default=_in_order)]
    if "payload" in kind.__slots__:
        payload = message.payload if payload is None else payload  # type: ignore[union-attr]
        frames.append(b"" if payload is None else payload)
    return frames


def statement(member: Member, run: str, manifest: str) -> bytes:
    """What the signature of a record covers, bound to a run and to the hash of what all of its agents share.

    All that the agent itself publishes, the address by its digest; a field more is another VERSION.
    """
    liveness = member.liveness
    report = [
        float(getattr(member.report, name)) if check is _finite else getattr(member.report, name)
        for name, (check, _) in _SCHEMA[Report].items()
    ]
    identity = member.identity
    address = identity.hidden or digest(identity.address)
    who = [identity.agent, identity.incarnation, address, identity.key, identity.vouch]
    of_owner = [who, liveness.heartbeat, liveness.state, report]
    content: bytes = msgpack.packb(["gossamer record", run, manifest, *of_owner])
    return content


def sketch_statement(sketch: Sketch, run: str, manifest: str) -> bytes:
    """What the signature of a sketch covers, bound to a run as a record is."""
    of_owner = [sketch.agent, sketch.incarnation, sketch.step, sketch.still, sketch.part]
    content: bytes = msgpack.packb(["gossamer sketch", run, manifest, *of_owner, bytes(sketch.payload or b"")])
    return content


def decode(frames: Sequence[Any], limits: Limits = LIMITS) -> Message:
    """The message in these frames (bytes-like). Raises WireError, or UnknownType for a newer peer's message."""
    if not frames:
        raise WireError("expected a header and perhaps a payload, got no frame")
    name, values = _header(frames[0], limits)
    kind = _KINDS.get(name)
    if kind is None:
        raise UnknownType(name)
    checked = _check(kind, values, limits)
    carries = "payload" in kind.__slots__
    if len(frames) != 1 + carries:
        raise WireError(f"expected {name} in {1 + carries} frames, got {len(frames)}")
    if carries:
        payload = memoryview(frames[1]).cast("B")
        if len(payload) > limits.payload_bytes:
            raise WireError(f"expected at most {limits.payload_bytes} bytes with {name}, got {len(payload)}")
        checked["payload"] = payload
    return kind(**checked)


def checked(kind: type, values: Mapping[str, Any], limits: Limits = LIMITS) -> dict[str, Any]:
    """These fields of a record or message, if whoever receives them takes them. Raises WireError."""
    if unknown := sorted(values.keys() - _SCHEMA[kind].keys()):
        raise WireError(f"{kind.__name__} has no {unknown[0]!r}: it has {', '.join(sorted(_SCHEMA[kind]))}")
    return _check(kind, dict(values), limits)


def checked_settings(values: Mapping[str, Any], limits: Limits = LIMITS) -> dict[str, Plain]:
    """Settings of a manifest, if whoever receives them takes them. Raises WireError."""
    return _settings(dict(values), limits)


def _header(frame: Any, limits: Limits) -> tuple[str, dict[str, Any]]:
    if len(frame) > limits.header_bytes:
        raise WireError(f"expected a header of at most {limits.header_bytes} bytes, got {len(frame)}")
    try:
        header = msgpack.unpackb(
            frame, strict_map_key=True, max_ext_len=0, max_array_len=max(2, limits.members), max_map_len=MAX_FIELDS
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"expected a header in msgpack: {error}") from None
    match header:
        case [str(name), dict(values)] if len(name) <= 64:
            return name, values
    raise WireError(f"expected a header [type, {{field: value}}], got {_short(header)}")


def _check(kind: type, values: dict[str, Any], limits: Limits) -> dict[str, Any]:
    checked = {}
    for name, (check, required) in _SCHEMA[kind].items():
        if name in values:
            try:
                checked[name] = check(values[name], limits)
            except WireError as error:
                raise WireError(f"{kind.__name__}.{name}: {error}") from None
        elif required:
            raise WireError(f"{kind.__name__} without {name}")
    return checked


def _natural(value: Any, limits: Limits) -> int:
    """A number of something; -1 where there is none."""
    if type(value) is not int or not -1 <= value <= MAX_INT:
        raise WireError(f"expected a whole number from -1 to 2^63 - 1, got {_short(value)}")
    return value


def _finite(value: Any, limits: Limits) -> float:
    if type(value) not in (int, float) or not _is_finite(value):
        raise WireError(f"expected a finite number, got {_short(value)}")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # Of a whole number that no float holds; none comes by a message.
        return False


def _text(value: Any, limits: Limits) -> str:
    if type(value) is not str or len(value) > limits.text_chars:
        raise WireError(f"expected text of at most {limits.text_chars} characters, got {_short(value)}")
    if not value.isprintable() and _CONTROL.search(value):  # The first is quick, and true of almost all texts.
        raise WireError(f"expected text without control characters, got {_short(value)}")  # It ends up on terminals.
    return value


def _flag(value: Any, limits: Limits) -> bool:
    if type(value) is not bool:
        raise WireError(f"expected true or false, got {_short(value)}")
    return value


def _members(value: Any, limits: Limits) -> tuple[Member, ...]:
    if type(value) is not list or len(value) > limits.members:
        raise WireError(f"expected at most {limits.members} members, got {_short(value)}")
    return tuple(_record(Member)(item, limits) for item in value)


def _suspects(value: Any, limits: Limits) -> tuple[Suspect, ...]:
    if type(value) is not list or len(value) > limits.members:
        raise WireError(f"expected at most {limits.members} suspects, got {_short(value)}")
    return tuple(_record(Suspect)(item, limits) for item in value)


def _settings(value: Any, limits: Limits) -> dict[str, Plain]:
    if type(value) is not dict or len(value) > limits.settings:
        raise WireError(f"expected at most {limits.settings} settings, got {_short(value)}")
    found = {}
    for key, item in value.items():
        try:
            found[_text(key, limits)] = _plain(item, limits)
        except WireError as error:
            raise WireError(f"{_short(key)}: {error}") from None
    return found


def _plain(value: Any, limits: Limits) -> Plain:
    if type(value) is bool:
        return value
    if type(value) is str:
        return _text(value, limits)
    if type(value) is int and not -MAX_INT <= value <= MAX_INT:
        raise WireError(f"expected a whole number of 64 bits, got {_short(value)}")
    return value if type(value) is int else _finite(value, limits)


@cache
def _record(kind: type) -> "_Check":
    """The check of a record within a message: its values in the order of its fields; a newer one may have more."""
    names, checks = list(_SCHEMA[kind]), [check for check, _ in _SCHEMA[kind].values()]
    least = sum(required for _, required in _SCHEMA[kind].values())

    def check(value: Any, limits: Limits) -> Any:
        if type(value) is not list or len(value) < least:
            raise WireError(f"expected a list of at least {least} values, got {_short(value)}")
        values: list[Any] = []
        try:
            for check_value, item in zip(checks, value, strict=False):
                values.append(check_value(item, limits))
        except WireError as error:
            raise WireError(f"{kind.__name__}.{names[len(values)]}: {error}") from None
        return kind(*values)

    return check


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__
    return text if len(text) <= 40 else text[:40] + "..."


def _values(message: Any) -> dict[str, Any]:
    return {name: getattr(message, name) for name in _SCHEMA[type(message)]}


def _in_order(record: Any) -> tuple[Any, ...]:
    return _IN_ORDER[type(record)](record)


_Check = Callable[[Any, Limits], Any]
_CHECKS: dict[Any, _Check] = {
    int: _natural,
    float: _finite,
    str: _text,
    bool: _flag,
    tuple[Member, ...]: _members,
    tuple[Suspect, ...]: _suspects,
    dict[str, Plain]: _settings,
}


def _schema(kind: type) -> dict[str, tuple[_Check, bool]]:
    hints = get_type_hints(kind)
    return {
        item.name: (_check_of(hints[item.name]), item.default is MISSING and item.default_factory is MISSING)
        for item in fields(kind)
        if item.name != "payload"
    }


def _check_of(hint: Any) -> _Check:
    hint = getattr(hint, "__supertype__", hint)  # AgentId and the like are str.
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    return _CHECKS[hint]


_KINDS: dict[str, type[Message]] = {kind.__name__: kind for kind in MESSAGES}
_SCHEMA: dict[type, dict[str, tuple[_Check, bool]]] = {}
_RECORDS = (Identity, Liveness, Report, Suspect, Member)
for _kind in (*_RECORDS, *MESSAGES):  # What is part of another comes before it.
    _SCHEMA[_kind] = _schema(_kind)
_IN_ORDER: dict[type, Callable[[Any], tuple[Any, ...]]] = {kind: attrgetter(*_SCHEMA[kind]) for kind in _RECORDS}
