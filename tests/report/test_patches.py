from __future__ import annotations

import numpy as np

from ms_eff.report.patches import dimmed, kept_part

PLAN = {"patches": 6, "score_block": 1, "merge_block": 4}
IMAGES = np.random.default_rng(0).random((2, 3, 4, 6), dtype=np.float32)
KEPT = np.array([[0, 5], [2, 3]])
GRID = (2, 3)


def test_kept_patches_stay_and_all_others_turn_grey() -> None:
    found = dimmed(IMAGES, KEPT, GRID)
    for image, kept in enumerate(KEPT):
        for patch in range(6):
            rows, columns = (slice(2 * at, 2 * at + 2) for at in divmod(patch, 3))
            part, original = found[image, :, rows, columns], IMAGES[image, :, rows, columns]
            if patch in kept:
                np.testing.assert_array_equal(part, original)
            else:
                np.testing.assert_array_equal(part, np.broadcast_to(part[:1], part.shape))
                assert np.ptp(part) < 0.3  # faint


def test_the_part_says_what_was_kept_and_shows_every_image_twice() -> None:
    part = kept_part(IMAGES, ["a cat", "a dog"], KEPT, PLAN, GRID)
    assert "2 of 6 patches" in part.text
    assert "blocks 2 to 3" in part.text
    assert part.figure.count("<image") == 4
    assert "a cat" in part.figure
    assert "http" not in part.figure
    single = kept_part(IMAGES[:, :1], ["a", "b"], KEPT, {**PLAN, "merge_block": 3}, GRID)
    assert "through block 2." in single.text
