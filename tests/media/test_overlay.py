"""The time and the device's name in the picture: where they stand, and what they leave alone."""

import itertools
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from camagent.media.container import ContainerSource
from camagent.media.overlay import Overlay
from camagent.media.picture import planes_of
from camagent.media.software import SoftwareStream
from camagent.media.synthetic import SyntheticSource, read_timestamp
from tests.media.footage import Footage
from tests.media.streams import Collector, decode, grey, options

NOW_S = 1_790_000_000.5
PANEL, WHITE = 26, 235


def is_overlaid(luma: NDArray[np.uint8]) -> bool:
    """Tell whether there is white on the panel's dark somewhere on the left of the last third."""
    height_px, width_px = luma.shape
    tops = range(height_px * 2 // 3, height_px - 8, 2)
    slabs = [luma[top : top + 8, 16 : width_px // 4] for top in tops]
    return any(np.median(slab) < 40 and slab.max() > 150 for slab in slabs)


def drawn(
    text: str, *, now_s: float = NOW_S, width_px: int = 640, height_px: int = 360
) -> av.VideoFrame:
    return Overlay(text, now_s=lambda: now_s).draw(grey(width_px=width_px, height_px=height_px))


@pytest.mark.parametrize(
    ("width_px", "height_px"), [(160, 120), (640, 360), (1280, 720), (480, 640)]
)
@pytest.mark.parametrize("text", ["", "cam", "x" * 128])
def test_only_a_panel_at_the_bottom_changes(width_px: int, height_px: int, text: str) -> None:
    """Whatever the size and the name: neither the strip at the top nor the picture's middle."""
    luma, *chroma = planes_of(drawn(text, width_px=width_px, height_px=height_px))

    assert is_overlaid(luma)
    assert (luma[: height_px * 2 // 3] == 128).all()
    assert all((plane == 128).all() for plane in chroma)
    assert {luma.min(), luma.max()} == {PANEL, WHITE}


def test_name_and_time_are_both_in_it() -> None:
    """Another name or another second looks different; the same twice, or drawn twice, does not."""
    pictures = [drawn("cam"), drawn("cam"), drawn("door"), drawn("cam", now_s=NOW_S + 1)]
    pictures.append(Overlay("cam", now_s=lambda: NOW_S).draw(drawn("cam")))
    first, again, door, later, twice = (planes_of(picture)[0] for picture in pictures)

    assert np.array_equal(first, again)
    assert np.array_equal(first, twice)
    assert not np.array_equal(first, door)
    assert not np.array_equal(first, later)


def test_the_text_follows_the_time() -> None:
    """It is rendered when the second changes, and not before; the panel keeps its place."""
    now_s = [NOW_S]
    overlay = Overlay("cam", now_s=lambda: now_s[0])
    seen = []
    for at_s in (NOW_S, NOW_S + 0.4, NOW_S + 0.6, NOW_S + 61):
        now_s[0] = at_s
        seen.append(planes_of(overlay.draw(grey(width_px=640, height_px=360)))[0])

    assert np.array_equal(seen[0], seen[1])
    for one, two in itertools.combinations(seen[1:], 2):
        assert not np.array_equal(one, two)
    shapes = {tuple(np.argwhere(luma != 128).max(axis=0)) for luma in seen}
    assert len(shapes) == 1


@pytest.mark.parametrize("overlay", [None, "cam"])
def test_both_rungs_and_stills_show_it(overlay: str | None) -> None:
    """If it is asked for, and the machine-readable time stays so."""
    main, low = Collector(), Collector()
    its_options = options(width_px=1280, height_px=720, bitrate_bps=2_000_000)
    source = SyntheticSource(replace(its_options, overlay=overlay))
    with source.opened(main.take) as stream, stream.low_rung(low.take):
        lumas = [planes_of(decode(rung.wait(3))[-1])[0] for rung in (main, low)]
        (still,) = av.CodecContext.create("mjpeg", "r").decode(av.Packet(stream.snapshot()))
        lumas.append(planes_of(still.reformat(format="yuv420p"))[0])

    for luma in lumas:
        assert read_timestamp(luma) > 10**15
        assert is_overlaid(luma) is (overlay is not None)


def test_what_a_decoder_refers_to_is_not_drawn_into() -> None:
    """Pictures that need no scaling are the decoder's own, and later ones are made from them."""
    packets, parameter_sets = Footage(width_px=320, height_px=240, seconds=1).h264()
    data = [bytes(packet) for packet in packets]
    data[0] = parameter_sets + data[0]
    stream = SoftwareStream(lambda _frame: None, replace(options(), overlay="cam"))
    clean, used = (av.CodecContext.create("h264", "r") for _ in range(2))
    count = 0
    for number, unit in enumerate(data):
        pictures = zip(clean.decode(av.Packet(unit)), used.decode(av.Packet(unit)), strict=True)
        for expected, picture in pictures:
            assert np.array_equal(planes_of(picture)[0], planes_of(expected)[0]), number
            stream.take(picture, captured_at_us=number)
            assert is_overlaid(planes_of(picture)[0])
            count += 1
    assert count > 20


def test_a_stream_that_is_handed_on_is_not_drawn_into_and_the_log_says_so_once(
    tmp_path: Path,
) -> None:
    """However often it is opened; the way out is named. What is transcoded is drawn into."""
    packets, parameter_sets = Footage(width_px=320, height_px=240, seconds=1).h264()
    path = tmp_path / "raw.h264"
    path.write_bytes(parameter_sets + b"".join(bytes(packet) for packet in packets))
    with capture_logs() as events:
        for passes_through in (True, False):
            source = ContainerSource(
                replace(options(), overlay="cam"), url=str(path), passes_through=passes_through
            )
            for _ in range(2):
                viewer = Collector()
                with source.opened(viewer.take):
                    luma = planes_of(decode(viewer.wait(3))[-1])[0]
                assert is_overlaid(luma) is not passes_through
    (told,) = [event for event in events if event["event"] == "overlay.not_drawn"]
    assert told["log_level"] == "warning"
    assert told["encoder"] == "the camera itself"
    assert "CAMAGENT_VIDEO__TRANSCODE=true" in told["note"]
