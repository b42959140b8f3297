"""What the relay makes of SDP that anybody may have written."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.signaling.messages import IceCandidate
from server_stub.sdp import (
    MOST_CANDIDATES,
    NothingToWatch,
    SdpInvalid,
    read_fragment,
    read_offer,
    with_candidates,
)

LINES = st.sampled_from(
    [
        "v=0",
        "s=-",
        "s=",
        "a=group:BUNDLE 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "m=audio 9 RTP/AVP 0",
        "m=",
        "m=video",
        "a=mid:0",
        "a=mid:",
        "a=rtpmap:96 H264/90000",
        "a=ice-ufrag:abcd",
        "a=ice-ufrag:",
        f"a=ice-pwd:{'p' * 24}",
        "a=candidate:1 1 udp 1 192.0.2.1 1 typ host",
        "a=candidate:",
        "a=end-of-candidates",
        "a=inactive",
        "a=\u2028m=video",
        "",
        "\r",
        "=",
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.lists(st.one_of(LINES, st.text(max_size=20)), max_size=30).map("\r\n".join),
    st.lists(LINES, max_size=100).map("\n".join),
)


@given(TEXTS)
def test_no_text_breaks_the_readers(text: str) -> None:
    """Each is read or refused, and what is read keeps its promises."""
    with contextlib.suppress(SdpInvalid, NothingToWatch):
        read_offer(text)
    try:
        fragment = read_fragment(text)
    except SdpInvalid:
        return
    assert len(fragment.candidates) <= MOST_CANDIDATES
    for candidate in fragment.candidates:
        assert candidate.candidate.startswith("candidate:")
        assert not set(candidate.candidate) & set("\r\n\0")
    assert fragment.candidates or fragment.has_all_candidates or fragment.credentials.ufrag


@given(TEXTS, st.text(max_size=20), st.none() | st.text(max_size=3), st.none() | st.integers(0, 9))
def test_no_answer_breaks_the_writer(
    answer: str, text: str, mid: str | None, index: int | None
) -> None:
    """A device that answers nonsense gets it passed on; no line of it is lost."""
    candidate = IceCandidate(candidate=text, sdpMid=mid, sdpMLineIndex=index)
    written = with_candidates(answer, [candidate], has_all_candidates=True).split("\r\n")
    for line in answer.replace("\r\n", "\n").split("\n"):
        assert line in written


@given(st.lists(st.integers(1, 200), max_size=40), st.sampled_from(["\r\n", "\n"]))
def test_what_a_player_writes_is_read(priorities: list[int], end: str) -> None:
    """Candidates come out as they went in, in their order, with their section."""
    texts = [f"candidate:1 1 udp {number} 192.0.2.1 9 typ host" for number in priorities]
    lines = ["a=ice-ufrag:abcd", f"a=ice-pwd:{'p' * 24}", "m=audio 9 RTP/AVP 0", "a=mid:left"]
    fragment = read_fragment(end.join([*lines, *(f"a={text}" for text in texts), ""]))
    assert [one.candidate for one in fragment.candidates] == texts
    assert {one.sdpMid for one in fragment.candidates} <= {"left"}
    assert (fragment.credentials.ufrag, fragment.credentials.password) == ("abcd", "p" * 24)
    assert not fragment.has_all_candidates


def test_a_candidate_finds_its_section() -> None:
    """By its mid; without one by its number; if neither is there, it is left out."""
    answer = "v=0\r\nm=audio 0 X 0\r\na=mid:a\r\nm=video 9 X 0\r\na=mid:v\r\n"

    def place(**where: object) -> str:
        candidate = IceCandidate.model_validate({"candidate": "candidate:1", **where})
        return with_candidates(answer, [candidate] * 2, has_all_candidates=False)

    assert place(sdpMid="v", sdpMLineIndex=0) == answer + "a=candidate:1\r\n"
    assert place(sdpMLineIndex=1) == answer + "a=candidate:1\r\n"
    assert place(sdpMLineIndex=7) == place() == answer


@pytest.mark.parametrize(
    "text", ["a=end-of-candidates", "m=audio 9 RTP/AVP 0\na=mid:0\na=end-of-candidates\n"]
)
def test_the_end_of_candidates_may_stand_anywhere(text: str) -> None:
    """For the session or for a section (RFC 8840, section 8.2)."""
    assert read_fragment(text).has_all_candidates
