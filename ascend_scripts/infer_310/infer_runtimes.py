"""What a network can run in: MindSpore Lite, or MindSpore itself; part of infer.py."""

from __future__ import annotations

import argparse
import os
from abc import ABC, abstractmethod

import numpy as np
from infer_samples import DTYPES, UserError

__all__ = ["RUNTIMES", "Runtime"]


class Runtime(ABC):
    """A network on a device.

    Attributes:
        shape: of its one input, batch axis first, all lengths fixed.
        dtype: NumPy name of the input's type.
    """

    shape: tuple[int, ...]
    dtype: str

    @abstractmethod
    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Return the first output for a batch of `shape` and `dtype`."""


class LiteRuntime(Runtime):
    """MindSpore Lite: what the converter wrote, on an Ascend device or a CPU."""

    def __init__(self, options: argparse.Namespace) -> None:
        _check_file(options.model, (".mindir", ".ms"), "the converter writes them")
        try:
            import mindspore_lite as mslite
        except ImportError as error:
            raise UserError(
                f"--runtime lite: mindspore_lite cannot be imported ({error}); install it, build "
                "the C++ program, or give --runtime mindspore"
            ) from error
        context = mslite.Context()
        context.target = [options.device]
        if options.device == "ascend":
            context.ascend.device_id = options.device_id
        elif options.threads:
            context.cpu.thread_num = options.threads
        kinds = {".mindir": mslite.ModelType.MINDIR, ".ms": mslite.ModelType.MINDIR_LITE}
        self._model = mslite.Model()
        kind = kinds[os.path.splitext(options.model)[1]]
        self._model.build_from_file(options.model, kind, context)
        inputs = self._model.get_inputs()
        shape = tuple(inputs[0].shape)
        if options.batch and options.batch != shape[0]:
            shape = (options.batch, *shape[1:])
            try:
                self._model.resize(inputs, [list(shape)])
            except Exception as error:  # whatever Lite raises
                raise UserError(
                    f"--batch: the network takes no batch of {options.batch}: {error}"
                ) from error
            inputs = self._model.get_inputs()
        self._inputs = inputs
        known = {getattr(mslite.DataType, name.upper()): name for name in DTYPES}
        self.shape = _fixed(shape, options)
        self.dtype = _known(known.get(inputs[0].dtype), len(inputs), options)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Return the first output; see `Runtime`."""
        self._inputs[0].set_data_from_numpy(batch)
        return self._model.predict(self._inputs)[0].get_data_to_numpy()


class MindSporeRuntime(Runtime):
    """MindSpore itself: a MindIR as `ms-eff export` writes it, where no Lite is installed."""

    def __init__(self, options: argparse.Namespace) -> None:
        _check_file(options.model, (".mindir",), "`ms-eff export` writes it")
        if options.threads:
            raise UserError("--threads: for --runtime lite only; leave it out")
        try:
            import mindspore as ms
            from mindspore.train.mind_ir_pb2 import ModelProto, TensorProto
        except ImportError as error:
            raise UserError(f"--runtime mindspore: cannot be imported ({error})") from error
        self._tensor = ms.Tensor
        target = {"ascend": "Ascend", "cpu": "CPU"}[options.device]
        if ms.get_context("device_target") != target or options.device_id:
            ms.set_device(target, options.device_id)
        self._graph = ms.nn.GraphCell(ms.load(options.model))
        proto = ModelProto()
        with open(options.model, "rb") as file:
            proto.ParseFromString(file.read())
        tensor = proto.graph.input[0].tensor[0]
        shape = tuple(tensor.dims)
        if shape and shape[0] < 1:
            shape = (options.batch or 1, *shape[1:])
        self.shape = _fixed(shape, options)
        kinds = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}
        kinds.update({getattr(TensorProto, name.upper()): name for name in DTYPES[2:]})
        dtype = kinds.get(tensor.data_type)
        self.dtype = _known(dtype, len(proto.graph.input), options)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        """Return the first output; see `Runtime`."""
        output = self._graph(self._tensor(batch))
        return (output[0] if isinstance(output, tuple) else output).asnumpy()


RUNTIMES = {"lite": LiteRuntime, "mindspore": MindSporeRuntime}


def _check_file(path: str, ends: tuple[str, ...], source: str) -> None:
    if not path.endswith(ends):
        raise UserError(f"--model {path}: expected {' or '.join(ends)}, as {source}")
    if not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise UserError(f"--model {path}: cannot be opened")


def _fixed(shape: tuple[int, ...], options: argparse.Namespace) -> tuple[int, ...]:
    if not shape or min(shape) < 1 or (options.batch and shape[0] != options.batch):
        raise UserError(
            f"--model {options.model}: its input is {shape}; give --batch for a free batch axis, "
            "and convert with all other lengths fixed"
        )
    return shape


def _known(dtype: str | None, inputs: int, options: argparse.Namespace) -> str:
    if inputs != 1:
        raise UserError(f"--model {options.model}: {inputs} inputs; one is what this feeds")
    if dtype not in DTYPES:
        raise UserError(f"--model {options.model}: its input is {dtype}; known: {DTYPES}")
    return dtype
