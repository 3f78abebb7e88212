from __future__ import annotations

import os
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops
from safetensors.numpy import load_file, save_file

from ms_eff import models
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.models.bert import BertClassifier
from tests.tolerances import FP32

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {"vocab": 60, "positions": 20, "dim": 24, "depth": 2, "heads": 3, "hidden": 40}
# a folder with MiniLM's model.safetensors and tokenizer.json (see methods/swiftlearn/README.md)
MINILM = Path(os.environ.get("MS_EFF_MINILM", "minilm"))


def tokens(batch=5, length=11, vocab=60, seed=0) -> np.ndarray:
    """Return random ids, masks of several lengths, and types."""
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < rng.integers(3, length + 1, batch)[:, None]
    ids = np.where(mask, rng.integers(1, vocab, (batch, length)), 0)
    types = rng.integers(0, 2, (batch, length)) * mask
    return np.stack([ids, mask, types], 1).astype(np.int32)


def hf_bert(num_labels=3):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=20, num_labels=num_labels,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Return HF's network, its file, and ours loaded from it."""
    theirs = hf_bert()
    path = tmp_path_factory.mktemp("bert") / "model.safetensors"
    save_file({k: v.numpy() for k, v in theirs.state_dict().items()}, path)
    ours = BertClassifier(**SIZES, num_classes=3, pool="token", seed=1)
    notes = models.load_weights(ours, path)
    assert "hf names" in notes[0]
    return theirs, path, ours.set_train(False)


@pytest.mark.gate
def test_logits_and_gradients_equal_those_of_transformers(twin):
    theirs, path, ours = twin
    x, labels = tokens(), np.array([0, 1, 2, 0, 1], np.int32)
    ids, mask, types = (torch.tensor(x[:, i], dtype=torch.long) for i in range(3))
    logits = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels, dtype=torch.long))
    loss.backward()
    ce = nn.CrossEntropyLoss()
    weights = ours.trainable_params()

    def forward(inputs, targets):
        found = ours(inputs)
        return ce(found, targets), found

    (_, found), grads = ms.value_and_grad(forward, None, weights, has_aux=True)(
        Tensor(x), Tensor(labels)
    )
    np.testing.assert_allclose(found.asnumpy(), logits.detach().numpy(), atol=FP32)
    own = {w.name: g.asnumpy() for w, g in zip(weights, grads, strict=True)}
    folder = path.parent
    holder = BertClassifier(**SIZES, num_classes=3, pool="token")
    for p in holder.get_parameters():
        p.set_data(Tensor(own[p.name]))
    models.save_weights(holder, folder / "gradients.safetensors", naming="hf")
    by_name = load_file(folder / "gradients.safetensors")
    expected = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
    assert by_name.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(by_name[name], gradient, atol=FP32, err_msg=name)


@pytest.mark.gate
def test_hidden_states_are_those_of_transformers_and_word_vectors_may_come_from_outside(twin):
    theirs, _, ours = twin
    x = tokens()
    ids, mask, types = (torch.tensor(x[:, i], dtype=torch.long) for i in range(3))
    with torch.no_grad():
        wanted = theirs.bert(
            input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True
        ).hidden_states[1:]
    seen = _Inside(ours)
    logits, hidden, again = seen(Tensor(x))
    real = x[:, 1] > 0
    assert len(hidden) == len(wanted) == 2
    for own, other in zip(hidden, wanted, strict=True):
        np.testing.assert_allclose(own.asnumpy()[real], other.numpy()[real], atol=FP32)
    np.testing.assert_array_equal(again.asnumpy(), logits.asnumpy())
    assert ours.token_table.shape == (60, 24)


class _Inside(nn.Cell):
    """What distillation asks of a network, in one graph."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.table = network.token_table

    def construct(self, x):
        logits, hidden = self.network.with_hidden(x)
        words = ops.gather(self.table, x[:, 0], 0)
        return logits, hidden, self.network.from_embedded(words, x)


@pytest.mark.gate
def test_padding_changes_nothing(twin):
    ours = twin[2]
    x = tokens(batch=4, length=6)
    wide = np.zeros((4, 3, 9), np.int32)
    wide[:, :, :6] = x
    wide[:, 0, 6:] = 7  # even if padding is no padding token
    np.testing.assert_allclose(ours(Tensor(wide)).asnumpy(), ours(Tensor(x)).asnumpy(), atol=1e-5)


@pytest.mark.gate
@pytest.mark.parametrize("prefix", ["bert.", "", "0.auto_model."])
def test_a_bare_encoder_loads_and_its_head_is_new(twin, tmp_path, prefix):
    arrays = {k: v for k, v in load_file(twin[1]).items() if k.startswith("bert.")}
    arrays = {prefix + k.removeprefix("bert."): v for k, v in arrays.items()}
    legacy = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    if prefix:  # early files name a normalisation's arrays so
        for new, old in legacy.items():
            arrays = {k.replace(new, old): v for k, v in arrays.items()}
    arrays[f"{prefix}embeddings.position_ids"] = np.arange(20)[None]
    save_file(arrays, tmp_path / "bare.safetensors")
    ours = BertClassifier(**SIZES, num_classes=2, pool="mean", dropout=0.1, seed=2)
    head = ours.head.weight.asnumpy()
    notes = models.load_weights(ours, tmp_path / "bare.safetensors")
    assert any("head.weight, head.bias" in note for note in notes)
    np.testing.assert_array_equal(ours.head.weight.asnumpy(), head)
    if prefix == "bert.":  # compiled once
        check_features(twin[0].bert, ours, tokens())
    expected = dict(twin[2].parameters_and_names())
    for name, parameter in ours.parameters_and_names():
        if not name.startswith("head") and not name.endswith("drawn"):
            np.testing.assert_array_equal(parameter.asnumpy(), expected[name].asnumpy())


def check_features(inner, ours, x):
    head = ours.head.weight.asnumpy()
    features = ours.set_train(False).encoded(*(Tensor(x[:, i]) for i in range(3)))
    ids, mask, types = (torch.tensor(x[:, i], dtype=torch.long) for i in range(3))
    hidden = inner(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
    real = x[:, 1] > 0
    np.testing.assert_allclose(features.asnumpy()[real], hidden.detach().numpy()[real], atol=FP32)
    mean = np.stack([h[m].mean(0) for h, m in zip(hidden.detach().numpy(), real, strict=True)])
    expected = mean @ head.T + ours.head.bias.asnumpy()
    np.testing.assert_allclose(ours(Tensor(x)).asnumpy(), expected, atol=FP32)


def test_weights_of_another_size_are_refused(twin):
    with pytest.raises(CheckpointError, match=r"embeddings\.word\.weight.*\(61, 24\)"):
        models.load_weights(BertClassifier(**{**SIZES, "vocab": 61}, pool="token"), twin[1])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"heads": 5}, "heads: 5"), ({"pool": "max"}, "pool"), ({"dropout": 1.0}, "dropout"),
     ({"depth": 0}, "depth: expected at least 1")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        BertClassifier(**{**SIZES, **wrong})


@pytest.mark.skipif(
    not (MINILM / "model.safetensors").exists(),
    reason="MiniLM's files are not here; name their folder in MS_EFF_MINILM",
)
def test_the_real_minilm_equals_transformers():
    config = transformers.BertConfig.from_pretrained(MINILM)
    theirs = transformers.BertModel.from_pretrained(MINILM, config=config).eval()
    ours = models.build("minilm_l6").set_train(False)
    models.load_weights(ours, MINILM / "model.safetensors")
    x = tokens(batch=3, length=24, vocab=30522)
    ids, mask, types = (torch.tensor(x[:, i], dtype=torch.long) for i in range(3))
    with torch.no_grad():
        hidden = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types)[0].numpy()
    found = ours.encoded(*(Tensor(x[:, i]) for i in range(3))).asnumpy()
    real = x[:, 1] > 0
    np.testing.assert_allclose(found[real], hidden[real], atol=FP32)


def test_minilm_has_the_published_number_of_parameters():
    network = models.build("minilm_l6", pool="token", num_classes=2)
    head = 2 * 384 + 2
    assert sum(p.size for p in network.get_parameters()) - head == 22_713_216
