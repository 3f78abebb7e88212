"""Layer targeting on a network (after arXiv:2309.12412): decompose what makes the whole faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mindspore as ms
from mindspore import nn

from ms_eff.bench.whole import WholeTimer
from ms_eff.errors import ConfigError
from ms_eff.methods.lowrank.calibrate import Batch, Loss, criterion_of, taken
from ms_eff.methods.lowrank.layer_timers import LayerTimer
from ms_eff.methods.lowrank.layers import find_layers
from ms_eff.methods.lowrank.plan import LowRankPlan
from ms_eff.methods.lowrank.settings import LowRankSettings, make_settings
from ms_eff.methods.lowrank.surgery import apply_lowrank
from ms_eff.methods.lowrank.target_plan import targeted_plan
from ms_eff.methods.lowrank.targeting import Targeted
from ms_eff.train.precision import in_precision

__all__ = ["select_layers"]


def select_layers(
    network: nn.Cell,
    settings: LowRankSettings | Mapping[str, Any] | None = None,
    *,
    input_shape: Sequence[int],
    input_dtype: Any = ms.float32,
    timer: LayerTimer | None = None,
    whole_timer: WholeTimer | None = None,
    calibration: Iterable[Batch] | None = None,
    loss: Loss | None = None,
    precision: str = "O0",
    **more: Any,
) -> tuple[nn.Cell, LowRankPlan, Targeted]:
    """Decompose only those layers that make the whole network faster (after arXiv:2309.12412).

    Ranks come from a rank search, single layers are timed first, then the whole network is; the
    procedure is ours. With a profile or the model as timer nothing is run here: this device's times
    would not fit theirs, so the gains of the layers decide alone (`measured_ms` is None).

    Args:
        network: any cell; it stays as it is.
        settings: see `LowRankSettings`; `rank_search.objective` says what has to be fast,
            `target` what counts as a gain.
        input_shape: of the network's input, batch axis first.
        input_dtype: of that input.
        timer: of layers, in place of the one that `rank_search.timer` names; the whole is then
            timed by `whole_timer` only.
        whole_timer: of networks, in place of the wall clock; gets the original and a candidate.
        calibration: data for the criteria `activation` and `two_sided`; see `apply_lowrank`.
        loss: likewise.
        precision: what is timed: `O0` the network as it is, `O2` or `O3` in mixed precision.
        **more: settings by keyword.

    Returns:
        The new network, or the very object that was given if nothing helps; the plan, which then
        is empty; the reasons.

    Raises:
        ConfigError: a setting is unknown or out of range.
        PlanError: the settings do not fit the network.
    """
    if settings is not None and more:
        raise ConfigError(f"select_layers: settings and {', '.join(more)} were given; give one")
    given = settings if isinstance(settings, LowRankSettings) else make_settings(settings or more)
    # read twice, and no further than is looked at
    data = None if calibration is None else list(taken(calibration, given.calibration_samples))
    by = criterion_of(network, find_layers(network), given, data, loss)
    timed = in_precision(network, precision)
    planned, _, result = targeted_plan(
        timed, given, input_shape, input_dtype, timer, whole_timer, by
    )
    plan = planned.plan
    if not plan.layers:
        return network, plan, result
    return apply_lowrank(network, plan, calibration=data, loss=loss)[0], plan, result
