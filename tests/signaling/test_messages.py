"""The wire protocol, message by message, as its document shows them."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camagent.errors import MalformedMessage
from camagent.signaling.messages import (
    FROM_DEVICE,
    FROM_VIEWER,
    TO_DEVICE,
    TO_VIEWER,
    DeviceHelloAck,
    DevicePresence,
    DeviceWatchRequest,
    Direction,
    Error,
    Heartbeat,
    IceServer,
    SignalIce,
    WatchEnded,
    encode,
)

TS = "2025-01-01T12:34:56.789Z"
SESSION = "550e8400-e29b-41d4-a716-446655440000"
OFFER = {"session_id": SESSION, "sdp": {"type": "offer", "sdp": "v=0\r\n"}}
ANSWER = {"session_id": SESSION, "sdp": {"type": "answer", "sdp": "v=0\r\n"}}
CANDIDATE = {
    "candidate": "candidate:1 1 UDP 2130706431 192.168.1.100 54321 typ host",
    "sdpMid": "0",
    "sdpMLineIndex": 0,
}
ICE_SERVERS = [
    {"urls": "stun:stun.example.com:19302"},
    {
        "urls": ["turn:turn.example.com:3478?transport=udp"],
        "username": "1735740000:device_550e8400",
        "credential": "a1b2c3d4e5f6",
        "credentialType": "password",
    },
]

EXAMPLES: list[tuple[Direction[Any], str, dict[str, Any]]] = [
    (FROM_DEVICE, "hello", {"device_id": "kitchen-cam-001"}),
    (TO_DEVICE, "hello_ack", {"device_id": "kitchen-cam-001", "server_time": TS}),
    (FROM_DEVICE, "heartbeat", {}),
    (TO_DEVICE, "heartbeat_ack", {}),
    (
        TO_DEVICE,
        "watch_request",
        {"session_id": SESSION, "user_id": "123", "ice_servers": ICE_SERVERS},
    ),
    (TO_DEVICE, "signal_offer", OFFER),
    (FROM_DEVICE, "signal_answer", ANSWER),
    (FROM_DEVICE, "signal_ice", {"session_id": SESSION, "candidate": CANDIDATE}),
    (TO_DEVICE, "signal_ice", {"session_id": SESSION, "candidate": CANDIDATE}),
    (TO_DEVICE, "signal_ice", {"session_id": SESSION, "candidate": None}),
    *(
        (TO_DEVICE, "watch_ended", {"session_id": SESSION, "reason": reason})
        for reason in ("viewer_disconnected", "user_ended", "timeout", "error")
    ),
    (FROM_DEVICE, "device_presence", {"battery": 85, "temperature": 45, "recording": False}),
    (TO_DEVICE, "error", {"message": "Device not found"}),
    (FROM_VIEWER, "hello", {"token": "eyJ0eXAiOiJKV1QiLCJhbGc"}),
    (TO_VIEWER, "hello_ack", {"user_id": "123", "server_time": TS}),
    (FROM_VIEWER, "heartbeat", {}),
    (TO_VIEWER, "heartbeat_ack", {}),
    (FROM_VIEWER, "watch_request", {"device_id": "kitchen-cam-001"}),
    (TO_VIEWER, "watch_ready", {"session_id": SESSION, "ice_servers": ICE_SERVERS}),
    (TO_VIEWER, "error", {"message": "Device is offline"}),
    (FROM_VIEWER, "signal_offer", OFFER),
    (TO_VIEWER, "signal_answer", ANSWER),
    (FROM_VIEWER, "signal_ice", {"session_id": SESSION, "candidate": CANDIDATE}),
    (TO_VIEWER, "signal_ice", {"session_id": SESSION, "candidate": None}),
    (FROM_VIEWER, "end_watch", {"session_id": SESSION}),
    (TO_VIEWER, "watch_ended", {"session_id": SESSION, "reason": "device_disconnected"}),
    (
        TO_VIEWER,
        "session_report",
        {"session_id": SESSION, "rung": "low", "reason": "12% loss", "bitrate_bps": 250_000},
    ),
]


@pytest.mark.parametrize(("direction", "kind", "payload"), EXAMPLES)
def test_every_message_comes_back_as_it_went(
    direction: Direction[Any], kind: str, payload: dict[str, Any]
) -> None:
    """Each example of the protocol is read, and written again without a difference."""
    message = {"type": kind, "request_id": "req-001", "ts": TS, "payload": payload}

    assert json.loads(encode(direction.decode(json.dumps(message)))) == message


@pytest.mark.parametrize("direction", [TO_DEVICE, FROM_DEVICE, FROM_VIEWER, TO_VIEWER])
def test_nobody_sends_what_only_the_other_side_may(direction: Direction[Any]) -> None:
    """A direction reads its own messages and no other's."""
    own = {kind for of, kind, _ in EXAMPLES if of is direction}
    # The extensions by which a device ends a session, and tells of one.
    own |= {"watch_ended", "session_report"} if direction is FROM_DEVICE else set()

    for _, kind, payload in EXAMPLES:
        if kind not in own:
            with pytest.raises(MalformedMessage, match="type: unknown here"):
                direction.decode(json.dumps({"type": kind, "ts": TS, "payload": payload}))


def test_a_timestamp_is_utc_with_milliseconds() -> None:
    """`ts` is written as the protocol's examples write it."""
    written = json.loads(encode(Heartbeat(ts=datetime(2025, 1, 1, 12, 34, 56, 789_999, UTC))))

    assert written == {"type": "heartbeat", "ts": TS, "payload": {}}
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json.loads(encode(Heartbeat()))["ts"]
    )


@pytest.mark.parametrize("name", ["ts", "payload", "type"])
def test_a_message_without_a_required_field_is_refused(name: str) -> None:
    """What we build is stamped by default; what arrives has to be complete."""
    message = {"type": "heartbeat", "ts": TS, "payload": {}}
    del message[name]

    with pytest.raises(MalformedMessage, match=name):
        FROM_DEVICE.decode(json.dumps(message))


@pytest.mark.parametrize("ts", [1735734896, None, "yesterday", "0001-01-01T00:00:00+14:00"])
def test_a_timestamp_that_is_none_is_refused(ts: object) -> None:
    """`ts` is an ISO 8601 text within the years that a clock can show."""
    with pytest.raises(MalformedMessage, match="ts"):
        FROM_DEVICE.decode(json.dumps({"type": "heartbeat", "ts": ts, "payload": {}}))


def test_unknown_fields_are_ignored() -> None:
    """A newer peer may add fields anywhere."""
    text = json.dumps(
        {
            "type": "watch_request",
            "ts": TS,
            "priority": 9,
            "payload": {
                "session_id": SESSION,
                "user_id": "123",
                "ice_servers": [{"urls": "stun:a.example", "weight": 1}],
                "quality": "high",
            },
        }
    )

    message = TO_DEVICE.decode(text)

    assert isinstance(message, DeviceWatchRequest)
    assert message.payload.ice_servers == (IceServer(urls="stun:a.example"),)


def test_ice_server_urls_come_as_text_or_list() -> None:
    """Both forms of `urls` give the same tuple."""
    assert IceServer(urls="stun:a").all_urls == ("stun:a",)
    assert IceServer(urls=("stun:a", "stun:b")).all_urls == ("stun:a", "stun:b")


@pytest.mark.parametrize("candidate", [None, {"candidate": ""}, {"candidate": "", "sdpMid": "0"}])
def test_both_spellings_of_end_of_candidates(candidate: object) -> None:
    """`null` and an empty candidate text say the same."""
    text = json.dumps(
        {"type": "signal_ice", "ts": TS, "payload": {"session_id": "s", "candidate": candidate}}
    )

    message = TO_DEVICE.decode(text)

    assert isinstance(message, SignalIce)
    assert message.payload.is_end_of_candidates


def test_a_candidate_is_no_end_of_candidates() -> None:
    """A candidate with a text is one more candidate."""
    text = json.dumps(
        {"type": "signal_ice", "ts": TS, "payload": {"session_id": "s", "candidate": CANDIDATE}}
    )

    message = TO_DEVICE.decode(text)

    assert isinstance(message, SignalIce)
    assert not message.payload.is_end_of_candidates


def test_a_reason_from_the_future_still_ends_the_session() -> None:
    """An unknown reason is read as `error`, so that the peer connection closes."""
    text = json.dumps(
        {"type": "watch_ended", "ts": TS, "payload": {"session_id": "s", "reason": "sunset"}}
    )

    message = TO_DEVICE.decode(text)

    assert isinstance(message, WatchEnded)
    assert message.payload.reason == "error"


def test_presence_carries_whatever_a_device_knows() -> None:
    """Fields beyond the named ones are kept, for presence is a device's own report."""
    presence = DevicePresence.Payload(temperature=45, camera="idle", nested={"a": [1, None]})

    back = FROM_DEVICE.decode(encode(DevicePresence(payload=presence)))

    assert json.loads(encode(back))["payload"] == {
        "temperature": 45,
        "camera": "idle",
        "nested": {"a": [1, None]},
    }


def test_extensions_are_told_only_where_there_are_any() -> None:
    """A hello_ack without extensions is the protocol's own."""
    plain = DeviceHelloAck(payload=DeviceHelloAck.Payload(device_id="cam"))
    extended = DeviceHelloAck(
        payload=DeviceHelloAck.Payload(device_id="cam", extensions=("watch_ended",))
    )

    assert "extensions" not in json.loads(encode(plain))["payload"]
    assert json.loads(encode(extended))["payload"]["extensions"] == ["watch_ended"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "should be an object"),
        ("null", "should be an object"),
        ('{"ts": 1}', "type: missing"),
        ('{"type": "sing", "ts": "x", "payload": {}}', "type: unknown here"),
        (f'{{"type": "hello", "ts": "{TS}", "payload": {{}}}}', "payload.device_id: missing"),
        (f'{{"type": "hello", "ts": "{TS}", "payload": []}}', "payload: should be an object"),
        (f'{{"type": "hello", "ts": "{TS}", "payload": {{"device_id": ""}}}}', "payload.device_id"),
        (
            f'{{"type": "hello", "ts": "{TS}", "payload": {{"device_id": "{"x" * 129}"}}}}',
            "payload.device_id",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str | bytes, problem: str) -> None:
    """A malformed message is refused with a sentence that names the field."""
    with pytest.raises(MalformedMessage, match=re.escape(problem)):
        FROM_DEVICE.decode(text)


def test_a_problem_quotes_no_value() -> None:
    """A token in a malformed message does not reach a log or an error reply."""
    text = json.dumps({"type": "hello", "ts": TS, "payload": {"token": ["top-secret"]}})

    with pytest.raises(MalformedMessage) as caught:
        FROM_VIEWER.decode(text)

    assert "top-secret" not in str(caught.value)


def test_a_malformed_request_is_still_named() -> None:
    """The request_id of a message that is wrong otherwise is kept for the reply."""
    with pytest.raises(MalformedMessage) as caught:
        FROM_VIEWER.decode('{"type": "watch_request", "request_id": "r-1", "payload": {}}')

    assert caught.value.request_id == "r-1"


def test_secrets_stay_out_of_representations() -> None:
    """A credential is not in the text that a log line would show."""
    assert "a1b2" not in repr(IceServer(urls="turn:a", credential="a1b2"))


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_json_breaks_the_reader(value: object) -> None:
    """Whatever JSON comes, it is a message or a MalformedMessage."""
    for body in (value, {"type": "signal_ice", "ts": TS, "payload": value}):
        try:
            TO_DEVICE.decode(json.dumps(body))
        except MalformedMessage as error:
            assert str(error)  # noqa: PT017 - either outcome is right, silence is not


def test_an_error_is_answered_by_name() -> None:
    """`request_id` comes back on a reply, and is left out where there was none."""
    error = Error(request_id="req-001", payload=Error.Payload(message="Device is offline"))

    assert json.loads(encode(error))["request_id"] == "req-001"
    assert "request_id" not in json.loads(encode(Error(payload=error.payload)))
