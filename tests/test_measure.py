import json
from types import SimpleNamespace

import numpy as np
import pytest

from ms_eff import measure
from ms_eff.config import ExportSettings
from ms_eff.errors import VerificationError
from ms_eff.results import Results


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
