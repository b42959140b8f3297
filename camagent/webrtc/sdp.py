"""Cuts a viewer's offer down to the one video section we serve, and grows the answer back.

A browser may offer microphones, data channels and more. What is never accepted costs nothing, so
every other section is refused in the answer (RFC 8829, section 5.3.1: port zero) and the peer
connection never learns of it. Everything here is pure text in, text out.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from camagent.errors import NegotiationFailed

_MOST_SECTIONS = 32
_RECEIVING = frozenset({"recvonly", "sendrecv"})
_DIRECTIONS = frozenset({"sendrecv", "sendonly", "recvonly", "inactive"})
_CANDIDATES = ("a=candidate:", "a=end-of-candidates")
# What a bundle-only section leaves to the section that carries the transport (RFC 8829, 5.2.1).
_TRANSPORT = ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:", "a=setup:", "a=ice-options:")
_EXTENSION = re.compile(
    r"a=extmap:(?P<id>[1-9]|1[0-4])(?:/(?:recvonly|sendrecv))? (?P<uri>\S+)(?: .*)?"
)
_H264 = re.compile(r"^a=rtpmap:\d+ H264/90000$", re.IGNORECASE)
_BANDWIDTH = re.compile(r"b=(?P<kind>AS|TIAS):(?P<value>\d{1,10})")


@dataclass(frozen=True)
class Section:
    """One m= section: its lines, the first of them the m= line."""

    lines: tuple[str, ...]

    @property
    def kind(self) -> str:
        """`audio`, `video` or `application`."""
        return self.lines[0][2:].split(" ")[0]

    @property
    def mid(self) -> str | None:
        """Its identification (RFC 5888), if it has one."""
        return next((line[6:] for line in self.lines if line.startswith("a=mid:")), None)

    @property
    def is_refused(self) -> bool:
        """True if the offerer itself switched it off (port zero outside a bundle)."""
        return self.lines[0].split(" ")[1] == "0" and "a=bundle-only" not in self.lines

    @property
    def can_receive(self) -> bool:
        """True if the viewer would take media here."""
        named = [line[2:] for line in self.lines if line[2:] in _DIRECTIONS]
        return not named or named[-1] in _RECEIVING

    @property
    def has_h264(self) -> bool:
        """True if any H.264 is offered, whatever its profile."""
        return any(_H264.match(line) for line in self.lines)

    @property
    def codecs(self) -> frozenset[str]:
        """What it has, and the number of each: `102 h264/90000`."""
        maps = self.starting_with("a=rtpmap:")
        return frozenset(line.removeprefix("a=rtpmap:").strip().lower() for line in maps)

    @property
    def ceiling_bps(self) -> int | None:
        """The most that the viewer wants to receive, in bits per second; None if it does not say.

        b=TIAS (RFC 3890) counts media alone; b=AS (RFC 8866, section 5.8) kilobits with headers
        and all, of which RFC 8829 (section 5.10) says what is left. One of zero asks for nothing.
        """
        lines = (_BANDWIDTH.fullmatch(line) for line in self.lines)
        told = {found["kind"]: int(found["value"]) for found in lines if found is not None}
        if "TIAS" in told:
            return told["TIAS"] or None
        if told.get("AS"):
            return max(1, round(told["AS"] * 950) - 16_000)
        return None

    def starting_with(self, prefixes: str | tuple[str, ...]) -> tuple[str, ...]:
        """Pick the lines that start with one of `prefixes`."""
        return tuple(line for line in self.lines if line.startswith(prefixes))


@dataclass(frozen=True)
class ViewerOffer:
    """An offer, with the index of the section that will carry our video."""

    session_lines: tuple[str, ...]
    sections: tuple[Section, ...]
    video_index: int

    @property
    def video(self) -> Section:
        """The section that will carry our video."""
        return self.sections[self.video_index]

    @property
    def candidates(self) -> tuple[str, ...]:
        """Candidates that came inside the offer, as `candidate:…` texts."""
        carrying = (self._transport_section, self.video)
        lines = (line for one in carrying for line in one.starting_with("a=candidate:"))
        return tuple(dict.fromkeys(line[2:] for line in lines))

    @property
    def has_all_candidates(self) -> bool:
        """True if the offer says that no more will follow."""
        return "a=end-of-candidates" in self._transport_section.lines

    @property
    def is_passive(self) -> bool:
        """True if the viewer waits for us to begin the DTLS handshake (RFC 8842, section 5.3)."""
        return "a=setup:passive" in self.narrowed().splitlines()

    def extension_id(self, uri: str) -> int | None:
        """Find under which id the viewer takes a header extension (RFC 8285, section 5).

        None if it does not, or only under an id that the one-byte form lacks.
        """
        for line in self.video.starting_with("a=extmap:"):
            offered = _EXTENSION.fullmatch(line)
            if offered is not None and offered["uri"] == uri:
                return int(offered["id"])
        return None

    def narrowed(self) -> str:
        """Write the offer as if it had the video section alone, and no candidates."""
        video = self.video
        media, *attributes = (line for line in video.lines if not line.startswith(_CANDIDATES))
        kind, port, *rest = media.split(" ")
        if port == "0":
            media = " ".join((kind, "9", *rest))
            attributes.remove("a=bundle-only")
        for prefix in _TRANSPORT:
            if not video.starting_with(prefix):
                attributes.extend(self._transport_section.starting_with(prefix))
        session = [line for line in self.session_lines if not line.startswith("a=group:")]
        if video.mid is not None:
            session.append(f"a=group:BUNDLE {video.mid}")
        return _text((*session, media, *attributes))

    def widened(self, answer: str) -> str:
        """Add to an answer for `narrowed()` a refusal for every other section, in the offer's order.

        Raises:
            NegotiationFailed: `answer` does not have exactly one section, or has a codec under a
                number under which it was not offered.
        """
        session, sections = _split(answer)
        if len(sections) != 1:
            raise NegotiationFailed(f"the answer has {len(sections)} sections instead of one")
        if not sections[0].codecs <= self.video.codecs:
            raise NegotiationFailed("the offer has H.264 under a number that RTP cannot use")
        parts = [
            sections[0].lines if index == self.video_index else _refusal(section)
            for index, section in enumerate(self.sections)
        ]
        return _text((*session, *(line for part in parts for line in part)))

    @property
    def _transport_section(self) -> Section:
        """The section whose transport the bundle uses: the first one named in it."""
        for line in self.session_lines:
            mids = line.split(" ")[1:]
            if line.startswith("a=group:BUNDLE ") and self.video.mid in mids:
                return next((one for one in self.sections if one.mid == mids[0]), self.video)
        return self.video


def with_level(answer: str, level: str) -> str:
    """Name the H.264 level that is sent, such as 4.0, in an answer that names another.

    The level is the last byte of profile-level-id, ten times its number (RFC 6184, section 8.1).
    """
    level_idc = round(float(level) * 10)
    return re.sub(
        r"(profile-level-id=[0-9a-fA-F]{4})[0-9a-fA-F]{2}", rf"\g<1>{level_idc:02x}", answer
    )


def with_extension(answer: str, extension_id: int, uri: str) -> str:
    """Accept a header extension in an answer of one section."""
    return answer + f"a=extmap:{extension_id} {uri}\r\n"


def with_media_clock(answer: str, offset: int | None) -> str:
    """Tell in an answer of one section how RTP timestamps follow from the sender reports' clock.

    `offset` is the timestamp at which that clock is zero (RFC 7273, sections 4.6 and 5.2); None tells
    nothing.
    """
    if offset is None:
        return answer
    return answer + f"a=ts-refclk:local\r\na=mediaclk:direct={offset}\r\n"


def read_offer(text: str) -> ViewerOffer:
    """Find the video section of a viewer's offer.

    Raises:
        NegotiationFailed: `text` is not SDP, or nothing in it can receive H.264.
    """
    session, sections = _split(text)
    videos = [
        index
        for index, section in enumerate(sections)
        if section.kind == "video" and not section.is_refused
    ]
    receiving = [index for index in videos if sections[index].can_receive]
    if not receiving:
        raise NegotiationFailed("the offer has no video section that receives")
    for index in receiving:
        if sections[index].has_h264:
            return ViewerOffer(session, sections, index)
    raise NegotiationFailed("the offer has no H.264, the only codec of this camera")


def _split(text: str) -> tuple[tuple[str, ...], tuple[Section, ...]]:
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.startswith("m="):
            parts.append([])
        if line:
            parts[-1].append(line)
    session, *sections = parts
    if not session or not session[0].startswith("v="):
        raise NegotiationFailed("the offer is not SDP: it does not start with v=")
    if len(sections) > _MOST_SECTIONS:
        raise NegotiationFailed(f"the offer has {len(sections)} sections, too many")
    for lines in sections:
        if len(lines[0].split(" ")) < len(("m=kind", "port", "protocol", "format")):
            raise NegotiationFailed("the offer has a broken m= line")
    return tuple(session), tuple(Section(tuple(lines)) for lines in sections)


def _refusal(section: Section) -> tuple[str, ...]:
    """Refuse a section with what its formats are, which pion looks for even here."""
    kind, _port, *rest = section.lines[0].split(" ")
    return (
        " ".join((kind, "0", *rest)),
        "c=IN IP4 0.0.0.0",
        *section.starting_with(("a=mid:", "a=rtpmap:")),
        "a=inactive",
    )


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
