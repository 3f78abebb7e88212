from __future__ import annotations

from ms_eff import models
from ms_eff.methods.base import ModelContext
from ms_eff.methods.registry import method_class
from ms_eff.methods.spatiotemporal import SpatiotemporalSettings
from tests.methods.spatiotemporal.networks import SIZES


def test_new_networks_get_new_weights_and_trained_ones_keep_theirs():
    for trained, weights in ((False, {"new"}), (True, {"kept", "least squares"})):
        method = method_class("spatiotemporal")(SpatiotemporalSettings(variant="tsm"), 5)
        network = models.build("eco_lite_small", **SIZES)
        changed = method.change_model(network, ModelContext((2, 4, 3, 8, 8), trained=trained))
        assert {row["weights"] for row in method.report["layers"]} == weights
        again = method.rebuild(models.build("eco_lite_small", **SIZES), method.plan)
        shapes = [{n: p.shape for n, p in net.parameters_and_names()} for net in (changed, again)]
        assert shapes[0] == shapes[1]
