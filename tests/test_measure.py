import json
from types import SimpleNamespace

import numpy as np
import pytest

from ms_eff import data, measure
from ms_eff.config import ExportSettings
from ms_eff.errors import VerificationError
from ms_eff.methods.skipvit import kept_patches
from ms_eff.report.patches import dimmed
from ms_eff.results import Results
from tests.methods.skipvit.networks import lively_vit, routed_vit


class Pictures:
    def __len__(self):
        return 4

    def batch(self, indices):
        return np.zeros((len(indices), 1, 8, 8), np.float32), np.zeros(len(indices), np.int32)


def test_a_file_that_was_written_is_recorded_though_the_next_one_fails(tmp_path, monkeypatch):
    def export(_model, path, _shape, kind, **_):
        if kind == "onnx":
            raise VerificationError("it differs")
        gap = SimpleNamespace(max_abs=0.0, samples=1)
        note = {"file": path.name}
        return SimpleNamespace(path=path, difference=gap, tolerance=1, to_dict=lambda: note)

    monkeypatch.setattr(measure, "export", export)
    results = Results(tmp_path / "results.json", {}, {})
    results.stages["dense"] = {}
    run = SimpleNamespace(
        config=SimpleNamespace(export=ExportSettings(), seed=0),
        data=SimpleNamespace(test=Pictures()),
        folder=tmp_path,
        results=results,
        input_shape=(1, 8, 8),
        command="ms-eff export",
        saved_models=lambda: [("dense", None)],
    )
    with pytest.raises(VerificationError):
        list(measure.export_run(run, None))
    recorded = json.loads((tmp_path / "results.json").read_text())["stages"]["dense"]["export"]
    assert recorded == {"mindir": {"file": "dense.mindir"}}


@pytest.mark.gate
def test_pictures_show_one_test_image_a_class_and_what_was_kept_of_it(monkeypatch):
    network, route = routed_vit(lively_vit(in_channels=1))
    digits = data.build(data.DataSettings(name="digits", image_size=16))
    results = SimpleNamespace(methods={"skipvit": route.to_json()})
    run = SimpleNamespace(
        results=results, data=digits, saved_models=lambda: [("dense", None), ("routed", network)]
    )
    shown = {}
    monkeypatch.setattr(measure, "kept_part", lambda *given: shown.setdefault("given", given))
    measure.pictures_run(run)
    pixels, names, kept, _, grid = shown["given"]
    assert names == list("01234567")
    first = [int(np.flatnonzero(digits.test.labels == label)[0]) for label in range(8)]
    images = digits.test.batch(np.array(first))[0]
    np.testing.assert_array_equal(kept, kept_patches(network, images))
    # pixels are those of the data set, before normalisation
    np.testing.assert_allclose((pixels - digits.mean[0]) / digits.std[0], images, atol=1e-5)
    assert dimmed(pixels, kept, grid).shape == pixels.shape

    results.methods["skipvit"] = {**route.to_json(), "score": "random"}
    assert measure.pictures_run(run) == []
