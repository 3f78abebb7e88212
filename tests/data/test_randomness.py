from __future__ import annotations

import numpy as np
import pytest

from ms_eff.data.randomness import Stream, generator
from ms_eff.errors import ConfigError


def test_an_address_always_gives_the_same_numbers():
    first = generator(Stream.SAMPLE, seed=3, epoch=5, sample=7).random(8)
    np.testing.assert_array_equal(generator(Stream.SAMPLE, 3, 5, 7).random(8), first)


def test_every_part_of_the_address_matters():
    addresses = [(Stream.ORDER, 1, 2, 3), (Stream.SAMPLE, 1, 2, 3), (Stream.ORDER, 0, 2, 3)]
    addresses += [(Stream.ORDER, 1, 0, 3), (Stream.ORDER, 1, 2, 0), (Stream.ORDER, 2, 1, 3)]
    draws = {generator(*address).integers(2**63) for address in addresses}
    assert len(draws) == len(addresses)


@pytest.mark.parametrize("address", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_negative_parts_are_refused(address):
    with pytest.raises(ConfigError, match="negative"):
        generator(Stream.ORDER, *address)
