"""Generation with a cache, against the whole forward and another library."""

from __future__ import annotations

from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

from ms_eff.errors import ConfigError
from ms_eff.models.decoding import Decoder, sample_text
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.llama import Llama, llama
from ms_eff.models.parents import load_parent
from tests.models.gpt2s import save_hf_gpt2
from tests.tolerances import FP32


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def network(request: pytest.FixtureRequest) -> Llama | GPT2:
    if request.param == "gpt2":
        network = GPT2(seed=1, vocab=40, positions=24, dim=24, depth=2, heads=3)
    else:
        network = _llama()
    for parameter in network.get_parameters():
        if len(parameter.shape) > 1:
            parameter.set_data(parameter * 10)
    return network.set_train(False)


def _llama() -> Llama:
    sizes = {"vocab_size": 40, "dim": 24, "depth": 2, "heads": 6, "kv_heads": 2, "hidden": 32}
    return llama(seed=1, **sizes, context=24, tied=True)


@pytest.mark.gate
def test_the_cache_gives_what_the_whole_forward_does(network: Llama | GPT2) -> None:
    prompt = [3, 14, 15]
    decoder = Decoder(network, length=12)
    found = decoder.generate(prompt, 9)
    whole = network(Tensor(np.array([prompt + found], np.int32))).asnumpy()[0]
    assert found == whole.argmax(-1)[2:-1].tolist()
    assert len(set(found)) > 2
    # the same graphs, cut short
    assert decoder.generate(prompt, 9, stop=found[3]) == found[: found.index(found[3])]
    drawn = decoder.generate(prompt, 9, temperature=2.0, seed=5)
    assert drawn == decoder.generate(prompt, 9, temperature=2.0, seed=5) != found


@pytest.mark.gate
def test_logits_behind_the_cache_are_those_of_the_forward(network: Llama | GPT2) -> None:
    ids = np.array([[5, 9, 2, 7, 1, 8]], np.int32)
    with_pynative = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    try:
        whole = network(Tensor(ids)).asnumpy()
        _, cache = network.prefill(Tensor(np.where(np.arange(6) < 3, ids, 0).astype(np.int32)))
        for place in (3, 4, 5):
            logits, cache = network.decode(
                Tensor(ids[:, place : place + 1]), Tensor(place, ms.int32), cache
            )
            np.testing.assert_allclose(logits.asnumpy()[:, 0], whole[:, place], atol=FP32)
    finally:
        ms.set_context(mode=with_pynative)


@pytest.mark.gate
def test_logits_are_computed_of_the_prompts_last_place_alone(network: Llama | GPT2) -> None:
    ids = np.array([[5, 9, 2, 7, 1, 8]], np.int32)
    whole = network(Tensor(ids)).asnumpy()
    decoder, seen = Decoder(network, length=6), []
    graph = decoder._prefill
    decoder._prefill = lambda *inputs: seen.append(graph(*inputs)) or seen[-1]
    for places in (1, 4, 6):  # one graph for all
        row, _ = decoder.prefill(ids[0, :places].tolist())
        np.testing.assert_allclose(row, whole[0, places - 1], atol=FP32)
    assert {logits.shape for logits, _ in seen} == {(1, 1, 40)}


@pytest.mark.gate
def test_gpt2_goes_on_as_transformers_does(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    theirs = save_hf_gpt2(tmp_path, n_layer=1)
    prompt = [5, 40, 17, 2]
    ids = torch.tensor([prompt])
    expected = theirs.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, pad_token_id=0
    )[0, len(prompt) :].tolist()
    found = Decoder(load_parent(tmp_path), length=16).generate(prompt, 12)
    assert found == expected
    assert len(set(found)) > 2


def test_what_does_not_fit_is_refused(network: Llama | GPT2) -> None:
    with pytest.raises(ConfigError, match="length = 25: the model's context is 24"):
        Decoder(network, length=25)
    with pytest.raises(ConfigError, match="5 tokens and 4 more do not fit into 8"):
        Decoder(network, length=8).generate([1] * 5, 4)


def test_a_sample_keeps_the_space_before_its_first_word(network: Llama | GPT2) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = {f"\u2581w{i}": i for i in range(40)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="\u2581w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    text = sample_text(Decoder(network, 8), tokenizer, "w1 w2", 3)
    assert len(text.split()) == 5
    assert text.startswith("w1 w2 w")
