"""What the exporters cannot do, and what to write instead: the page that knows their gaps."""

from __future__ import annotations

import re

from ms_eff.errors import UserError, first_line

__all__ = ["ExportError", "explain"]


class ExportError(UserError):
    """A network or a folder that cannot be exported as asked; the message tells the way out."""


# MindSpore 2.9.0's ONNX exporter, each met and tried
_REMEDIES = {
    "Erf": "use ms_eff.models.gelu.GELU, which is exported without it",
    "Rsqrt": "write 1 / ops.sqrt(x)",
    "CeLU": "use another activation, nn.ReLU or nn.GELU(approximate=True)",
    "InplaceAddExt": "write y = x + y instead of x += y",
    "Unstack": "index the tensor, t[0], t[1], instead of unpacking it",
    "MaxPool3DWithArgmax": "pad with nn.Pad, then pool with pad_mode='valid'",
    "Shape": "use nn.Flatten or a reshape to constants, or export with dynamic_batch=False",
}
_MISSING = re.compile(r"Can not find key (\w+) in convert map|Exporting (\w+) operator")


def explain(error: Exception, format: str, model: str) -> ExportError:
    """Turn an exporter's failure into one line that names the operator and the remedy.

    >>> failure = RuntimeError("Can not find key Rsqrt in convert map. Exporting ...")
    >>> print(explain(failure, "onnx", "Net"))
    Net: the ONNX exporter has no operator Rsqrt; write 1 / ops.sqrt(x), or export to MindIR
    """
    label = {"onnx": "ONNX", "mindir": "MindIR"}[format]
    otherwise = ", or export to MindIR" if format == "onnx" else ""
    found = _MISSING.search(str(error))
    if found is None:
        reason = first_line(error).rstrip(". ")
        remedy = "export to MindIR" if format == "onnx" else "see --debug for the whole message"
        return ExportError(f"{model}: the {label} exporter failed ({reason}); {remedy}")
    operator = found.group(1) or found.group(2)
    remedy = _REMEDIES.get(operator, "write the model without it")
    return ExportError(
        f"{model}: the {label} exporter has no operator {operator}; {remedy}{otherwise}"
    )
