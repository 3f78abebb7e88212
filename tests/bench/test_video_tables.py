from __future__ import annotations

from typing import Any

from ms_eff.bench.video_tables import (
    PAPER,
    accuracy_lines,
    accuracy_verdicts,
    speed_lines,
    speed_verdicts,
)


def kind(frames_per_s: float, speedup: float) -> dict[str, Any]:
    median = 16_000 / frames_per_s
    taken = {"median_ms": median, "p10_ms": median / 2, "p90_ms": 2 * median,
             "speedup": {"median": speedup, "p10": 1.0, "p90": 1.5}}  # fmt: skip
    whole = {"median_ms": median * speedup}
    return {"conv3d": whole, "variant": taken, "frames_per_s": frames_per_s}


def speed(row: str, inference: float, training: float) -> dict[str, Any]:
    return {"row": row, "params": 16_262_501, "macs": 39_602_675_712, "macs_3d": 17_032_544_256,
            "inference": kind(10, inference), "training": kind(4, training)}  # fmt: skip


def test_speed_stands_beside_the_paper():
    line = speed_lines([speed("add", 1.2, 1.05)])[-1]
    assert line == (
        "| add | 16.3 | 16.3 | 17.0 | 17.1 | 39.6 | 10.0 | 1.20x (1.00 to 1.50) | 4.0 | "
        "1.05x (1.00 to 1.50) | 1.12x |"
    )
    assert speed_lines([speed("tsm", 1, 1)])[-1].endswith("| not there |")


def test_frames_a_second_are_a_ratio_at_one_pace():
    slow, fast = speed("add", 1.5, 1.5), speed("tsm", 1.5, 1.5)
    fast["inference"] = kind(30, 1.5)  # the machine was three times as fast for this row
    cells = [line.split(" | ") for line in speed_lines([slow, fast])[2:]]
    assert cells[0][6] == cells[1][6] == "15.0"  # conv3d's medians: 2400 and 800 ms a clip


def test_speed_demands_are_held_and_the_fastest_is_named():
    rows = [speed("conv3d", 1.0, 1.0), speed("add", 1.2, 1.05), speed("tsm", 1.1, 1.4)]
    assert speed_verdicts(rows) == [
        "- add, inference: 1.20x (1.00 to 1.50) conv3d, 1.12 wanted: met",
        "- add, training: 1.05x (1.00 to 1.50) conv3d, 1.12 wanted: NOT met",
        "- fastest, inference: add, 1.20x conv3d; within its spread: conv3d, tsm",
        "- fastest, training: tsm, 1.40x conv3d; within its spread: conv3d, add",
    ]
    rows[2]["training"]["variant"]["speedup"] = {"median": 1.7, "p10": 1.6, "p90": 1.8}
    assert speed_verdicts(rows)[-1] == "- fastest, training: tsm, 1.70x conv3d"
    assert speed_verdicts([]) == []


def accuracy(variant: str, seed: int, value: float, params: int) -> dict[str, Any]:
    return {"task": "direction", "seed": seed, "variant": variant, "accuracy": value,
            "chance": 0.0625, "params": params, "macs": 2_000_000, "test_clips": 1000}  # fmt: skip


ROWS = [
    accuracy("conv3d", 0, 0.80, 2000), accuracy("conv3d", 1, 0.82, 2000),
    accuracy("add", 0, 0.81, 1000), accuracy("add", 1, 0.83, 1000),
    accuracy("tsm", 0, 0.70, 800), accuracy("spatial", 0, 0.07, 800),
]  # fmt: skip
SPEEDS = [
    {"row": row, "inference": kind(100 * gain, gain), "training": kind(25 * gain, gain)}
    for row, gain in (("conv3d", 1), ("add", 1.52), ("tsm", 3))
]


def test_accuracy_is_a_mean_over_seeds_and_gaps_are_taken_seed_by_seed():
    lines = accuracy_lines(ROWS, SPEEDS)
    add = next(line for line in lines if "| add |" in line)
    assert (
        "| 82.00 ± 1.41 | 6.2 | +1.00 ± 0.00 | 1,000 | 2.0 | 152 (1.52x) | 38 (1.52x) | 0, 1 |"
        in add
    )
    assert " / ".join(f"{value:.1f}" for value in PAPER["add"][3:]) in add
    assert len(lines) == 2 + 4
    assert "| 2.0 |  |  | 0 |" in accuracy_lines(ROWS)[-1]


def test_accuracy_demands_are_held():
    found = accuracy_verdicts(ROWS, SPEEDS)
    assert found[0].startswith("- direction: add +1.00 points from conv3d at 50 %")
    assert found[0].endswith(": met")
    assert found[1] == "- direction: each frame for itself 7.0 %, chance 6.2 %: at chance"
    # tsm is faster, but 11 points below
    assert "or above it, inference: add, 1.52x conv3d" in found[2]
    leak = [accuracy("spatial", 0, 0.12, 800)]
    assert accuracy_verdicts(leak) == [
        "- direction: each frame for itself 12.0 %, chance 6.2 %: NOT at chance"
    ]
