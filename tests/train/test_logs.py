import io
import json

import pytest
from rich.console import Console

from ms_eff.train.logs import EpochBar, History

ROWS = [
    {"epoch": 1, "step": 4, "train_loss": 2.0},
    {"epoch": 2, "step": 8, "train_loss": 1.0, "accuracy": 0.5},
]


def test_history_is_written_as_csv_and_json_lines(tmp_path):
    history = History(tmp_path / "new")
    history.write(ROWS[:1])
    history.write(ROWS)
    lines = (tmp_path / "new" / "log.csv").read_text().splitlines()
    assert lines == ["epoch,step,train_loss,accuracy", "1,4,2.0,", "2,8,1.0,0.5"]
    found = [json.loads(x) for x in (tmp_path / "new" / "log.jsonl").read_text().splitlines()]
    assert found == ROWS
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_tensorboard_gets_its_scalars(tmp_path):
    pytest.importorskip("tensorboardX")
    history = History(tmp_path, tensorboard=True)
    history.write(ROWS)
    history.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    text = file.read_bytes()
    assert b"accuracy" in text
    assert b"train_loss" in text
    assert b"epoch" not in text  # integers are counters, not curves


def test_plain_lines_where_there_is_no_terminal():
    out = io.StringIO()
    with EpochBar(Console(file=out, width=100), "epoch 1/2", steps=5, done=0, every=2) as bar:
        for _ in range(5):
            bar.advance(0.5, 8)
    lines = out.getvalue().splitlines()
    assert [line.split(" ·")[0] for line in lines] == [
        "epoch 1/2 step 2/5",
        "epoch 1/2 step 4/5",
    ]
    assert "loss 0.5000" in lines[0]
    assert "samples/s" in lines[0]


def test_steps_done_at_a_call_are_counted_together():
    out = io.StringIO()
    with EpochBar(Console(file=out, width=100), "epoch 1/1", steps=10, done=0, every=4) as bar:
        for _ in range(3):
            bar.advance(0.5, 24, steps=3)
    lines = [line.split(" ·")[0] for line in out.getvalue().splitlines()]
    assert lines == ["epoch 1/1 step 6/10", "epoch 1/1 step 9/10"]


def test_a_bar_with_the_time_left_on_a_terminal():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with EpochBar(console, "epoch 1/2", steps=2, done=0, every=1) as bar:
        bar.advance(0.25, 8)
        bar.bar.refresh()
    assert "1/2" in out.getvalue()
    assert "loss 0.2500" in out.getvalue()
