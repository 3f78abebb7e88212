"""Analytic variational Bayes rank of a noisy matrix (Nakajima et al., JMLR 14, 2013).

The empirical variational Bayes solution of fully observed matrix factorisation is closed-form
given the noise variance: singular values above a threshold stay, the rest is noise. The variance
itself minimises the free energy, a function of one number.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from ms_eff.methods.lowrank.core import singular_values
from ms_eff.methods.lowrank.tucker import mode_spectra

__all__ = ["vbmf_rank", "vbmf_tucker_ranks"]

Array = NDArray[np.float64]

# points of the free energy that are looked at before the best of them is refined: it has several
# local minima
_GRID = 200


def vbmf_rank(W: ArrayLike) -> int:
    """Return how many singular values of `W` (C, S) rise above the noise; 0 if none does.

    Raises:
        ValueError: `W` is no finite matrix.

    >>> rng = np.random.default_rng(0)
    >>> low = rng.standard_normal((60, 5)) @ rng.standard_normal((5, 90))
    >>> vbmf_rank(low + rng.standard_normal((60, 90)))
    5
    """
    return _rank(singular_values(W), np.shape(W))


def vbmf_tucker_ranks(weight: ArrayLike) -> tuple[int, int]:
    """Return the VBMF ranks (r1, r2) of the two channel unfoldings of a (S, C, kh, kw) weight."""
    S, C, kh, kw = np.shape(weight)
    by_input, by_output = mode_spectra(weight)
    return _rank(by_input, (C, S * kh * kw)), _rank(by_output, (S, C * kh * kw))


def _rank(sigma: Array, shape: tuple[int, ...]) -> int:
    short, long = min(shape), max(shape)
    # what rounding made of zeros is no observation
    sigma = np.where(sigma > sigma[0] * long * np.finfo(np.float64).eps, sigma, 0.0)
    if not sigma.any():
        return 0
    alpha = short / long
    tau = 2.5129 * math.sqrt(alpha)  # the paper's fit of the threshold equation's root
    threshold = (1 + tau) * (1 + alpha / tau)
    variance = _noise_variance(sigma, short, long, threshold)
    return int(np.sum(sigma**2 > long * variance * threshold))


def _noise_variance(sigma: Array, short: int, long: int, threshold: float) -> float:
    """Return the noise variance that minimises the free energy, within the paper's bounds."""
    squares = sigma**2
    # the paper bounds the rank, and with it the variance from below
    first_dropped = min(math.ceil(short / (1 + short / long)) - 1, short - 1)
    rest = squares[first_dropped:]
    low = max(rest[0] / (long * threshold), rest.mean() / long)
    high = squares.sum() / (short * long)
    if low <= squares[0] * np.finfo(np.float64).eps / long:
        return low  # no noise at all
    energy = _FreeEnergy(squares / long, short / long, threshold)
    grid = np.geomspace(low, high, _GRID) if high > low else np.array([low])
    best = int(np.argmin([energy(v) for v in grid]))
    bounds = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    if bounds[0] == bounds[1]:
        return low
    found = optimize.minimize_scalar(energy, bounds=bounds, method="bounded")
    return float(found.x)


class _FreeEnergy:
    """The free energy as a function of the noise variance, up to constants."""

    def __init__(self, scaled: Array, alpha: float, threshold: float) -> None:
        self.scaled, self.alpha, self.threshold = scaled, alpha, threshold

    def __call__(self, variance: float) -> float:
        x = self.scaled / variance
        noise = x[(x > 0) & (x <= self.threshold)]
        kept = x[x > self.threshold]
        tau = _tau(kept, self.alpha)
        signal = np.log(tau + 1) + self.alpha * np.log(tau / self.alpha + 1) - tau
        # a zero singular value adds -log(0 / variance): its only varying part is log(variance)
        zeros = np.sum(x == 0) * math.log(variance)
        return float(
            np.sum(noise - np.log(noise)) + np.sum(kept - np.log(kept)) + signal.sum() + zeros
        )


def _tau(x: Array, alpha: float) -> Array:
    centred = x - (1 + alpha)
    return 0.5 * (centred + np.sqrt(np.maximum(centred**2 - 4 * alpha, 0.0)))
