from __future__ import annotations

import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import CheckpointError, ConfigError, PlanError
from ms_eff.methods.distillation import Teacher, find_teacher
from ms_eff.methods.distillation.teacher import check_pair, check_same, require
from tests.methods.distillation.problems import BERT, VIT, network, saved
from tests.train.helpers import small_net

PICTURE, TEXT = (1, 8, 8), (3, 16)


def test_a_teacher_infers_whatever_is_around_it():
    inner = network("bert", dropout=0.5, depth=1)
    teacher = Teacher(inner)
    teacher.set_train(True)
    assert not any(cell.training for _, cell in inner.cells_and_names())
    x = Tensor(
        np.stack([np.arange(1, 9).reshape(2, 4), np.ones((2, 4)), np.zeros((2, 4))], 1), ms.int32
    )
    first = teacher(x).asnumpy()
    np.testing.assert_array_equal(teacher(x).asnumpy(), first)  # dropout would draw anew
    assert teacher.trainable_params() == []
    assert all(p.name.startswith("teacher.") for p in teacher.get_parameters())


def test_a_run_gives_its_last_network_and_a_checkpoint_itself(tmp_path):
    for stage in ("dense", "fine-tuned", "untrained"):
        saved(tmp_path / "run" / "models" / stage, "vit")
    stages = {stage: {"loss": 1.0} for stage in ("dense", "fine-tuned", "gone")} | {"untrained": {}}
    (tmp_path / "run" / "results.json").write_text(json.dumps({"stages": stages}))
    last = tmp_path / "run" / "models" / "fine-tuned"
    assert find_teacher(tmp_path / "run") == last
    assert find_teacher(last) == last
    with pytest.raises(
        CheckpointError, match=r"teacher = .*none: no network here; give the folder"
    ):
        find_teacher(tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "changes", "args", "outputs", "shape", "said"),
    [
        ("vit", {}, VIT, 4, PICTURE, "its num_classes is 3, the student's 4"),
        ("vit", {}, {**VIT, "in_channels": 3}, 3, PICTURE, "its in_channels is 3, the student's 1"),
        ("vit", {}, {**VIT, "image_size": 32}, 3, PICTURE, "its image_size is 32, the student's 8"),
        ("bert", {"vocab": 30}, BERT, 2, TEXT, "vocabulary has 30 tokens, the student's 27"),
        ("bert", {"positions": 9}, BERT, 2, TEXT, "it takes 9 tokens, the data have up to 16"),
    ],
)
def test_a_teacher_of_other_inputs_or_outputs_is_refused(name, changes, args, outputs, shape, said):
    student = network(name, depth=1)
    with pytest.raises(PlanError, match=said):
        check_pair(student, network(name, depth=1, **changes), args, outputs, shape)


def test_a_teacher_of_pictures_cannot_teach_text():
    with pytest.raises(PlanError, match="vocabulary has no tokens, the student's 27"):
        check_pair(network("bert", depth=1), network("vit"), VIT, 2, TEXT)


def test_other_depths_and_widths_may_teach():
    check_pair(network("bert", depth=1), network("bert", depth=2, dim=8), BERT, 2, TEXT)
    check_pair(small_net(), network("vit"), VIT, 3, PICTURE)


def test_self_distillation_asks_for_a_copy():
    check_same(network("vit"), network("vit", seed=1))
    with pytest.raises(PlanError, match=r"trained copy of the student, but 'blocks\.1.*missing"):
        check_same(network("vit", depth=2), network("vit"))


def test_networks_without_layers_of_text_are_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"rail looks inside networks of text .*student is a Vision"
    ):
        require(network("vit"), "rail", "student", "with_hidden")
    require(network("bert", depth=1), "mate", "student", "from_embedded", "token_table")
