"""What a member is before its training: statistics -> factors -> ranks -> plan and arrays."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.progressive.calibration import calibrated, calibration_windows
from ms_eff.methods.progressive.compressed import Compressed, Model
from ms_eff.methods.progressive.core import (
    block_shapes,
    family_plan,
    global_ranks,
    uniform_ranks,
)
from ms_eff.methods.progressive.family_folder import FamilyFolder
from ms_eff.methods.progressive.members import Products, assembled
from ms_eff.methods.progressive.settings import FamilyConfig
from ms_eff.methods.progressive.statistics import SavedMoments
from ms_eff.methods.progressive.truncate import (
    Cut,
    Decomposed,
    Pair,
    Ranks,
    Whitening,
    decompose,
    truncated_pair,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ms_eff.models.gguf_file import GGUFModel
    from ms_eff.models.parents import FolderModel
    from ms_eff.models.streamed import Arrays

__all__ = ["Truncator"]


class Truncator:
    """Truncates the parent, or the member before, to each ratio.

    Args:
        config: of the family.
        parent: the model to start from.
        tokenizer: of the parent.
        folder: of the family; gets statistics and factors.
        tell: where to tell what happens.
    """

    def __init__(
        self,
        config: FamilyConfig,
        parent: FolderModel | GGUFModel,
        tokenizer: Tokenizer,
        folder: FamilyFolder,
        tell: Callable[[str], Any],
    ) -> None:
        self.config, self.wishes = config, config.progressive
        self.parent, self.tokenizer, self.folder, self.tell = parent, tokenizer, folder, tell
        self.shapes = block_shapes(parent.shape)
        self._moments: SavedMoments | None = None

    def check(self) -> None:
        """Refuse text that cannot be calibrated on, before anything is measured.

        Raises:
            ConfigError: the tokenizer is another model's.
            DataError: a file is missing, or the text is too short.
        """
        wanted = self.config.calibration
        if wanted is not None and self.wishes.rule != "plain":
            calibration_windows(self.parent, self.tokenizer, wanted)

    def member(self, index: int) -> tuple[LowRankPlan, Arrays]:
        """Return plan and arrays of the member at that place, before its training.

        The arrays are read as they are asked for; call `forget` when they have been.
        """
        trained = self._trained(index)
        if trained and self.wishes.step == "w1_only":
            return self._second_factors(index)
        ratio = self.wishes.ratios[index]
        whitening = Whitening(self.wishes.criterion, self.statistics())
        source: Arrays = self.parent
        folder = self.folder.path / "factors"
        if trained:
            source = Products(self.folder.of(index - 1))
            folder = self.folder.path / f"factors-{ratio:g}"
        factors = decompose(source, self.shapes, whitening, folder, self._told_of_matrices())
        ranks = self._ranks(factors, ratio)
        for again in range(1, self.wishes.passes):
            factors = self._again(factors, ranks, f"{ratio:g}-{again}")
            ranks = self._ranks(factors, ratio)
        return self._put_together(ranks, Cut(factors, ranks), source)

    def forget(self, index: int) -> None:
        """Delete the factors that served the member at that place alone."""
        if self._trained(index) or self.wishes.passes > 1:
            for own in self.folder.path.glob(f"factors-{self.wishes.ratios[index]:g}*"):
                shutil.rmtree(own, ignore_errors=True)

    def calibration_tokens(self) -> int | None:
        """Return how many tokens the statistics are of; None if there are none, or none known."""
        folder = self._statistics_folder()
        if self.wishes.rule == "plain" or not SavedMoments.held_by(folder):
            return None
        return SavedMoments(folder).tokens

    def statistics(self) -> SavedMoments | None:
        """Return the parent's statistics, measured the first time; None if the rule needs none."""
        if self.wishes.rule == "plain":
            return None
        if self._moments is None:
            self._moments = self._measured(self.parent)
        return self._moments

    def _trained(self, index: int) -> bool:
        """Tell whether it is the member before that is truncated, not the parent."""
        return self.wishes.tokens > 0 and index > 0

    def _statistics_folder(self) -> Path:
        wanted = self.config.calibration
        named = None if wanted is None else wanted.statistics
        return named or self.folder.path / "statistics"

    def _second_factors(self, index: int) -> tuple[LowRankPlan, Arrays]:
        """Truncate the second factors of the member before, the first ones kept."""
        whitening = Whitening(self.wishes.criterion, self.statistics())
        ranks = uniform_ranks(self.shapes, self.wishes.ratios[index], self.wishes.divisor)
        previous = Products(self.folder.of(index - 1))
        pairs = {
            name: truncated_pair(
                *previous.pair(name), rank, whitening.inputs(name), whitening.gradients(name)
            )
            for name, rank in ranks.items()
            if rank is not None
        }
        return self._put_together(ranks, pairs, previous)

    def _again(self, factors: Decomposed, ranks: Ranks, name: str) -> Decomposed:
        """Decompose the parent's matrices by the statistics of what they were truncated to."""
        model = Compressed(self.parent, factors, ranks, f"{self.parent.path.name}, {name}")
        whitening = Whitening(self.wishes.criterion, self._measured(model, f"statistics-{name}"))
        folder = self.folder.path / f"factors-{name}"
        return decompose(self.parent, self.shapes, whitening, folder, self._told_of_matrices())

    def _ranks(self, factors: Decomposed, ratio: float) -> dict[str, int | None]:
        divisor = self.wishes.divisor
        if self.wishes.allocation == "uniform":
            return uniform_ranks(self.shapes, ratio, divisor)
        losses = {name: factors.losses(name) for name in self.shapes}
        return global_ranks(self.shapes, losses, ratio, divisor)

    def _put_together(
        self, ranks: Ranks, pairs: Mapping[str, Pair], source: Arrays
    ) -> tuple[LowRankPlan, Arrays]:
        plan = family_plan(self.shapes, ranks, {"criterion": self.wishes.criterion})
        return plan, assembled(source, pairs)

    def _measured(self, model: Model, folder: str = "") -> SavedMoments:
        wanted = self.config.calibration
        assert wanted is not None  # the config's own check: only rule plain goes without
        found = calibrated(
            model,
            self.tokenizer,
            wanted,
            self.folder.path / folder if folder else self._statistics_folder(),
            lambda done, total: self._count("calibration: pass", done, total),
        )
        if found.tokens is not None and found.tokens < wanted.tokens:
            self.tell(
                f"calibration.tokens = {wanted.tokens:,}: there are {found.tokens:,} in whole "
                f"windows of {wanted.window:,}; the statistics are of those"
            )
        return found

    def _told_of_matrices(self) -> Callable[[str], None]:
        done = iter(range(1, len(self.shapes) + 1))
        return lambda name: self._count("decomposition: matrix", next(done), len(self.shapes))

    def _count(self, what: str, done: int, total: int) -> None:
        if done == total or done % max(total // 10, 1) == 0:
            self.tell(f"{what} {done}/{total}")
