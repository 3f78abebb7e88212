from __future__ import annotations

import pytest

from ms_eff.deploy.operators import explain


@pytest.mark.parametrize(
    ("raised", "format", "said"),
    [
        (
            "Can not find key Erf in convert map. Exporting Erf operator is not yet supported.",
            "onnx",
            "Net: the ONNX exporter has no operator Erf; use ms_eff.models.gelu.GELU, "
            "which is exported without it, or export to MindIR",
        ),
        (
            "Exporting Foo operator is not yet supported.",
            "onnx",
            "Net: the ONNX exporter has no operator Foo; write the model without it, "
            "or export to MindIR",
        ),
        (
            "The pointer[prim] is null.\n\n-----\n- C++ Call Stack",
            "onnx",
            "Net: the ONNX exporter failed (The pointer[prim] is null); export to MindIR",
        ),
        (
            "Unsupported syntax\n  at line 3",
            "mindir",
            "Net: the MindIR exporter failed (Unsupported syntax); see --debug for the whole "
            "message",
        ),
    ],
)
def test_failure_becomes_one_line_with_a_remedy(raised, format, said):
    assert str(explain(RuntimeError(raised), format, "Net")) == said
