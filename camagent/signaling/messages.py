"""The wire protocol: every message that crosses a WebSocket, in both directions.

One model per message, one union per direction, so that nobody can send what only the other side
may. A message is one JSON object of `type`, `ts`, `payload` and, where a reply is matched to its
request, `request_id`. Fields that a newer peer adds are ignored. Everything here is pure.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError, from_json

from camagent.errors import MalformedMessage

LARGEST_MESSAGE_BYTES = 64 * 1024
"""No message of the protocol comes near this; both sides refuse larger ones."""

WATCH_ENDED = "watch_ended"
"""Name of the extension by which a device may end a session and say why."""

SESSION_REPORT = "session_report"
"""Name of the extension by which a device may tell a viewer how its session does."""

WatchEndReason: TypeAlias = Literal[
    "viewer_disconnected", "user_ended", "timeout", "error", "device_disconnected"
]
_REASONS = frozenset(
    {"viewer_disconnected", "user_ended", "timeout", "error", "device_disconnected"}
)


def _is_none(value: object) -> bool:
    return value is None


def _read_timestamp(value: object) -> object:
    if isinstance(value, str | datetime):
        return value
    raise PydanticCustomError("timestamp_type", "should be an ISO 8601 text")


def _as_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    except OverflowError as error:
        raise PydanticCustomError(
            "timestamp_range", "should lie between years 1 and 9999"
        ) from error


def _write_timestamp(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read_reason(value: object) -> object:
    """Take a reason that a newer peer invented for `error`: the session ends all the same."""
    return "error" if isinstance(value, str) and value not in _REASONS else value


def _now() -> datetime:
    return datetime.now(UTC)


Timestamp = Annotated[
    datetime,
    BeforeValidator(_read_timestamp),
    AfterValidator(_as_utc),
    PlainSerializer(_write_timestamp),
]
DeviceId = Annotated[str, Field(min_length=1, max_length=128)]
UserId = Annotated[str, Field(min_length=1, max_length=128)]
SessionId = Annotated[str, Field(min_length=1, max_length=128)]
_LONGEST_REQUEST_ID = 128
RequestId = Annotated[str, Field(max_length=_LONGEST_REQUEST_ID)]
Text = Annotated[str, Field(max_length=1024)]


def optional(**limits: Any) -> Any:
    """Make a field that is left out of the JSON while it is None."""
    return Field(default=None, exclude_if=_is_none, **limits)


class _Wire(BaseModel):
    """Immutable; fields added by a newer peer are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Message(_Wire):
    """What every message carries around its payload."""

    type: str
    request_id: RequestId | None = optional()
    ts: Timestamp = Field(default_factory=_now)

    @model_validator(mode="before")
    @classmethod
    def _is_complete(cls, data: Any, info: ValidationInfo) -> Any:
        # Defaults are for what we build; what arrives has to carry every field.
        if info.mode == "json" and isinstance(data, dict):
            for name in ("ts", "payload"):
                if name not in data:
                    raise PydanticCustomError("incomplete", "{name} is missing", {"name": name})
        return data


class _NoPayload(_Wire):
    """`{}`: the type says it all."""


# What messages are made of


class IceServer(_Wire):
    """One entry of `ice_servers`, as in W3C RTCIceServer."""

    urls: (
        Annotated[str, Field(max_length=512)]
        | Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=16)]
    )
    username: Annotated[str, Field(max_length=512)] | None = optional()
    credential: Annotated[str, Field(max_length=512)] | None = optional(repr=False)
    credentialType: Literal["password"] | None = optional()  # noqa: N815 - the wire's name

    @property
    def all_urls(self) -> tuple[str, ...]:
        """`urls` as a tuple, whichever form it came in."""
        return (self.urls,) if isinstance(self.urls, str) else self.urls


IceServers = Annotated[tuple[IceServer, ...], Field(max_length=32)]


class IceCandidate(_Wire):
    """W3C RTCIceCandidateInit. An empty `candidate` text means end-of-candidates."""

    candidate: Annotated[str, Field(max_length=1024)]
    sdpMid: Annotated[str, Field(max_length=64)] | None = None  # noqa: N815 - the wire's name
    sdpMLineIndex: Annotated[int, Field(ge=0, le=255)] | None = None  # noqa: N815 - the wire's name
    usernameFragment: Annotated[str, Field(max_length=256)] | None = optional()  # noqa: N815 - the wire's name


class Offer(_Wire):
    """W3C RTCSessionDescription of a viewer."""

    type: Literal["offer"] = "offer"
    sdp: Annotated[str, Field(min_length=1, max_length=LARGEST_MESSAGE_BYTES)]


class Answer(_Wire):
    """W3C RTCSessionDescription of a device."""

    type: Literal["answer"] = "answer"
    sdp: Annotated[str, Field(min_length=1, max_length=LARGEST_MESSAGE_BYTES)]


# Both kinds of client


class Heartbeat(_Message):
    """The sender is alive, and asks whether the server is."""

    type: Literal["heartbeat"] = "heartbeat"
    payload: _NoPayload = _NoPayload()


class HeartbeatAck(_Message):
    """The server is alive."""

    type: Literal["heartbeat_ack"] = "heartbeat_ack"
    payload: _NoPayload = _NoPayload()


class SignalOffer(_Message):
    """A viewer's offer, on its way to the device."""

    class Payload(_Wire):
        session_id: SessionId
        sdp: Offer

    type: Literal["signal_offer"] = "signal_offer"
    payload: Payload


class SignalAnswer(_Message):
    """The device's answer, on its way to the viewer."""

    class Payload(_Wire):
        session_id: SessionId
        sdp: Answer

    type: Literal["signal_answer"] = "signal_answer"
    payload: Payload


class SignalIce(_Message):
    """One candidate, in either direction. None, like an empty text, means there are no more."""

    class Payload(_Wire):
        session_id: SessionId
        candidate: IceCandidate | None

        @property
        def is_end_of_candidates(self) -> bool:
            """True for both spellings of "there are no more"."""
            return self.candidate is None or not self.candidate.candidate

    type: Literal["signal_ice"] = "signal_ice"
    payload: Payload


class WatchEnded(_Message):
    """The session is over; the peer connection must close.

    From server to device and to viewer. A device sends it only where the server lists
    `watch_ended` among the extensions of its hello_ack.
    """

    class Payload(_Wire):
        session_id: SessionId
        reason: Annotated[WatchEndReason, BeforeValidator(_read_reason)]
        message: Text | None = optional()
        """For a person to read: why a device cannot serve. Only with the extension."""

    type: Literal["watch_ended"] = "watch_ended"
    payload: Payload


class SessionReport(_Message):
    """What a viewer gets and why, on its way from the device; sent when that changes.

    Only where the server lists `session_report` among the extensions of its hello_ack.
    """

    class Payload(_Wire):
        session_id: SessionId
        rung: Annotated[str, Field(max_length=64)]
        """`main`, `low`, or the low rung's `stills`."""
        reason: Annotated[str, Field(max_length=256)]
        """What set the rate last."""
        bitrate_bps: Annotated[int, Field(ge=0, le=10**12)]
        """What the viewer's way is believed to take."""

    type: Literal["session_report"] = "session_report"
    payload: Payload


class Error(_Message):
    """The server could not do what was asked."""

    class Payload(_Wire):
        message: Text

    type: Literal["error"] = "error"
    payload: Payload


# Devices


class DeviceHello(_Message):
    """A device introduces itself: its first message."""

    class Payload(_Wire):
        device_id: DeviceId

    type: Literal["hello"] = "hello"
    payload: Payload


class DeviceHelloAck(_Message):
    """The server knows this device. `extensions` are the ones it offers beyond the protocol."""

    class Payload(_Wire):
        device_id: DeviceId
        server_time: Timestamp = Field(default_factory=_now)
        extensions: Annotated[
            tuple[Annotated[str, Field(max_length=64)], ...],
            Field(max_length=32, exclude_if=lambda names: not names),
        ] = ()

    type: Literal["hello_ack"] = "hello_ack"
    payload: Payload


class DeviceWatchRequest(_Message):
    """Somebody wants to watch: open a peer connection and wait for the offer."""

    class Payload(_Wire):
        session_id: SessionId
        user_id: UserId
        ice_servers: IceServers = ()

    type: Literal["watch_request"] = "watch_request"
    payload: Payload


class DevicePresence(_Message):
    """What a device tells about itself. Any further field is a name with a JSON value."""

    class Payload(BaseModel):
        model_config = ConfigDict(frozen=True, extra="allow")
        __pydantic_extra__: dict[str, JsonValue]

        battery: Annotated[int | float, Field(ge=0, le=100)] | None = optional()
        """Charge in percent."""
        temperature: Annotated[int | float, Field(ge=-100, le=200)] | None = optional()
        """Of the processor, in degrees Celsius."""
        recording: bool | None = optional()

    type: Literal["device_presence"] = "device_presence"
    payload: Payload


# Viewers


class ViewerHello(_Message):
    """A viewer introduces itself by its token: its first message."""

    class Payload(_Wire):
        token: Annotated[str, Field(min_length=1, max_length=8192, repr=False)]

    type: Literal["hello"] = "hello"
    payload: Payload


class ViewerHelloAck(_Message):
    """The token is good."""

    class Payload(_Wire):
        user_id: UserId
        server_time: Timestamp = Field(default_factory=_now)

    type: Literal["hello_ack"] = "hello_ack"
    payload: Payload


class ViewerWatchRequest(_Message):
    """A viewer wants to watch a device."""

    class Payload(_Wire):
        device_id: DeviceId

    type: Literal["watch_request"] = "watch_request"
    payload: Payload


class WatchReady(_Message):
    """The session exists: make an offer."""

    class Payload(_Wire):
        session_id: SessionId
        ice_servers: IceServers = ()

    type: Literal["watch_ready"] = "watch_ready"
    payload: Payload


class EndWatch(_Message):
    """A viewer has seen enough."""

    class Payload(_Wire):
        session_id: SessionId

    type: Literal["end_watch"] = "end_watch"
    payload: Payload


# Directions

ToDevice: TypeAlias = (
    DeviceHelloAck
    | HeartbeatAck
    | DeviceWatchRequest
    | SignalOffer
    | SignalIce
    | WatchEnded
    | Error
)
FromDevice: TypeAlias = (
    DeviceHello | Heartbeat | SignalAnswer | SignalIce | DevicePresence | WatchEnded | SessionReport
)
FromViewer: TypeAlias = (
    ViewerHello | Heartbeat | ViewerWatchRequest | SignalOffer | SignalIce | EndWatch
)
ToViewer: TypeAlias = (
    ViewerHelloAck
    | HeartbeatAck
    | WatchReady
    | SignalAnswer
    | SignalIce
    | WatchEnded
    | SessionReport
    | Error
)
Message: TypeAlias = ToDevice | FromDevice | FromViewer | ToViewer

M = TypeVar("M")


class Direction(Generic[M]):
    """All messages that cross one way: `TO_DEVICE.decode(text)` gives one of them."""

    def __init__(self, adapter: TypeAdapter[M]) -> None:
        self._adapter = adapter

    def decode(self, text: str | bytes) -> M:
        """Read one message.

        Raises:
            MalformedMessage: `text` is not JSON, not a message of this direction, or lacks or
                mistypes a field. The text of the error names the field and quotes no value.
        """
        try:
            return self._adapter.validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise MalformedMessage(_describe(problem), request_id=_request_id(text)) from error


def encode(message: Message) -> str:
    """Write one message as JSON."""
    return message.model_dump_json()


def _direction(union: Any) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[union, Field(discriminator="type")])


TO_DEVICE: Direction[ToDevice] = Direction(_direction(ToDevice))
FROM_DEVICE: Direction[FromDevice] = Direction(_direction(FromDevice))
FROM_VIEWER: Direction[FromViewer] = Direction(_direction(FromViewer))
TO_VIEWER: Direction[ToViewer] = Direction(_direction(ToViewer))


def _describe(problem: ErrorDetails) -> str:
    match problem["type"]:
        case "json_invalid":
            return "not JSON"
        case "union_tag_not_found":
            return "type: missing"
        case "union_tag_invalid":
            return "type: unknown here"
        case "model_type" | "model_attributes_type":
            return f"{_place(problem) or 'message'}: should be an object"
        case "missing":
            return f"{_place(problem)}: missing"
        case _:
            return f"{_place(problem) or 'message'}: {problem['msg'][:200]}"


def _place(problem: ErrorDetails) -> str:
    # The first part names the member of the union, which the reader knows.
    return ".".join(str(part) for part in problem["loc"][1:])


def _request_id(text: str | bytes) -> str | None:
    try:
        # Read as strictly as the message was: half of a character could not be written again.
        message = from_json(text)
    except ValueError:
        return None
    value = message.get("request_id") if isinstance(message, Mapping) else None
    return value if isinstance(value, str) and len(value) <= _LONGEST_REQUEST_ID else None
