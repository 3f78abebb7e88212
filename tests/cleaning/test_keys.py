from __future__ import annotations

import numpy as np

from ms_eff.cleaning.keys import LOAD, KeySet


def test_as_a_set_of_python_says():
    rng = np.random.default_rng(0)
    seen, known = set(), KeySet()
    for size in (1, 0, 10, 3000, 20_000, 7):
        # few different values in few of the tables, and spread ones
        keys = rng.integers(0, 2**64, size, dtype=np.uint64)
        keys[::3] = rng.integers(1, 500, len(keys[::3]), dtype=np.uint64)
        expected = []
        for key in keys.tolist():
            expected.append(key not in seen)
            seen.add(key)
        assert known.add(keys).tolist() == expected
        assert len(known) == len(seen)
    assert not known.add(np.array(sorted(seen), np.uint64)).any()


def test_keys_that_want_one_slot_all_get_in():
    # equal but for the lowest bits, which choose no place
    keys = (np.uint64(5) << np.uint64(40)) + np.arange(2000, dtype=np.uint64)
    known = KeySet()
    assert known.add(keys).all()
    assert not known.add(keys[::-1]).any()


def test_memory_a_key():
    known = KeySet()
    rng = np.random.default_rng(1)
    for _ in range(40):
        known.add(rng.integers(1, 2**64, 10_000, dtype=np.uint64))
        if len(known) > 100_000:
            assert 8 / LOAD <= known.nbytes / len(known) < 18
