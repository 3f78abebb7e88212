"""Which error a truncation is chosen by: of the weight, of the output, or of the loss.

The one place that knows the three criteria. Planning asks for spectra and losses, decomposing for
factors; the closed forms are in `weighted.py` and `weighted_tucker.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ms_eff.methods.lowrank.budget import spectrum_losses, tail_energies
from ms_eff.methods.lowrank.core import singular_values, svd_factors
from ms_eff.methods.lowrank.layers import Layer, read_weight
from ms_eff.methods.lowrank.moments import Moments
from ms_eff.methods.lowrank.roots import damped
from ms_eff.methods.lowrank.tucker import mode_spectra, tucker2
from ms_eff.methods.lowrank.weighted import weighted_factors, weighted_loss, weighted_spectrum
from ms_eff.methods.lowrank.weighted_tucker import weighted_spectra, weighted_tucker2

__all__ = ["WEIGHT", "Criterion", "damped_gradients", "damped_inputs"]

Array = NDArray[np.float64]

# of the mean eigenvalue. F is a mean over a few hundred gradients, and its null space is chance;
# G needs no more than what breaks ties among inputs that were never seen
_DAMPING_F = 0.1
_DAMPING_G = 1e-6


@dataclass(frozen=True)
class Criterion:
    """A criterion with what it has to know about each layer.

    Attributes:
        name: `weight`, `activation` or `two_sided`.
        moments: by layer name; of no use to `weight`.
    """

    name: str = "weight"
    moments: Mapping[str, Moments] = field(default_factory=dict)

    def unknown(self, layer: Layer) -> str:
        """Return why this layer cannot be decomposed by this criterion; empty if it can."""
        if self.name == "weight" or layer.name in self.moments:
            return ""
        if layer.kind == "embedding":
            return f"embeddings are decomposed by criterion weight alone, not {self.name}"
        return "the calibration data never reach it"

    def losses(self, sigma: Array) -> Array:
        """Return what ranks 1 .. n of a matrix with these `spectra` lose, for a budget.

        Two-sided losses are those of the network, whatever the layer, and add up. The others say
        nothing about other layers; there a layer loses the logarithm of the energy it keeps.
        """
        return tail_energies(sigma) if self.name == "two_sided" else spectrum_losses(sigma)

    def spectra(self, layer: Layer) -> tuple[Array, ...]:
        """Return the singular values that ranks cut off: of a matrix, or of both channel modes."""
        weight = read_weight(layer)
        if self.name == "weight":
            if layer.kind == "conv":
                return mode_spectra(weight)
            return (singular_values(weight.reshape(weight.shape[:2])),)
        G, F = self._moments(layer)
        if layer.kind == "conv":
            return weighted_spectra(weight, G, F)
        return (weighted_spectrum(weight, G, F),)

    def tucker(self, layer: Layer, weight: Array, rank: tuple[int, int]) -> tuple[Array, ...]:
        """Return `first`, `core` and `last` of a convolution, as `tucker2` does."""
        if self.name == "weight":
            return tucker2(weight, rank)
        return weighted_tucker2(weight, rank, *self._moments(layer))

    def pair(self, layer: Layer, matrix: Array, rank: int) -> tuple[Array, Array]:
        """Return `first` (rank, C) and `last` (S, rank) of a (S, C) matrix."""
        if self.name == "weight":
            W0, W1 = svd_factors(matrix.T, rank)
            return W0.T, W1.T
        return weighted_factors(matrix, rank, *self._moments(layer))

    def error(self, layer: Layer, weight: Array, composed: Array) -> float | None:
        """Return the root of the share of the criterion's loss; None where that is the weight's."""
        if self.name == "weight":
            return None
        G, F = self._moments(layer)
        whole = weighted_loss(weight, G, F)
        return float(np.sqrt(weighted_loss(weight - composed, G, F) / whole)) if whole else 0.0

    def _moments(self, layer: Layer) -> tuple[Array, Array | None]:
        """Return G, and F where the criterion has two sides, damped."""
        found = self.moments[layer.name]
        G = damped_inputs(found.inputs)
        if self.name == "activation" or found.gradients is None:
            return G, None
        return G, damped_gradients(found.gradients)


def damped_inputs(G: Array) -> Array:
    """Return G with what breaks ties among inputs that were never seen."""
    return damped(G, _DAMPING_G)


def damped_gradients(F: Array) -> Array:
    """Return F with a tenth of its mean eigenvalue: its null space is chance."""
    return damped(F, _DAMPING_F)


WEIGHT = Criterion()
