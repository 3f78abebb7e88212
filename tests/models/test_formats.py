from __future__ import annotations

import builtins
import os

import mindspore as ms
import numpy as np
import pytest

from ms_eff.errors import CheckpointError, SetupError
from ms_eff.models.formats import read_arrays, write_arrays

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7,
    "b": np.array([1.5, -2.0], np.float16),
    "count": np.array([3], np.int64),
    "scalar": np.array(2.5, np.float32),
}


def _equal(found, expected=ARRAYS) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_arrays_come_back_as_written(suffix, tmp_path) -> None:
    write_arrays(tmp_path / f"w{suffix}", ARRAYS)
    _equal(read_arrays(tmp_path / f"w{suffix}"))
    assert [p.name for p in tmp_path.iterdir()] == [f"w{suffix}"]


def test_transposed_views_are_written_as_they_read(tmp_path) -> None:
    view = ARRAYS["a.weight"].T
    write_arrays(tmp_path / "w.safetensors", {"v": view})
    np.testing.assert_array_equal(read_arrays(tmp_path / "w.safetensors")["v"], view)


def test_ckpt_is_mindspores(tmp_path) -> None:
    write_arrays(tmp_path / "ours.ckpt", ARRAYS)
    loaded = ms.load_checkpoint(str(tmp_path / "ours.ckpt"))
    _equal({name: p.asnumpy() for name, p in loaded.items()})


@pytest.mark.parametrize("crc", [False, True])
def test_ckpt_of_mindspore_is_read(crc, tmp_path) -> None:
    data = [{"name": k, "data": ms.Tensor(v)} for k, v in ARRAYS.items()]
    data.append({"name": "half", "data": ms.Tensor([1.5, -3.0], ms.bfloat16)})
    file = tmp_path / "w.ckpt"
    ms.save_checkpoint(data, str(file), append_dict={"note": "x", "epoch": 3}, crc_check=crc)
    found = read_arrays(file)
    np.testing.assert_array_equal(found.pop("half"), np.array([1.5, -3.0], np.float32))
    found.pop("epoch")
    _equal(found)


def test_ckpt_checksum_is_checked(tmp_path) -> None:
    file = tmp_path / "w.ckpt"
    ms.save_checkpoint([{"name": "a", "data": ms.Tensor([1.0])}], str(file), crc_check=True)
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[content.index(np.float32(1).tobytes())] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="checksum"):
        read_arrays(file)


@pytest.mark.parametrize("wrapped", [False, True])
def test_torch_files_are_read(wrapped, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array) for name, array in ARRAYS.items()}
    torch.save({"state_dict": tensors} if wrapped else tensors, tmp_path / "w.pth")
    _equal(read_arrays(tmp_path / "w.pth"))


def test_bfloat16_becomes_float32(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = {"w": torch.tensor([1.5, -3.0], dtype=torch.bfloat16, requires_grad=True)}
    torch.save(values, tmp_path / "w.pth")
    save_file({"w": values["w"].detach()}, tmp_path / "w.safetensors")
    for file in tmp_path.iterdir():
        _equal(read_arrays(file), {"w": np.array([1.5, -3.0], np.float32)})


def test_code_in_a_torch_file_does_not_run(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"w": _Malicious(str(tmp_path / "ran"))}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="more than weights"):
        read_arrays(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


class _Malicious:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 3}, {"a": 1}, {5: None}])
def test_torch_files_without_tensors_are_refused(content, tmp_path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="dict of tensors"):
        read_arrays(tmp_path / "w.pth")


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch) -> None:
    (tmp_path / "w.pth").write_bytes(b"x")
    real = builtins.__import__

    def no_torch(name, *args, **kwargs):
        if name == "torch":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_torch)
    with pytest.raises(SetupError, match=r"ms_eff\[cross-check\]"):
        read_arrays(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pth"])
def test_damage_is_always_one_clear_error(suffix, tmp_path) -> None:
    """Flipped bits and cut ends: an error of ours or other numbers, nothing else."""
    file = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        torch.save({name: torch.from_numpy(a) for name, a in ARRAYS.items()}, file)
    else:
        write_arrays(file, ARRAYS)
        file.chmod(0o600)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    complaints = []
    for trial in range(150):
        damaged = whole.copy()
        damaged[rng.integers(len(whole), size=2)] ^= np.uint8(1) << rng.integers(8)
        cut = rng.integers(len(whole)) if trial % 3 == 0 else len(whole)
        file.write_bytes(damaged[:cut].tobytes())
        try:
            read_arrays(file)
        except CheckpointError as error:
            complaints.append(str(error))
    assert len(complaints) > 50
    assert all(str(file) in line and "\n" not in line for line in complaints)


@pytest.mark.parametrize("name", ["no.safetensors", "no.ckpt", "no.pth", "folder.pt"])
def test_unreadable_file_is_named(name, tmp_path) -> None:
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read"):
        read_arrays(tmp_path / name)


def test_unknown_suffix_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match=r"'\.bin'; known: \.safetensors"):
        read_arrays(tmp_path / "w.bin")
    with pytest.raises(CheckpointError, match=r"not '\.pth'"):
        write_arrays(tmp_path / "w.pth", ARRAYS)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_full_disk_leaves_the_old_file(suffix, tmp_path, small_disk) -> None:
    file = tmp_path / f"w{suffix}"
    write_arrays(file, ARRAYS)
    with small_disk(4096), pytest.raises(CheckpointError, match="cannot be written"):
        write_arrays(file, {"big": np.zeros(100_000, np.float32)})
    _equal(read_arrays(file))
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_missing_folder_is_named(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="No such file or directory"):
        write_arrays(tmp_path / "no" / "w.safetensors", ARRAYS)
