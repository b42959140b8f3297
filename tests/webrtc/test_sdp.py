"""How an offer is cut down to one section, and how the answer grows back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.errors import NegotiationFailed
from camagent.webrtc.sdp import read_offer, with_extension, with_level, with_media_clock

SESSION = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
TRANSPORT = (
    "a=ice-ufrag:u\r\na=ice-pwd:ppppppppppppppppppppppp\r\n"
    "a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n"
)
AUDIO = (
    f"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n{TRANSPORT}a=mid:0\r\na=sendrecv\r\n"
    "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\n"
)
H264 = "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"
VIDEO = (
    f"m=video 9 UDP/TLS/RTP/SAVPF 96 102\r\nc=IN IP4 0.0.0.0\r\n{TRANSPORT}"
    f"a=mid:1\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n{H264}"
)
DATA = (
    f"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n{TRANSPORT}"
    "a=mid:2\r\na=sctp-port:5000\r\n"
)
CANDIDATE = "a=candidate:1 1 udp 2130706431 192.0.2.1 5000 typ host\r\n"
BUNDLE = "a=group:BUNDLE 0 1 2\r\n"


def test_only_the_video_section_reaches_the_peer_connection() -> None:
    """Audio and data channel are cut away, and the bundle names the video alone."""
    narrowed = read_offer(SESSION + BUNDLE + AUDIO + VIDEO + DATA).narrowed()

    assert [line for line in narrowed.splitlines() if line.startswith("m=")] == [
        "m=video 9 UDP/TLS/RTP/SAVPF 96 102"
    ]
    assert "a=group:BUNDLE 1" in narrowed.splitlines()


def test_the_answer_refuses_every_other_section_in_order() -> None:
    """Sections keep their place; refused ones have port zero and keep their mid and formats."""
    offer = read_offer(SESSION + BUNDLE + AUDIO + VIDEO + DATA)

    lines = offer.widened(SESSION + "a=group:BUNDLE 1\r\n" + VIDEO).splitlines()

    video = lines.index("m=video 9 UDP/TLS/RTP/SAVPF 96 102")
    # A player built on pion, such as go2rtc, throws the answer away without it.
    assert "a=rtpmap:111 opus/48000/2" in lines[:video]
    assert [line for line in lines if line.startswith(("m=", "a=mid:"))] == [
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "a=mid:0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96 102",
        "a=mid:1",
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel",
        "a=mid:2",
    ]


@pytest.mark.parametrize("number", ["101", "96"])
def test_an_answer_has_what_was_offered(number: str) -> None:
    """Under another number, even one of another codec's, it would never be shown."""
    offer = read_offer(SESSION + VIDEO)

    with pytest.raises(NegotiationFailed, match="under a number"):
        offer.widened(SESSION + VIDEO.replace("rtpmap:102", f"rtpmap:{number}"))
    assert "a=rtpmap:102 h264" in offer.widened(SESSION + VIDEO.replace("H264", "h264"))


def test_candidates_are_told_apart_from_the_offer() -> None:
    """Candidates inside the offer are handed out, so that a slow name cannot hold the answer up."""
    offer = read_offer(SESSION + BUNDLE + AUDIO + CANDIDATE + VIDEO + DATA)

    assert offer.candidates == (CANDIDATE[2:].strip(),)
    assert "candidate" not in offer.narrowed()


def test_end_of_candidates_in_the_offer_is_seen() -> None:
    """An offer that says it is complete is taken at its word."""
    assert read_offer(SESSION + VIDEO + "a=end-of-candidates\r\n").has_all_candidates
    assert not read_offer(SESSION + VIDEO).has_all_candidates


@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
@pytest.mark.parametrize("place", ["video", "session", "bundle"])
def test_a_viewer_that_waits_for_the_handshake_is_seen(setup: str, place: str) -> None:
    """Wherever its offer says so."""
    line, said = "a=setup:actpass\r\n", f"a=setup:{setup}\r\n"
    text = {
        "video": SESSION + VIDEO.replace(line, said),
        "session": SESSION + said + VIDEO.replace(line, ""),
        "bundle": SESSION + BUNDLE + AUDIO.replace(line, said) + VIDEO.replace(line, ""),
    }[place]

    assert read_offer(text).is_passive == (setup == "passive")


def test_a_bundle_only_section_borrows_the_transport() -> None:
    """A video section without a transport of its own uses that of the bundle's first section."""
    bare = VIDEO.replace(TRANSPORT, "").replace("m=video 9", "m=video 0") + "a=bundle-only\r\n"

    narrowed = read_offer(SESSION + BUNDLE + AUDIO + bare + DATA).narrowed().splitlines()

    assert "a=ice-ufrag:u" in narrowed
    assert "a=fingerprint:sha-256 AA:BB" in narrowed
    assert narrowed[narrowed.index("a=group:BUNDLE 1") + 1].startswith("m=video 9 ")
    assert "a=bundle-only" not in narrowed


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "does not start with v="),
        ("hello", "does not start with v="),
        (SESSION, "no video section"),
        (SESSION + AUDIO + DATA, "no video section"),
        (SESSION + VIDEO.replace("recvonly", "sendonly"), "no video section"),
        (SESSION + VIDEO.replace("recvonly", "inactive"), "no video section"),
        (SESSION + VIDEO.replace("m=video 9", "m=video 0"), "no video section"),
        (SESSION + VIDEO.replace(H264, ""), "no H.264"),
        (SESSION + "m=video\r\n", "broken m= line"),
        (SESSION + DATA * 33, "too many"),
    ],
)
def test_an_offer_that_cannot_be_served_is_refused(text: str, reason: str) -> None:
    """The refusal says what the offer lacks."""
    with pytest.raises(NegotiationFailed, match=reason):
        read_offer(text)


def test_the_first_section_with_h264_is_taken() -> None:
    """Of several video sections the one that can show our codec is served."""
    other = VIDEO.replace("a=mid:1", "a=mid:5").replace(H264, "")

    assert read_offer(SESSION + other + VIDEO).video.mid == "1"


@pytest.mark.parametrize(
    ("line", "extension_id"),
    [
        ("a=extmap:7 urn:x", 7),
        ("a=extmap:14/recvonly urn:x with attributes", 14),
        ("a=extmap:7/sendonly urn:x", None),
        ("a=extmap:15 urn:x", None),
        ("a=extmap:0 urn:x", None),
        ("a=extmap:7 urn:xy", None),
        (f"a=extmap:{'9' * 5000} urn:x", None),
        ("a=extmap: urn:x", None),
    ],
)
def test_a_header_extension_is_found(line: str, extension_id: int | None) -> None:
    """If the viewer takes it, under an id that fits."""
    assert read_offer(f"{SESSION}{VIDEO}{line}\r\n").extension_id("urn:x") == extension_id


@pytest.mark.parametrize(
    ("lines", "ceiling_bps"),
    [
        ("", None),
        ("b=AS:500\r\n", 459_000),
        ("b=TIAS:300000\r\n", 300_000),
        ("b=AS:500\r\nb=TIAS:300000\r\n", 300_000),
        ("b=AS:1\r\n", 1),
        ("b=AS:0\r\n", None),
        ("b=AS:-5\r\n", None),
        ("b=CT:500\r\n", None),
        (f"b=AS:{'9' * 5000}\r\n", None),
    ],
)
def test_a_viewer_says_how_much_it_wants(lines: str, ceiling_bps: int | None) -> None:
    """In its video section; what is no bandwidth is none."""
    offer = read_offer(f"{SESSION}b=AS:7\r\n{VIDEO}{lines}{DATA}b=AS:8\r\n")
    assert offer.video.ceiling_bps == ceiling_bps


def test_the_answer_names_the_level_that_is_sent() -> None:
    """Of the profile nothing changes."""
    answer = with_level(SESSION + VIDEO, "4.0")
    assert "profile-level-id=42e028\r\n" in answer
    assert with_level(answer, "3.1") == SESSION + VIDEO


def test_an_extension_is_accepted_in_the_last_section() -> None:
    """Which is the only one."""
    assert with_extension(SESSION + VIDEO, 7, "urn:x").endswith(f"{H264}a=extmap:7 urn:x\r\n")


def test_the_answer_tells_the_media_clock() -> None:
    """As RFC 7273 writes it."""
    answer = with_media_clock(SESSION + VIDEO, 4_294_967_295)
    assert answer.endswith("a=ts-refclk:local\r\na=mediaclk:direct=4294967295\r\n")


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever text comes as an offer, it is refused or read."""
    for body in (text, SESSION + text, SESSION + VIDEO + text):
        try:
            offer = read_offer(body)
        except NegotiationFailed:
            continue
        assert "m=video" in offer.narrowed()
