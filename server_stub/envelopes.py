"""What the instances of a relay tell each other, each on the channel of whom it is for.

A session has a half on each instance that one of its ends is connected to. The viewer's instance
owns it: it asks the device's to `open` the other half, sets its deadlines and writes it down.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from server_stub.whep_session import Visit

CHANNELS = "camagent:instance:"
"""What every instance's channel, and the key that shows that it lives, starts with."""


class _Envelope(BaseModel):
    """`sender` is an instance's id."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sender: str


class Beat(_Envelope):
    """To oneself: what is sent arrives."""

    kind: Literal["beat"] = "beat"


class Replaced(_Envelope):
    """A device that `holder` had is connected to the sender now. Sent by the script that registers."""

    kind: Literal["replaced"] = "replaced"
    device_id: str
    holder: str


class Open(_Envelope):
    """Open the device's half of a session; `text` is the device's watch_request. Has a reply."""

    kind: Literal["open"] = "open"
    request: str
    session_id: str
    device_id: str
    user_id: str
    text: str


class EndWatch(_Envelope):
    """End a session for its user, who asks elsewhere. Has a reply."""

    kind: Literal["end_watch"] = "end_watch"
    request: str
    session_id: str
    user_id: str


class Tell(_Envelope):
    """Tell a device of the end of a session that no instance has both ends of. Has a reply."""

    kind: Literal["tell"] = "tell"
    request: str
    device_id: str
    text: str


class Call(_Envelope):
    """A request by HTTP to a WHEP session that the receiver has. Has a reply."""

    kind: Literal["call"] = "call"
    request: str
    visit: Visit


class Reply(_Envelope):
    """Whether what was asked for is done; `refusal` may say why not."""

    kind: Literal["reply"] = "reply"
    request: str
    is_done: bool
    refusal: str = ""


Asked: TypeAlias = Open | EndWatch | Tell | Call
"""What has a reply."""


class Signal(_Envelope):
    """A message for the end of a session that the receiver has, as on its WebSocket."""

    kind: Literal["signal"] = "signal"
    session_id: str
    text: str


class Forget(_Envelope):
    """The sender leaves, and its half of these sessions with it; their pictures go on for a while."""

    kind: Literal["forget"] = "forget"
    session_ids: tuple[str, ...]


class Compare(_Envelope):
    """These are the sessions that the sender shares with you."""

    kind: Literal["compare"] = "compare"
    session_ids: tuple[str, ...]


class Unknown(_Envelope):
    """Of the sessions that you listed, the sender does not have these."""

    kind: Literal["unknown"] = "unknown"
    session_ids: tuple[str, ...]


Envelope: TypeAlias = Beat | Replaced | Asked | Reply | Signal | Forget | Compare | Unknown
ENVELOPE: TypeAdapter[Envelope] = TypeAdapter(Annotated[Envelope, Field(discriminator="kind")])


def channel_of(instance_id: str) -> str:
    """Name the channel on which an instance listens."""
    return f"{CHANNELS}{instance_id}"
