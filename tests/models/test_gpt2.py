"""GPT-2 against transformers', with its weights in and out."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors.numpy import load_file, save_file

from ms_eff import models
from ms_eff.bench.counts import count, totals
from ms_eff.deploy.export import export
from ms_eff.deploy.inputs import InputSpec
from ms_eff.errors import CheckpointError, ConfigError
from ms_eff.methods.gqkva import convert_attention
from ms_eff.methods.progressive.members import load_member
from ms_eff.models.gpt2 import GPT2
from ms_eff.models.gpt2_classifier import GPT2Classifier
from ms_eff.models.gpt2_files import save_gpt2
from ms_eff.models.gpt2_shape import GPT2Shape
from ms_eff.models.parents import load_parent
from tests.models.test_bert import tokens
from tests.tolerances import EXPORT, FP32, LAYER

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

SIZES = {"vocab": 60, "positions": 20, "dim": 24, "depth": 2, "heads": 3}
T = 11


def hf_config(**changes):
    torch.manual_seed(0)
    return transformers.GPT2Config(
        vocab_size=60, n_positions=20, n_embd=24, n_layer=2, n_head=3, initializer_range=0.2,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0, **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Return HF's language model, its folder, and ours loaded from it."""
    theirs = transformers.GPT2LMHeadModel(hf_config()).eval()
    folder = tmp_path_factory.mktemp("gpt2")
    theirs.save_pretrained(folder)
    return theirs, folder, load_parent(folder)


def ids_of(batch=3, length=T, seed=0):
    return np.random.default_rng(seed).integers(0, 60, (batch, length)).astype(np.int32)


def gradients(network, inputs, labels, loss) -> dict[str, np.ndarray]:
    def forward(x, y):
        return loss(network(x), y)

    weights = network.trainable_params()
    found = ms.grad(forward, None, weights)(Tensor(inputs), Tensor(labels))
    return {w.name: g.asnumpy() for w, g in zip(weights, found, strict=True)}


def check_gradients(own, theirs, holder, path):
    """Compare gradients under HF's names; the holder is a network to write them with."""
    for p in holder.get_parameters():
        p.set_data(Tensor(own[p.name]))
    models.save_weights(holder, path, naming="hf")
    by_name = load_file(path)
    expected = {k: p.grad.numpy() for k, p in theirs.named_parameters()}
    assert by_name.keys() == expected.keys()
    for name, gradient in expected.items():
        np.testing.assert_allclose(by_name[name], gradient, atol=FP32, err_msg=name)


@pytest.mark.gate
def test_logits_and_gradients_equal_those_of_transformers(twin, tmp_path):
    theirs, _, ours = twin
    x = ids_of()
    ids = torch.tensor(x, dtype=torch.long)
    out = theirs(input_ids=ids, labels=ids)
    out.loss.backward()
    np.testing.assert_allclose(ours(Tensor(x)).asnumpy(), out.logits.detach().numpy(), atol=FP32)
    ce = nn.CrossEntropyLoss()

    def shifted(logits, labels):
        return ce(logits[:, :-1].reshape(-1, 60), labels[:, 1:].reshape(-1))

    own = gradients(ours, x, x, shifted)
    check_gradients(own, theirs, GPT2(**SIZES), tmp_path / "gradients.safetensors")


class Parts(nn.Cell):
    """Everything that distillation asks of a network, in one graph."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, inputs, ids):
        logits, hidden = self.network.with_hidden(inputs)
        embedded = self.network.token_table[ids]
        return logits, hidden, self.network.from_embedded(embedded, inputs)


@pytest.mark.gate
def test_hidden_states_are_those_of_transformers(twin):
    theirs, _, ours = twin
    x = ids_of()
    logits, hidden, again = Parts(ours)(Tensor(x), Tensor(x))
    assert len(hidden) == 2
    with torch.no_grad():
        out = theirs(input_ids=torch.tensor(x, dtype=torch.long), output_hidden_states=True)
    for own, other in zip(hidden, out.hidden_states[1:], strict=True):
        np.testing.assert_allclose(own.asnumpy(), other.numpy(), atol=FP32)
    np.testing.assert_allclose(again.asnumpy(), logits.asnumpy(), atol=LAYER)
    assert tuple(ours.token_table.shape) == (60, 24)


@pytest.mark.gate
def test_a_token_sees_nothing_that_comes_later(twin):
    x = ids_of()
    other = x.copy()
    other[:, 7:] = (other[:, 7:] + 1) % 60
    found, changed = (twin[2](Tensor(a)).asnumpy() for a in (x, other))
    np.testing.assert_array_equal(found[:, :7], changed[:, :7])
    assert not np.allclose(found[:, 7:], changed[:, 7:])


def test_a_folder_goes_to_transformers_and_back(twin, tmp_path):
    theirs, _, ours = twin
    save_gpt2(ours, tmp_path / "out")
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "out").eval()
    for name, value in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    mine = load_member(tmp_path / "out")
    for name, p in mine.parameters_and_names():
        expected = dict(ours.parameters_and_names())[name]
        np.testing.assert_array_equal(p.asnumpy(), expected.asnumpy())


@pytest.mark.parametrize("bare", [True, False])
def test_early_files_load_too(twin, tmp_path, bare):
    theirs, _, ours = twin
    arrays = {k: v.numpy() for k, v in theirs.state_dict().items()}  # lm_head among them
    if bare:
        arrays = {k.removeprefix("transformer."): v for k, v in arrays.items()}
        arrays |= {f"h.{i}.attn.bias": np.ones((1, 1, 20, 20), np.float32) for i in range(2)}
    save_file(arrays, tmp_path / "model.safetensors")
    loaded = GPT2(**SIZES, seed=3)
    notes = models.load_weights(loaded, tmp_path / "model.safetensors")
    assert "hf names" in notes[0]
    expected = dict(ours.parameters_and_names())
    for name, p in loaded.parameters_and_names():
        np.testing.assert_array_equal(p.asnumpy(), expected[name].asnumpy())


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Return HF's classifier and ours with its weights; padding is token 0."""
    theirs = transformers.GPT2ForSequenceClassification(hf_config(num_labels=3, pad_token_id=0))
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    save_file({k: v.numpy() for k, v in theirs.state_dict().items()}, path)
    ours = GPT2Classifier(**SIZES, num_classes=3, seed=1)
    models.load_weights(ours, path)
    return theirs.eval(), ours.set_train(False)


@pytest.mark.gate
def test_the_classifier_equals_transformers(classifiers, tmp_path):
    theirs, ours = classifiers
    x, labels = tokens(), np.array([0, 1, 2, 0, 1], np.int32)
    ids, mask = (torch.tensor(x[:, i], dtype=torch.long) for i in (0, 1))
    logits = theirs(input_ids=ids, attention_mask=mask).logits
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels, dtype=torch.long)).backward()
    found, hidden, again = Parts(ours)(Tensor(x), Tensor(x[:, 0]))
    np.testing.assert_allclose(found.asnumpy(), logits.detach().numpy(), atol=FP32)
    np.testing.assert_allclose(again.asnumpy(), found.asnumpy(), atol=LAYER)
    assert tuple(hidden[0].shape) == (5, 11, 24)
    own = gradients(ours, x, labels, nn.CrossEntropyLoss())
    check_gradients(
        own, theirs, GPT2Classifier(**SIZES, num_classes=3), tmp_path / "gradients.safetensors"
    )


def test_a_classifier_takes_a_language_models_file(twin):
    ours = GPT2Classifier(**SIZES, num_classes=4, seed=2)
    head = ours.head.weight.asnumpy()
    notes = models.load_weights(ours, twin[1] / "model.safetensors")
    assert any("head.weight" in note for note in notes)
    np.testing.assert_array_equal(ours.head.weight.asnumpy(), head)


@pytest.mark.gate
def test_it_exports_at_a_fixed_length(twin, tmp_path):
    done = export(twin[2], tmp_path / "gpt2.mindir", (InputSpec((2, T), "ids", "int32", 60),))
    assert done.difference.max_abs <= EXPORT


def test_parameters_and_work_are_counted():
    shape = GPT2Shape(vocab=60, positions=20, dim=24, depth=2, heads=3)
    found = totals(count(GPT2(**SIZES), (1, T)))
    assert found["params"] == shape.params
    block = T * 12 * 24**2 + 2 * T**2 * 24
    assert found["macs"] == 2 * block + T * 24 * 60


@pytest.mark.parametrize(
    ("dim", "depth", "heads", "params"),
    [
        (768, 6, 12, 81_912_576),
        (768, 12, 12, 124_439_808),
        (1024, 24, 16, 354_823_168),
        (1280, 36, 20, 774_030_080),
        (1600, 48, 25, 1_557_611_200),
    ],
)
def test_the_published_sizes_have_the_published_numbers(dim, depth, heads, params):
    shape = GPT2Shape(dim=dim, depth=depth, heads=heads)
    assert shape.params == params == 50257 * dim + 1024 * dim + depth * (
        12 * dim**2 + 13 * dim
    ) + 2 * dim  # fmt: skip
    assert GPT2Shape.from_hf(shape.to_hf()) == shape


@pytest.mark.gate
def test_attention_can_be_grouped():
    grouped, _, report = convert_attention(GPT2(**{**SIZES, "depth": 1}), "mqa")
    assert report[0].cell == "blocks.0.attn"
    assert tuple(grouped(Tensor(ids_of())).shape) == (3, T, 60)


@pytest.mark.gate
def test_dropout_acts_in_training_alone():
    network = GPT2(**{**SIZES, "depth": 1}, dropout=0.5)
    x = Tensor(ids_of())
    first, second = (network.set_train(True)(x).asnumpy() for _ in range(2))
    assert not np.allclose(first, second)
    plain = GPT2(**{**SIZES, "depth": 1})
    np.testing.assert_allclose(
        network.set_train(False)(x).asnumpy(), plain.set_train(False)(x).asnumpy(), atol=LAYER
    )


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"heads": 5}, "heads: 5 does not divide"), ({"dropout": 1.0}, "dropout"),
     ({"depth": 0}, "depth: expected at least 1")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(wrong, said):
    with pytest.raises(ConfigError, match=said):
        GPT2(**{**SIZES, **wrong})
    with pytest.raises(ConfigError, match="num_classes"):
        GPT2Classifier(**SIZES, num_classes=0)


def test_configs_of_others_are_refused(twin, tmp_path):
    known = GPT2Shape().to_hf()
    for key, value in (("model_type", "llama"), ("activation_function", "relu")):
        with pytest.raises(ConfigError, match=f"{key} = '{value}'"):
            GPT2Shape.from_hf({**known, key: value})
    with pytest.raises(ConfigError, match="'n_head' is missing"):
        GPT2Shape.from_hf({k: v for k, v in known.items() if k != "n_head"})
    with pytest.raises(CheckpointError, match=r"word\.weight.*\(61, 24\)"):
        models.load_weights(GPT2(**{**SIZES, "vocab": 61}), twin[1] / "model.safetensors")
