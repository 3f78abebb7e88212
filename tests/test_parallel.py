from __future__ import annotations

import mindspore as ms
import pytest
from pydantic import ValidationError

from ms_eff.errors import ConfigError
from ms_eff.models.llama_shape import LlamaShape
from ms_eff.parallel import (
    ParallelSettings,
    check_recovery,
    check_shape,
    context_of,
    mindformers_blocks,
)

LLAMA_7B = LlamaShape(32_000, 4096, 32, 32, 32, 11_008)
MISTRAL_7B = LlamaShape(32_000, 4096, 32, 32, 8, 14_336)


@pytest.mark.parametrize(
    ("mesh", "shape"),
    [
        ({"data": 2, "model": 4, "optimizer": True, "vocabulary": True}, LLAMA_7B),
        ({"model": 8, "pipeline": 4, "micro_batches": 8}, MISTRAL_7B),
        ({}, MISTRAL_7B),
    ],
)
def test_meshes_that_divide_the_model_pass(mesh, shape):
    settings = ParallelSettings(**mesh)
    check_shape(settings, shape, batch=16)


@pytest.mark.parametrize(
    ("mesh", "shape", "batch", "said"),
    [
        ({"model": 3}, LLAMA_7B, None, "heads = 32 does not divide by it; use 1, 2, 4, 8, 16, 32"),
        ({"model": 16}, MISTRAL_7B, None, "kv_heads = 8 does not divide by it; use 1, 2, 4, 8"),
        ({"model": 4}, LlamaShape(64, 48, 2, 12, 4, 90), None, "hidden = 90"),
        (
            {"model": 2, "vocabulary": True},
            LlamaShape(63, 48, 2, 12, 4, 96),
            None,
            "vocab_size = 63",
        ),
        ({"pipeline": 5, "micro_batches": 5}, LLAMA_7B, None, "32 blocks make no equal stages"),
        ({"data": 2, "pipeline": 2, "micro_batches": 4}, LLAMA_7B, 12, "use a multiple of 8"),
    ],
)
def test_a_number_that_does_not_fit_is_named_with_those_that_do(mesh, shape, batch, said):
    with pytest.raises(ConfigError) as error:
        check_shape(ParallelSettings(**mesh), shape, batch)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ({"pipeline": 4, "micro_batches": 2}, "4 stages would idle"),
        ({"micro_batches": 2}, "micro_batches is for pipeline above 1"),
        ({"optimizer": True}, "data = 1 has no other"),
        ({"vocabulary": True}, "model is 1"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(mesh, said):
    with pytest.raises(ValidationError, match=said):
        ParallelSettings(**mesh)


@pytest.mark.parametrize(
    ("mesh", "workers", "said"),
    [
        ({"model": 2}, 2, r"parallel\.model = 2: recovery here trains replicas only"),
        ({"pipeline": 2, "micro_batches": 2}, 2, r"parallel\.pipeline = 2"),
        ({"data": 2, "optimizer": True}, 2, "whole moments in each replica"),
        ({"data": 4}, 2, r"the job has 2 worker\(s\); start as many \(train\.sh --nproc 4\)"),
    ],
)
def test_recovery_here_takes_replicas_alone(mesh, workers, said):
    check_recovery(ParallelSettings(data=2), 2)
    with pytest.raises(ConfigError, match=said):
        check_recovery(ParallelSettings(**mesh), workers)


def test_mindspore_takes_the_context():
    settings = ParallelSettings(data=2, model=2, pipeline=2, micro_batches=4, optimizer=True)
    try:
        ms.set_auto_parallel_context(**context_of(settings, 5))
        for name, value in context_of(settings, 5).items():
            assert ms.get_auto_parallel_context(name) == value, name
    finally:
        ms.reset_auto_parallel_context()


def test_mindformers_takes_the_blocks():
    transformer = pytest.importorskip("mindformers.modules.transformer")
    settings = ParallelSettings(data=2, model=4, pipeline=2, micro_batches=4, vocabulary=True)
    blocks = mindformers_blocks(settings)
    config = transformer.TransformerOpParallelConfig(**blocks["parallel_config"])
    assert (config.data_parallel, config.model_parallel, config.pipeline_stage) == (2, 4, 2)
    assert (config.micro_batch_num, config.vocab_emb_dp) == (4, False)
    assert blocks["use_parallel"]
