"""What the relay reads and writes of SDP, for viewers that come by WHEP. Pure.

A viewer at a WebSocket trickles by messages; one that comes by WHEP does so by fragments of SDP
(RFC 8840), and gets the device's candidates within the answer. What media is offered is the
device's business, but for what no camera could ever serve.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from camagent.signaling.messages import IceCandidate

MOST_CANDIDATES = 64
"""Each is a message to the device, whose connection takes so many at once and no more."""

_MOST_SECTIONS = 32
_LINE = re.compile(r"[a-z]=[^\x00-\x1f\x7f]+")
_MEDIA = re.compile(r"m=\w+ \d{1,5}(?:/\d+)? \S+ \S.*")
_MEDIA_ID = re.compile(r"a=mid:(\S{1,64})")
# RFC 8839, section 5.4.
_UFRAG = re.compile(r"a=ice-ufrag:([A-Za-z0-9+/]{4,256})")
_PASSWORD = re.compile(r"a=ice-pwd:([A-Za-z0-9+/]{22,256})")
_H264 = re.compile(r"a=rtpmap:\d+ H264/90000", re.IGNORECASE)
_NO_MORE = "a=end-of-candidates"


class SdpInvalid(Exception):
    """A text that is no such SDP; the error's text says why and quotes nothing of it."""


class NothingToWatch(Exception):
    """An offer in good form that asks for nothing that a camera sends."""


@dataclass(frozen=True)
class IceCredentials:
    """What tells one ICE session from another. None where a text does not say."""

    ufrag: str | None
    password: str | None


@dataclass(frozen=True)
class Fragment:
    """Candidates that a viewer found after its offer.

    Attributes:
        has_all_candidates: no more will follow.
    """

    credentials: IceCredentials
    candidates: tuple[IceCandidate, ...]
    has_all_candidates: bool


def read_offer(text: str) -> IceCredentials:
    """Look over an offer, as far as the device need not be asked.

    Raises:
        SdpInvalid: it is no SDP, or has no ICE credentials.
        NothingToWatch: no section of it would take H.264.
    """
    session, *sections = _split(text)
    if not session or session[0] != "v=0":
        raise SdpInvalid("the offer does not start with v=0")
    credentials = _credentials((session, *sections))
    if credentials.ufrag is None or credentials.password is None:
        raise SdpInvalid("the offer has no a=ice-ufrag and a=ice-pwd")
    if not any(_takes_h264(section) for section in sections):
        raise NothingToWatch("the offer has no video section that receives H.264")
    return credentials


def read_fragment(text: str) -> Fragment:
    """Read a fragment of media type application/trickle-ice-sdpfrag (RFC 8840, section 9).

    Raises:
        SdpInvalid: it is none, or has more candidates than anybody needs.
    """
    session, *sections = _split(text)
    if any(line.startswith("a=candidate:") for line in session):
        raise SdpInvalid("a candidate stands before any m= line")
    candidates = tuple(
        candidate
        for index, section in enumerate(sections)
        for candidate in _candidates(section, index)
    )
    if len(candidates) > MOST_CANDIDATES:
        raise SdpInvalid(f"more than {MOST_CANDIDATES} candidates")
    credentials = _credentials((session, *sections))
    has_all_candidates = any(_NO_MORE in lines for lines in (session, *sections))
    if not candidates and not has_all_candidates and credentials.ufrag is None:
        raise SdpInvalid("the fragment says nothing about ICE")
    return Fragment(credentials, candidates, has_all_candidates)


def with_candidates(
    answer: str, candidates: Iterable[IceCandidate], *, has_all_candidates: bool
) -> str:
    """Put the device's candidates into its answer, each where it belongs and only once."""
    session, *sections = _lines_by_section(answer)
    for candidate in candidates:
        section = _section_of(candidate, sections)
        line = f"a={candidate.candidate}"
        if section is not None and line not in section:
            section.append(line)
    if has_all_candidates:
        for section in sections:
            if any(line.startswith("a=candidate:") for line in section) and _NO_MORE not in section:
                section.append(_NO_MORE)
    return "".join(f"{line}\r\n" for lines in (session, *sections) for line in lines)


def _split(text: str) -> list[list[str]]:
    """Give the lines before the first m= line, and those of each section."""
    parts = _lines_by_section(text)
    if len(parts) - 1 > _MOST_SECTIONS:
        raise SdpInvalid(f"more than {_MOST_SECTIONS} sections")
    for line in (line for part in parts for line in part):
        # An empty value is allowed to the session's name, which some leave away.
        if not _LINE.fullmatch(line) and line != "s=":
            raise SdpInvalid("a line is not of the form x=value")
    for section in parts[1:]:
        if not _MEDIA.fullmatch(section[0]):
            raise SdpInvalid("an m= line is broken")
    return parts


def _lines_by_section(text: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    # Not splitlines, to which much is a line end that to SDP is a character.
    for line in re.split(r"\r\n|\n", text):
        if line.startswith("m="):
            parts.append([])
        if line:
            parts[-1].append(line)
    return parts


def _credentials(parts: Iterable[Sequence[str]]) -> IceCredentials:
    """Take the first that are told: all sections share one transport (RFC 9143)."""
    lines = [line for part in parts for line in part]
    return IceCredentials(_first(_UFRAG, lines), _first(_PASSWORD, lines))


def _first(pattern: re.Pattern[str], lines: Iterable[str]) -> str | None:
    found = (pattern.fullmatch(line) for line in lines)
    return next((match[1] for match in found if match), None)


def _takes_h264(section: Sequence[str]) -> bool:
    kind, port, *_ = section[0].removeprefix("m=").split(" ")
    is_refused = port == "0" and "a=bundle-only" not in section
    is_deaf = "a=sendonly" in section or "a=inactive" in section
    return kind == "video" and not is_refused and not is_deaf and any(map(_H264.match, section))


def _candidates(section: Sequence[str], index: int) -> Iterator[IceCandidate]:
    media_id = _first(_MEDIA_ID, section)
    for line in section:
        if line.startswith("a=candidate:"):
            text = line.removeprefix("a=")
            try:
                yield IceCandidate(candidate=text, sdpMid=media_id, sdpMLineIndex=index)
            except ValidationError as error:
                raise SdpInvalid("a candidate is too long") from error


def _section_of(candidate: IceCandidate, sections: list[list[str]]) -> list[str] | None:
    for section in sections:
        if candidate.sdpMid is not None and f"a=mid:{candidate.sdpMid}" in section:
            return section
    index = candidate.sdpMLineIndex
    return sections[index] if index is not None and index < len(sections) else None
