"""The teacher: where it comes from, whether it fits, and how it takes part in a student's step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import Tensor, nn

from ms_eff.errors import CheckpointError, ConfigError, PlanError
from ms_eff.results import read_results
from ms_eff.train import checkpoint

__all__ = ["Teacher", "check_pair", "check_same", "find_teacher", "require", "signature"]

_PREFIX = "teacher."
# the method's key, for errors
_KEY = "methods.distillation"


class Teacher(nn.Cell):
    """A network that only infers: dropout off, running statistics fixed, weights at rest.

    It stays so whatever mode the network around it is set to. Its parameters are renamed, for those
    of a student of the same architecture stand in the same graph.

    Args:
        network: taken over, not copied.

    >>> teacher = Teacher(nn.Dropout(p=0.5))
    >>> teacher.set_train(True).network.training
    False
    """

    def __init__(self, network: nn.Cell) -> None:
        super().__init__(auto_prefix=False)
        network.set_train(False)
        for parameter in network.get_parameters():
            parameter.requires_grad = False
            parameter.name = _PREFIX + parameter.name
        self.network = network

    def add_flags_recursive(self, **flags: Any) -> nn.Cell:
        """Set flags of all cells, but not whether they train."""
        flags.pop("training", None)
        found: nn.Cell = super().add_flags_recursive(**flags)
        return found

    def construct(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs."""
        return self.network(inputs)

    def with_hidden(self, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the outputs, and each block's hidden states (B, T, D)."""
        return self.network.with_hidden(inputs)

    def from_embedded(self, embedded: Tensor, inputs: Tensor) -> Tensor:
        """Return the outputs of token embeddings (B, T, D) in the place of the inputs' ids."""
        return self.network.from_embedded(embedded, inputs)


def find_teacher(path: str | Path) -> Path:
    """Return the checkpoint folder that a path names: its own, or a run's last trained network.

    Raises:
        CheckpointError: there is neither.
    """
    path = Path(path)
    if (path / checkpoint.STATE).is_file():
        return path
    stages = read_results(path / "results.json")["stages"] if _is_run(path) else {}
    for stage in reversed(stages):
        scored = "loss" in stages[stage]  # an untrained network is not
        if scored and (path / "models" / stage / checkpoint.STATE).is_file():
            return path / "models" / stage
    raise CheckpointError(
        f"{_KEY}.teacher = {path}: no network here; give the folder of a checkpoint, or the output "
        "folder of a finished run"
    )


def signature(weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return 32 numbers, uint8, that no other network's weights have: a SHA-256.

    >>> one, other = ({"w": np.zeros(2)}, {"w": np.ones(2)})
    >>> bool((signature(one) == signature(other)).all())
    False
    """
    sha = hashlib.sha256()
    for name in sorted(weights):
        array = np.ascontiguousarray(weights[name])
        sha.update(f"{name} {array.shape} {array.dtype} ".encode())
        sha.update(array.data)
    return np.frombuffer(sha.digest(), np.uint8)


def _is_run(path: Path) -> bool:
    return (path / "results.json").is_file()


def check_pair(
    student: nn.Cell, teacher: nn.Cell, args: Mapping[str, Any], outputs: int, shape: Sequence[int]
) -> None:
    """Refuse a teacher whose inputs or outputs are not the student's.

    Args:
        student: in training.
        teacher: not yet wrapped.
        args: what the teacher was built with.
        outputs: classes that the student tells apart.
        shape: of one sample: (C, H, W), (3, L) for text, (L,) for blocks of text.

    Raises:
        PlanError: what differs, and both values.
    """
    own, other = (getattr(network, "task", "classification") for network in (student, teacher))
    if own != other:
        raise PlanError(f"{_KEY}.teacher: it is for {other}, the student for {own}; give another")
    first, second = (getattr(network, "vocab", None) for network in (student, teacher))
    if first != second:
        raise PlanError(
            f"{_KEY}.teacher: its vocabulary has {second or 'no'} tokens, the student's "
            f"{first or 'none'}; both must read the same tokens, so give another teacher"
        )
    expected: dict[str, Any] = {"num_classes": outputs} if own == "classification" else {}
    if first is None:
        side = shape[-1] if shape[-1] == shape[-2] else list(shape[-2:])
        expected |= {"in_channels": shape[-3], "image_size": side}
    elif getattr(teacher, "positions", shape[-1]) < shape[-1]:
        raise PlanError(
            f"{_KEY}.teacher: it takes {teacher.positions} tokens, the data have up to "
            f"{shape[-1]}; shorten them, or give another teacher"
        )
    for name, value in expected.items():
        found = args.get(name, value)
        if (list(found) if isinstance(found, tuple) else found) != value:
            raise PlanError(
                f"{_KEY}.teacher: its {name} is {found}, the student's {value}; give another "
                "teacher"
            )


def check_same(student: nn.Cell, teacher: nn.Cell) -> None:
    """Refuse a teacher that is no copy of the student: names and shapes of all trained weights.

    Raises:
        PlanError: the first difference.
    """
    own, other = (
        {p.name: tuple(p.shape) for p in network.trainable_params()}
        for network in (student, teacher)
    )
    for name in (*own, *other):
        if own.get(name) != other.get(name):
            raise PlanError(
                f"{_KEY}.kind = self: the teacher must be a trained copy of the student, but "
                f"'{name}' is {other.get(name, 'missing')} there and {own.get(name, 'missing')} "
                "here; give such a copy as teacher, or use kind=vanilla"
            )


def require(network: nn.Cell, kind: str, whose: str, *needed: str) -> None:
    """Refuse a network that lacks what a kind of distillation asks of it.

    Args:
        network: the student or the teacher.
        kind: for the error, as `rail`.
        whose: `student` or `teacher`.
        *needed: attributes, such as `with_hidden`.

    Raises:
        ConfigError: it lacks one.
    """
    if not all(hasattr(network, name) for name in needed):
        raise ConfigError(
            f"{_KEY}: {kind} looks inside networks of text (BERT, GPT-2), and the {whose} is a "
            f"{type(network).__name__}; use kind=vanilla without a cosine term"
        )
