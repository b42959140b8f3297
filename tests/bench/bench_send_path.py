"""What one more viewer costs, beside aiortc's own sender; how soon its frames leave, and what stays.

Two processes, each on a core of its own, with a network of their own between them: near_side.py is
the device, far_side.py its viewers. Compared modes take turns on the same connections in one run.
`python -m tests.bench.bench_send_path PART…` measures some parts only: see near_side.py.
"""

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.namespaces import Link, link
from tests.bench.report import Figure, report

_FRAMES_PER_S = 30
Result = dict[str, Any]


def _measure(part: str, between: Link) -> Result:
    python = (sys.executable, "-m")
    viewers = (*between.far, *python, "tests.bench.far_side")
    command = (*between.near, *python, "tests.bench.near_side", part, *viewers)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: Result = json.loads(done.stdout)
    return result


def _senders(result: Result) -> list[Figure]:
    samples = result["samples"]
    idle = _median(samples["idle"], "cpu_s")
    packets = result["packets"]
    print(
        f"\nsenders: {result['kbps']} kbit/s, {packets} packets counted, {result['gaps']} gaps, "
        f"{result['undecryptable']} undecryptable; milliseconds of processor a frame:"
    )
    per_viewer_us = {}
    for mode, rounds in samples.items():
        each_ms = [1e3 * one["cpu_s"] / one["frames"] for one in rounds]
        line = f"  {mode:<9}" + "".join(f"{one:7.3f}" for one in each_ms)
        if mode != "idle":
            viewers = int(mode.split()[1])
            net_s = _median(rounds, "cpu_s") - idle
            per_viewer_us[mode] = 1e6 * net_s / rounds[0]["frames"] / viewers
            line += f"   net {per_viewer_us[mode]:6.1f} us a viewer and frame"
        print(line)
    loop_ms = [ms for one in samples["ours 16"] for ms in one["loop_ms"]]
    hand_over_ms = [ms for one in samples["ours 8"] for ms in one["hand_over_ms"]]
    _spread("event loop a frame, 16 viewers", loop_ms)
    _spread("encoder to kernel, 8 viewers", hand_over_ms)
    return [
        *(
            _at_least(
                f"processor per viewer, {viewers} viewers: aiortc's sender / ours",
                reach,
                per_viewer_us[f"stock {viewers}"] / per_viewer_us[f"ours {viewers}"],
            )
            for viewers, reach in ((16, 4.5), (4, 3))
        ),
        _below("event loop per frame, 16 viewers (median)", 2, statistics.median(loop_ms), "ms"),
        _below(
            "encoder to last packet in the kernel, 8 viewers (median)",
            1.5,
            statistics.median(hand_over_ms),
            "ms",
        ),
    ]


def _encoding(result: Result) -> list[Figure]:
    what = "processor for one viewer, encoder counted: aiortc / ours"
    return [_at_least(what, 5, _encoding_ratio(result))]


def _encoding_a_drawing(result: Result) -> list[Figure]:
    what = "the same, of a drawing without a camera's noise"
    return [Figure(what, "(none set)", round(_encoding_ratio(result), 2), "x", met=True)]


def _encoding_ratio(result: Result) -> float:
    samples = result["samples"]
    print("\nencoding, one viewer: milliseconds of processor a frame, net of the idle mode's")
    idle = statistics.median(one["cpu_s"] for one in samples["idle"])
    each_ms = {}
    for mode in ("ours", "aiortc"):
        rounds = samples[mode]
        net = [1e3 * (one["cpu_s"] - idle) / one["frames"] for one in rounds]
        each_ms[mode] = statistics.median(net)
        frames = "/".join(str(one["frames"]) for one in rounds)
        print(f"  {mode:<9}" + "".join(f"{one:7.2f}" for one in net) + f"   frames {frames}")
    return each_ms["aiortc"] / each_ms["ours"]


def _crowd(result: Result) -> list[Figure]:
    rounds = result["rounds"]
    counts = [count for one in rounds for count in one["counts"]]
    slowest = [min(map(_frames_per_s, one["counts"])) for one in rounds]
    gaps = sum(count["gaps"] for count in counts)
    least, played = min(count["frames"] for count in counts), rounds[0]["sample"]["frames"]
    share = 100 * statistics.median(
        one["sample"]["cpu_s"] / one["sample"]["wall_s"] for one in rounds
    )
    print(
        f"\ncrowd: {len(rounds[0]['counts'])} viewers got at least {least} of {played} frames in "
        f"each round, {gaps} gaps, {sum(count['undecryptable'] for count in counts)} undecryptable"
    )
    print("  the slowest viewer's frames per second:" + "".join(f"{one:7.2f}" for one in slowest))
    _spread("event loop a frame", [ms for one in rounds for ms in one["sample"]["loop_ms"]])
    median = statistics.median(slowest)
    return [
        Figure(
            "50 viewers on one core: the slowest's (no frame missing)",
            "30",
            round(median, 2),
            "fps",
            met=least == played and not gaps and median > 0.99 * _FRAMES_PER_S,
        ),
        Figure("50 viewers on one core: processor", "(none set)", round(share), "%", met=True),
    ]


def _frames_per_s(count: dict[str, Any]) -> float:
    """From the first frame that came to the last."""
    rate: float = (count["frames"] - 1) / (count["last_at_s"] - count["first_at_s"])
    return rate


def _join(result: Result) -> list[Figure]:
    after_ms = result["first_idr_ms"]
    print()
    _spread("offer to first whole IDR", after_ms)
    return [
        _below("offer to first whole IDR (median)", 60, statistics.median(after_ms), "ms"),
    ]


def _sessions(result: Result) -> list[Figure]:
    before, after = result["before"], result["after"]
    print(f"\nsessions: after the first {before}, after the last {after}")
    growth_mb = (after.pop("resident_bytes") - before.pop("resident_bytes")) / 1e6
    return [
        _below("500 sessions: growth after the first 50", 4, growth_mb, "MB"),
        Figure(
            "500 sessions: tasks, threads and files left",
            "0",
            sum(after.values()) - sum(before.values()),
            "",
            met=after == before,
        ),
    ]


_PARTS: dict[str, Callable[[Result], list[Figure]]] = {
    "senders": _senders,
    "encoding": _encoding,
    "encoding a drawing": _encoding_a_drawing,
    "crowd": _crowd,
    "join": _join,
    "sessions": _sessions,
}


def _median(samples: list[dict[str, Any]], key: str) -> float:
    return statistics.median(one[key] for one in samples)


def _spread(what: str, values: list[float]) -> None:
    """Print quartiles and extremes, of which the median alone says nothing."""
    ordered = sorted(values)
    at = {name: ordered[round(share * (len(ordered) - 1))] for name, share in _SHARES.items()}
    print(f"  {what}, ms: " + "  ".join(f"{name} {ms:.2f}" for name, ms in at.items()))


_SHARES = {"least": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "most": 1.0}


def _at_least(what: str, reach: float, measured: float) -> Figure:
    return Figure(what, f">= {reach:g}", round(measured, 2), "x", measured >= reach)


def _below(what: str, reach: float, measured: float, unit: str) -> Figure:
    return Figure(what, f"< {reach:g}", round(measured, 2), unit, measured < reach)


def main() -> None:
    # Left behind, the namespaces would stay.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parts = sys.argv[1:] or list(_PARTS)
    figures = []
    with link() as between:
        print(f"Linux {platform.release()}, load {os.getloadavg()[0]:.1f}")
        print(f"over {between.name}")
        for part in parts:
            figures += _PARTS[part](_measure(part, between))
    report("send_path", figures, packages=("aiortc", "aioice", "av", "pylibsrtp"))


if __name__ == "__main__":
    main()
