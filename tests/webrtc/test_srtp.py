"""Encryption in place is the same as pylibsrtp's own."""

import pytest
from pylibsrtp import Error, Policy, Session

from camagent.webrtc.layout import HeaderPlan, lay_out
from camagent.webrtc.srtp import Protector, Scratch, in_place_problem
from tests.webrtc.depacketizer import read_rtp

SSRC = 77
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30, 10),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28, 16),
    "AEAD_AES_256_GCM": (Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 44, 16),
}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_viewer_decrypts_what_was_encrypted_in_place(profile: str) -> None:
    """Every packet of a run, with this viewer's numbers, across the wrap of sequence numbers."""
    number, key_bytes, tag_bytes = PROFILES[profile]
    key = bytes(range(key_bytes))
    ours = Session(Policy(key, Policy.SSRC_ANY_OUTBOUND, srtp_profile=number))
    theirs = Session(Policy(key, Policy.SSRC_ANY_INBOUND, srtp_profile=number))
    payloads = [bytes([n]) * 1_000 for n in range(5)] + [b"last"]
    plan = HeaderPlan(payload_type=96, tag_bytes=tag_bytes, mid="0", mid_id=1)
    (run,) = lay_out(payloads, plan, sent_at_s=0, marked=5)
    scratch = Scratch()

    Protector(ours, scratch, ssrc=SSRC).protect(run, sequence_number=65_533, timestamp=90)

    packets = []
    for start, size in run.places:
        packets.append(
            read_rtp(theirs.unprotect(bytes(scratch.view[start : start + size + tag_bytes])))
        )
    assert [packet.payload for packet in packets] == payloads
    assert [packet.sequence_number for packet in packets] == [65_533, 65_534, 65_535, 0, 1, 2]
    assert {(packet.ssrc, packet.timestamp) for packet in packets} == {(SSRC, 90)}
    with pytest.raises(Error):
        theirs.unprotect(bytes(1_000))


def test_a_packet_that_is_none_is_refused() -> None:
    """Libsrtp says no, and so do we."""
    plan = HeaderPlan(payload_type=96, tag_bytes=10)
    (run,) = lay_out([b"payload"], plan, sent_at_s=0, marked=0)
    broken = type(run)(run.data, ((0, 3),), run.segment_bytes)
    session = Session(Policy(bytes(30), Policy.SSRC_ANY_OUTBOUND))
    with pytest.raises(ValueError, match="refused a packet"):
        Protector(session, Scratch(), ssrc=SSRC).protect(broken, sequence_number=1, timestamp=1)


def test_the_pylibsrtp_here_is_as_it_was() -> None:
    """What is tried at each start."""
    assert in_place_problem() is None
