"""Which layers are worth decomposing, from timings alone (after arXiv:2309.12412; procedure ours).

Equal layers stand or fall together. First each group's own gain decides, then the whole network is
timed, where it can be: what does not help there is dropped. No MindSpore, and no clock: timings are
injected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Group", "Targeted", "target"]

_PATIENCE = 3  # drops in a row that did not help


@dataclass(frozen=True)
class Group:
    """Layers of equal shape and rank.

    Attributes:
        layers: their names.
        dense_ms: time of one call of such a layer.
        ms: time of one call of its factors.
        multiplicity: calls of all of them in one run of the network.
    """

    layers: tuple[str, ...]
    dense_ms: float
    ms: float
    multiplicity: int

    @property
    def gain_ms(self) -> float:
        """Return the time that decomposing the group should save.

        >>> Group(("a", "b"), 5.0, 3.0, 2).gain_ms
        4.0
        """
        return (self.dense_ms - self.ms) * self.multiplicity


@dataclass(frozen=True)
class Targeted:
    """What was selected, and on what grounds.

    Attributes:
        kept: groups to decompose; none means that the network stays as it is.
        dropped: (group, reason) of the others.
        dense_ms: time of the original network; None if no group came so far that it was wanted, or
            if it is not known.
        predicted_ms: that less the gains of the kept groups.
        measured_ms: time of the network with the kept groups decomposed; None if it was not run.
    """

    kept: tuple[Group, ...]
    dropped: tuple[tuple[Group, str], ...]
    dense_ms: float | None = None
    predicted_ms: float | None = None
    measured_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            **asdict(self),
            "kept": [asdict(group) for group in self.kept],
            "dropped": [{**asdict(group), "reason": reason} for group, reason in self.dropped],
        }


def target(
    groups: Sequence[Group],
    whole_ms: Callable[[Sequence[Group]], float] | None,
    *,
    threshold: float = 0.05,
    tolerance: float = 0.02,
    most: int | None = None,
    dense_ms: float | None = None,
) -> Targeted:
    """Select the groups whose decomposition makes the whole network faster.

    While the whole is slower than predicted, groups are dropped, the smallest gain first; a drop
    that makes the whole slower is taken back, and after three such in a row no more are tried: each
    takes two compilations.

    Args:
        groups: candidates.
        whole_ms: groups -> time of the network with just these decomposed. None where it cannot be
            run: the groups' own gains then decide alone, and whether their sum is beyond noise.
        threshold: least gain of a layer, as a share of its own time.
        tolerance: how much slower than predicted is noise, and how much faster than the original
            the result has to be, as shares.
        most: layers to decompose at most; those that gain most each come first.
        dense_ms: without `whole_ms`: time of the original network, if it is known.
    """
    kept = [g for g in groups if g.dense_ms - g.ms > threshold * g.dense_ms]
    dropped = [
        (g, f"{g.ms:.4g} ms against {g.dense_ms:.4g} ms gains no {threshold:.0%}")
        for g in groups
        if g not in kept
    ]
    if most is not None:
        kept, beyond = _largest(kept, most)
        dropped += [(g, f"others gain more, and at most {most} layers are wanted") for g in beyond]
    if not kept:
        return Targeted((), tuple(dropped))
    if whole_ms is None:
        return _unmeasured(kept, dropped, dense_ms, tolerance)
    dense = whole_ms(())
    measured = whole_ms(tuple(kept))
    failures = 0
    for group in sorted(kept, key=lambda g: g.gain_ms):
        if failures == _PATIENCE or measured <= _predicted(dense, kept) * (1 + tolerance):
            break
        without = [g for g in kept if g is not group]
        taken = whole_ms(tuple(without)) if without else dense
        failures += 1
        if taken < measured:
            kept, measured, failures = without, taken, 0
            dropped.append((group, f"the whole takes {taken:.4g} ms without it"))
    if kept and measured >= dense * (1 - tolerance):
        reason = f"the whole takes {measured:.4g} ms, the original {dense:.4g} ms"
        dropped += [(group, reason) for group in kept]
        kept, measured = [], dense
    return Targeted(tuple(kept), tuple(dropped), dense, _predicted(dense, kept), measured)


def _unmeasured(
    kept: Sequence[Group],
    dropped: Sequence[tuple[Group, str]],
    dense: float | None,
    tolerance: float,
) -> Targeted:
    """Return what the groups' own gains select, unless their sum is lost in the noise."""
    if dense is None:
        return Targeted(tuple(kept), tuple(dropped))
    predicted = _predicted(dense, kept)
    if predicted >= dense * (1 - tolerance):
        reason = f"the whole would take {predicted:.4g} ms, the original {dense:.4g} ms"
        return Targeted((), (*dropped, *((group, reason) for group in kept)), dense, dense)
    return Targeted(tuple(kept), tuple(dropped), dense, predicted)


def _largest(groups: Sequence[Group], most: int) -> tuple[list[Group], list[Group]]:
    """Return groups of at most `most` layers together, by gain a layer, and the others."""
    kept: list[Group] = []
    beyond: list[Group] = []
    left = most
    for group in sorted(groups, key=lambda g: -g.gain_ms / len(g.layers)):
        fits = len(group.layers) <= left
        (kept if fits else beyond).append(group)
        left -= len(group.layers) if fits else 0
    return [g for g in groups if g in kept], beyond


def _predicted(dense: float, kept: Sequence[Group]) -> float:
    return dense - sum(group.gain_ms for group in kept)
