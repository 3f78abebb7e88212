from __future__ import annotations

from dataclasses import replace

import pytest

from ms_eff import data
from ms_eff.config import Config
from ms_eff.errors import ConfigError
from ms_eff.inputs import check_inputs
from tests.data.sentences import write_sst2, write_texts

pytest.importorskip("tokenizers")


# the vocabularies of the published weights
@pytest.mark.parametrize(
    ("name", "own"), [("minilm_l6", 30_522), ("bert_base", 30_522), ("gpt2_small", 50_257)]
)
def test_a_tokenizer_beyond_the_vocabulary_of_a_named_network_is_refused(tmp_path, name, own):
    block = {"root": tmp_path, "tokenizer": tmp_path / "tokenizer.json", "batch_size": 2}
    if name == "gpt2_small":
        write_texts(tmp_path, sentences=20)
        block |= {"name": "language", "train_files": ["a.txt"], "test_files": ["b.txt"], "block": 8}
    else:
        write_sst2(tmp_path)
        block |= {"name": "text", "test_file": "dev.tsv", "buckets": (16,)}
    config = Config(output=tmp_path, model={"name": name}, data=block)
    found = data.build(config.data)
    check_inputs(config, replace(found, vocab=own))
    with pytest.raises(ConfigError, match=rf"vocab = {own}: .* {own + 1} tokens; .* of {name}"):
        check_inputs(config, replace(found, vocab=own + 1))
    larger = Config(output=tmp_path, model={"name": name, "vocab": own + 1}, data=block)
    check_inputs(larger, replace(found, vocab=own + 1))
