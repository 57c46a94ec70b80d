import logging

import pytest
import torch

from nautiloid.core.errors import InputError
from nautiloid.train.state import StateWriter, TrainingState, read_latest, read_state, saved_steps


def state(step):
    tensors = {"model": {"w": torch.full((3, 2), float(step))}, "optimizer": {}}
    return TrainingState(tensors, {"steps_done": step, "stream": {"at": [step, 0]}})


def latest(folder):
    found = read_latest(folder)
    assert found is not None
    return found


def test_round_trip_and_keep_last(tmp_path):
    writer = StateWriter(tmp_path / "checkpoints", keep_last=2)
    for step in (10, 20, 30):
        writer.save(step, state(step))
    writer.wait()
    assert [step for step, _ in saved_steps(tmp_path / "checkpoints")] == [20, 30]
    newest = latest(tmp_path / "checkpoints")
    assert newest.counters == {"steps_done": 30, "stream": {"at": [30, 0]}}
    assert torch.equal(newest.tensors["model"]["w"], torch.full((3, 2), 30.0))
    assert newest.tensors["optimizer"] == {}


def test_the_copy_is_taken_before_save_returns(tmp_path):
    writer = StateWriter(tmp_path, keep_last=1)
    live = state(1)
    writer.save(1, live)
    live.tensors["model"]["w"].fill_(99)
    writer.wait()
    assert latest(tmp_path).tensors["model"]["w"].max() == 1


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["model.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", [truncate, flip, lambda path: path.unlink()])
def test_a_damaged_newest_checkpoint_is_refused_and_the_previous_used(tmp_path, caplog, name, harm):
    writer = StateWriter(tmp_path, keep_last=3)
    for step in (1, 2):
        writer.save(step, state(step))
    writer.wait()
    harm(tmp_path / "step-00000002" / name)
    with caplog.at_level(logging.WARNING, logger="nautiloid.train"):
        assert latest(tmp_path).counters["steps_done"] == 1
    assert "checkpoint refused" in caplog.text
    assert "step-00000002" in caplog.text
    # The run reaches the damaged step again: it is replaced, and nothing whole was pruned for it.
    writer.save(2, state(2))
    writer.wait()
    assert latest(tmp_path).counters["steps_done"] == 2


def test_nothing_is_found_in_an_empty_place(tmp_path):
    assert read_latest(tmp_path / "none") is None


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    (tmp_path / ".step-00000005.0123abcd.tmp").mkdir(parents=True)
    (tmp_path / ".step-00000003.old").mkdir()
    StateWriter(tmp_path, keep_last=1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    import errno

    import nautiloid.train.state as module

    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    writer = StateWriter(tmp_path, keep_last=1)
    writer.save(1, state(1))
    with pytest.raises(InputError, match="disk full"):
        writer.wait()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_manifest_is_torn(tmp_path):
    (tmp_path / "step-00000001").mkdir()
    with pytest.raises(InputError, match=r"manifest.json: no such file"):
        read_state(tmp_path / "step-00000001")
