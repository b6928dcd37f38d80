"""A checkpoint is read back as written, or refused by name;
no crash, full disk or careless edit loses it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nelbo.checkpoint import CheckpointError, CheckpointWriteError, read_folder, write_folder

FILES = ["config.json", "model.safetensors", "manifest.json", "README.md"]


def state(number: int, size: int = 16) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A state whose every part tells `number`: a mixture of two shows."""
    return {"number": number}, {
        "a": torch.full((size,), float(number)),
        "b": torch.full((size,), -float(number)),
    }


def number_in(path: Path) -> int:
    """The number of the whole state in `path`; fails on a mixture."""
    config, tensors = read_folder(path)
    number = config["number"]
    assert isinstance(number, int)
    assert all((tensors[key] == sign * number).all() for key, sign in (("a", 1), ("b", -1)))
    return number


def left_over(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir() if entry.name.startswith(".nelbo-"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    write_folder(path, *state(1), extra_text={"README.md": "# a model\n"})
    return path


# Round trip

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(config=st.dictionaries(st.text(), json_values, max_size=4))
def test_any_json_config_round_trips(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder, "run"), config, {})
        assert read_folder(Path(folder, "run")) == (config, {})


def test_text_without_utf8_round_trips_as_in_undecodable_file_names(tmp_path: Path) -> None:
    config = {"source": os.fsdecode(b"caf\xe9.csv"), "\udc80": 'β² \\ "'}
    write_folder(tmp_path / "run", config, {})
    assert read_folder(tmp_path / "run")[0] == config
    (tmp_path / "run" / "config.json").read_bytes().decode()  # and the file is UTF-8 all the same


DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
]
DTYPES += [torch.int8, torch.uint8, torch.bool, torch.complex64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_keep_dtype_shape_and_every_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    base = (torch.arange(24).reshape(2, 3, 4) - 7).to(dtype)
    tensors = {
        "plain": base,
        "scalar": base[0, 0, 0],
        "empty": base[:0],
        "transposed": base.permute(2, 0, 1),
        "strided": base[:, ::2, 1::2],
        "expanded": base[:1].expand(5, 3, 4),
        "unicode β² / .. name": base.clone(),
    }
    write_folder(tmp_path / "run", {}, tensors)
    read = read_folder(tmp_path / "run")[1]
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (read[name].dtype, read[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(read[name], tensor)


def test_special_floats_parameters_and_tied_tensors_round_trip_and_can_be_changed(
    tmp_path: Path,
) -> None:
    special = torch.tensor([float("nan"), float("inf"), -0.0, 5e-324], dtype=torch.float64)
    weight = torch.nn.Parameter(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    conjugate = torch.tensor([1 + 2j]).conj()
    write_folder(
        tmp_path / "run",
        {},
        {"s": special, "w": weight, "tied": weight, "part": weight[1], "c": conjugate},
    )
    read = read_folder(tmp_path / "run")[1]
    assert torch.equal(read["s"].view(torch.int64), special.view(torch.int64))
    assert torch.equal(read["tied"], weight)
    assert torch.equal(read["part"], weight[1])
    assert torch.equal(read["c"], torch.tensor([1 - 2j]))
    read["w"].add_(1)
    assert torch.equal(read["w"], weight.detach() + 1)
    assert torch.equal(read["tied"], weight)


def test_folder_holds_the_documented_files(run: Path) -> None:
    assert sorted(os.listdir(run)) == sorted(FILES)
    assert (run / "config.json").read_text() == '{\n  "number": 1\n}\n'
    assert (run / "README.md").read_text() == "# a model\n"
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["format"], manifest["kind"], manifest["schema_version"]) == (
        "nelbo",
        "model",
        1,
    )
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        name: (run / name).stat().st_size for name in FILES if name != "manifest.json"
    }
    assert left_over(run) == []


def test_folder_gets_the_permissions_of_any_new_folder(run: Path) -> None:
    (run.parent / "other").mkdir()
    assert run.stat().st_mode == (run.parent / "other").stat().st_mode


@pytest.mark.parametrize(
    "name", ["modèle β² 模型 🎲", "with space", "n" * 255, ".hidden", "-dash", "new\nline"]
)
def test_any_folder_name_will_do_and_parents_are_made(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / "er" / name
    write_folder(path, *state(1))
    write_folder(path, *state(2), overwrite=True)
    assert number_in(path) == 2
    assert os.listdir(path.parent) == [name]


# Refusals when reading


def refused(path: Path, *words: str, kind: str = "model") -> None:
    with pytest.raises(CheckpointError) as caught:
        read_folder(path, kind=kind)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words):
        assert word in message


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_anywhere_is_refused_by_name(run: Path, name: str) -> None:
    original = (run / name).read_bytes()
    for place in range(len(original)):
        for flip in (1, 0x80):
            changed = bytearray(original)
            changed[place] ^= flip
            (run / name).write_bytes(changed)
            with pytest.raises(
                CheckpointError, match=r"manifest\.json" if name == "manifest.json" else name
            ):
                read_folder(run)
    (run / name).write_bytes(original)
    assert number_in(run) == 1


@pytest.mark.parametrize("name", FILES)
def test_truncated_grown_and_missing_files_are_refused_by_name(run: Path, name: str) -> None:
    original = (run / name).read_bytes()
    for length in (0, 1, len(original) // 2, len(original) - 1):
        (run / name).write_bytes(original[:length])
        refused(run, name, "restore it")
    (run / name).write_bytes(original[:-1])
    refused(
        run, name if name == "manifest.json" else f"{name} is truncated: {len(original) - 1} bytes"
    )
    (run / name).write_bytes(original + b" ")
    refused(run, name)
    (run / name).unlink()
    refused(run, f"{name} is missing")
    (run / name).mkdir()
    refused(run, f"{name} is not a regular file")
    (run / name).rmdir()
    os.mkfifo(run / name)
    refused(run, f"{name} is not a regular file")


def edit_manifest(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    change(manifest)
    (run / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")


def test_newer_schema_says_upgrade(run: Path) -> None:
    edit_manifest(run, lambda manifest: manifest.update(schema_version=7))
    refused(run, "written by a newer nelbo (schema 7); upgrade")


@pytest.mark.parametrize(
    "name", ["../secret", "a/b", "/etc/passwd", "..", "a\\b", "", "manifest.json"]
)
def test_manifest_cannot_point_outside_the_folder(run: Path, name: str) -> None:
    (run.parent / "secret").write_text("x")
    edit_manifest(
        run, lambda manifest: manifest["files"].update({name: {"sha256": "", "bytes": 1}})
    )
    refused(run, "manifest.json", f"lists {name!r}")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_manifest_must_list_config_and_tensors(run: Path, name: str) -> None:
    edit_manifest(run, lambda manifest: manifest["files"].pop(name))
    refused(run, "manifest.json does not list config.json and model.safetensors")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "\x00",
        "[" * 100_000,
        '{"format": "nelbo"}',
        '{"format": "zip"}',
        "NaN",
    ],
)
def test_manifest_that_is_not_ours_is_refused(run: Path, text: str) -> None:
    (run / "manifest.json").write_text(text)
    refused(run, "manifest.json")


@pytest.mark.parametrize(
    "key", ["format", "kind", "schema_version", "nelbo_version", "files", "sha256"]
)
@pytest.mark.parametrize(
    "value", [None, 0, -1, True, "x", [], {}, {"config.json": 3, "model.safetensors": []}]
)
def test_manifest_with_any_field_changed_is_refused(run: Path, key: str, value: object) -> None:
    edit_manifest(run, lambda manifest: manifest.update({key: value}))
    refused(run, "manifest.json")


def test_wrong_place_or_kind_is_refused(run: Path) -> None:
    refused(run.parent / "nowhere", "no such folder", "check the path")
    refused(run.parent / "no" / "where", "no such folder")
    refused(run / "config.json", "is a file", "expected a folder")
    refused(run.parent, "manifest.json is missing")
    refused(run, "holds a 'model', expected a 'training'", kind="training")


def test_nothing_in_the_files_is_executed(run: Path, tmp_path: Path) -> None:
    """A pickle in place of the tensors, with a manifest made to fit, is not opened."""
    other = tmp_path / "other"
    write_folder(other, *state(1), extra_text={"evil": "cos\nsystem\n(S'touch hacked'\ntR."})
    (other / "model.safetensors").write_bytes((other / "evil").read_bytes())
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = manifest["files"]["evil"]
    del manifest["sha256"]
    digest = hashlib.sha256(
        (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()
    ).hexdigest()
    manifest["sha256"] = digest
    (other / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
    refused(other, "model.safetensors is not a safetensors file")


# Refusals when writing


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"a": float("nan")}, r"config\['a'\] is nan"),
        ({"a": [1, {"b": float("inf")}]}, r"config\['a'\]\[1\]\['b'\] is inf"),
        ({"a": {1: 2}}, r"config\['a'\] has the key 1"),
        ({"a": {1, 2}}, r"config\['a'\] is a set"),
        ({"a": torch.zeros(2)}, r"config\['a'\] is a Tensor"),
        ([1], "config is a list"),
    ],
)
def test_config_that_json_would_change_is_refused_by_place(
    tmp_path: Path, config: Any, words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        write_folder(tmp_path / "run", config, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("a", [1.0], r"tensors\['a'\] is a list"),
        ("a", torch.zeros(2, 2).to_sparse(), r"tensors\['a'\] .* dense"),
        ("a", torch.zeros(2, device="meta"), r"tensors\['a'\] .* dense"),
        ("a", torch.zeros(2, dtype=torch.complex128), "complex128"),
        ("__metadata__", torch.zeros(2), "__metadata__"),
    ],
)
def test_tensors_that_cannot_be_stored_are_refused_by_name(
    tmp_path: Path, name: str, tensor: Any, words: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        write_folder(tmp_path / "run", {}, {name: tensor})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "", ".", "..", "config.json", "manifest.json", "a\0b"]
)
def test_extra_text_has_plain_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="extra_text has the name"):
        write_folder(tmp_path / "run", {}, {}, extra_text={name: "x"})
    assert os.listdir(tmp_path) == []


def test_existing_folder_is_kept_unless_overwrite(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"run is not empty.*--overwrite / overwrite=True"):
        write_folder(run, *state(2))
    assert number_in(run) == 1
    write_folder(run, *state(2), overwrite=True)
    assert number_in(run) == 2
    assert left_over(run) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_empty_folder_is_filled(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "run").mkdir()
    write_folder(tmp_path / "run", *state(1), overwrite=overwrite)
    assert number_in(tmp_path / "run") == 1


@pytest.mark.parametrize("manifest", [None, "{}", "[]", "not json", '{"format": "other"}'])
def test_overwrite_never_touches_a_folder_that_is_not_ours(
    tmp_path: Path, manifest: str | None
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match="not a nelbo folder"):
        write_folder(tmp_path, {}, {}, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_overwrite_keeps_what_users_added_and_drops_what_was_ours(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / "plots").mkdir()
    (run / "plots" / "config.json").write_text("mine too")
    (run / "link").symlink_to("nowhere")
    (run / "model.safetensors").write_bytes(b"damaged")
    write_folder(run, *state(2), overwrite=True)
    assert number_in(run) == 2
    assert sorted(os.listdir(run)) == sorted([*FILES[:3], "notes.txt", "plots", "link"])
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "plots" / "config.json").read_text() == "mine too"
    assert os.readlink(run / "link") == "nowhere"


def test_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match="file is a file"):
            write_folder(path, {}, {}, overwrite=overwrite)
        with pytest.raises(CheckpointWriteError, match=r"Not a directory|File exists"):
            write_folder(path / "run", {}, {}, overwrite=overwrite)
    with pytest.raises(CheckpointError, match="is a file"):
        write_folder("/dev/full", {}, {}, overwrite=True)
    assert path.read_text() == "mine"


def test_the_current_directory_is_not_pulled_from_under_the_user(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "sub").mkdir()
    for folder in (run, run / "sub"):
        monkeypatch.chdir(folder)
        with pytest.raises(CheckpointError, match="current directory"):
            write_folder(run, *state(2), overwrite=True)
    monkeypatch.chdir(run.parent)
    write_folder("run", *state(2), overwrite=True)
    assert number_in(run) == 2


def test_symlink_to_a_folder_stays_a_link(run: Path) -> None:
    link = run.parent / "latest"
    link.symlink_to("run")
    assert number_in(link) == 1
    write_folder(link, *state(2), overwrite=True)
    assert link.is_symlink()
    assert number_in(run) == number_in(link) == 2
    dangling = run.parent / "dangling"
    dangling.symlink_to("elsewhere")
    write_folder(dangling, *state(3))
    assert number_in(run.parent / "elsewhere") == 3
    loop = run.parent / "loop"
    loop.symlink_to("loop")
    refused(loop, "no such folder")
    with pytest.raises((CheckpointError, CheckpointWriteError)):
        write_folder(loop, {}, {})


def test_symlinked_files_are_read_but_never_written_through(run: Path) -> None:
    store = run.parent / "store.safetensors"
    shutil.move(run / "model.safetensors", store)
    (run / "model.safetensors").symlink_to(store)
    content = store.read_bytes()
    assert number_in(run) == 1
    write_folder(run, *state(2), overwrite=True)
    assert number_in(run) == 2
    assert store.read_bytes() == content


# Crashes. The children are forked from a server that has torch loaded, so that each takes
# milliseconds.


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    # numpy.ctypeslib is imported late, by safetensors: a child without our rights cannot, from a
    # clone that is private.
    context.set_forkserver_preload(
        ["nelbo.checkpoint", "test_checkpoint", "torch", "numpy.ctypeslib"]
    )
    # the server starts with our environment, not with our sys.path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        )
        context.Process(target=os.getpid).start()
        yield context


def keep_writing(path: Path) -> None:
    for number in range(2, 1_000_000):
        write_folder(path, *state(number, 20_000), overwrite=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_kill_at_random_moments_leaves_a_whole_state(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    delay = random.Random(0)
    for trial in range(25):
        path = tmp_path / f"run{trial}"
        write_folder(path, *state(1, 20_000))
        child = forks.Process(target=keep_writing, args=(path,))
        child.start()
        wait_for(lambda path=path: number_in(path) > 1)  # type: ignore[misc]
        time.sleep(delay.uniform(0, 0.03))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        survived = number_in(path)
        assert survived >= 2
        write_folder(path, *state(survived + 1), overwrite=True)
        assert number_in(path) == survived + 1
    assert left_over(path) == []


STEPS = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.listdir",
    "os.scandir",
    "shutil.rmtree",
}


def write_and_die_at(step: int, path: Path) -> None:
    """Overwrite, but be killed just before the `step`-th thing done to the file system."""
    counter = iter(range(step))

    def watch(event: str, _args: object) -> None:
        if event in STEPS and next(counter, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    new = state(2)
    sys.addaudithook(watch)
    write_folder(path, *new, overwrite=True)
    os._exit(0)


def test_kill_before_each_single_step_leaves_the_old_or_the_new(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    outcomes, gaps = [], 0
    for step in range(200):
        path = tmp_path / f"run{step}"
        write_folder(path, *state(1))
        (path / "notes.txt").write_text("mine")
        child = forks.Process(target=write_and_die_at, args=(step, path))
        child.start()
        child.join()
        gaps += not path.exists()
        outcomes.append(number_in(path))
        assert (path / "notes.txt").read_text() == "mine"
        write_folder(path, *state(3), overwrite=True)
        assert number_in(path) == 3
        assert left_over(path) == []
        if child.exitcode == 0:
            break
    assert child.exitcode == 0
    assert outcomes == sorted(outcomes)  # old up to one step, new from there on
    assert set(outcomes) == {1, 2}
    assert gaps >= 1  # the moment between the two renames was among them


def test_reader_of_an_overwritten_folder_never_sees_a_mixture(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    path = tmp_path / "run"
    write_folder(path, *state(1, 20_000))
    child = forks.Process(target=keep_writing, args=(path,))
    child.start()
    try:
        seen = []
        for _ in range(300):
            seen.append(number_in(path))
        wait_for(lambda: number_in(path) > 5)
    finally:
        child.kill()
        child.join()
    assert seen == sorted(seen)  # and never back to an older one


def compete(path: Path, first: int) -> None:
    for number in range(first, first + 40):
        with contextlib.suppress(CheckpointWriteError):
            write_folder(path, *state(number), overwrite=True)


def test_two_writers_leave_one_whole_state_and_nothing_else(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    path = tmp_path / "run"
    children = [forks.Process(target=compete, args=(path, first)) for first in (100, 200)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert number_in(path) in {*range(100, 140), *range(200, 240)}
    assert os.listdir(tmp_path) == ["run"]


def test_a_failure_in_the_middle_of_the_swap_puts_the_old_back(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, calls = os.rename, iter(range(100))

    def broken(source: Path, destination: Path) -> None:
        if next(calls) == 2:  # refused by the full target; old set aside; and now
            raise KeyboardInterrupt
        rename(source, destination)

    monkeypatch.setattr(os, "rename", broken)
    with pytest.raises(KeyboardInterrupt):
        write_folder(run, *state(2), overwrite=True)
    assert number_in(run) == 1
    assert left_over(run) == []


# A disk that is full, a parent that may not be written


def write_with_file_limit(path: Path, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_folder(path, *state(2, 5_000), overwrite=True)
    except CheckpointWriteError as error:
        message = str(error)
        right = (
            error.errno == errno.EFBIG and "Nothing was lost" in message and str(path) in message
        )
        right = (
            right
            and "could not write 4" in message
            and "free some space" in message
            and "\n" not in message
        )
        os._exit(3 if right else 4)
    os._exit(0)


@pytest.mark.parametrize("existing", [False, True])
def test_full_disk_keeps_the_old_and_says_so(
    tmp_path: Path, existing: bool, forks: ForkServerContext
) -> None:
    path = tmp_path / "run"
    if existing:
        write_folder(path, *state(1))
    for limit in (0, 100, 10_000, 40_000):
        child = forks.Process(target=write_with_file_limit, args=(path, limit))
        child.start()
        child.join()
        assert child.exitcode == 3
        assert os.listdir(tmp_path) == (["run"] if existing else [])
        if existing:
            assert number_in(path) == 1


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that a process without our rights can reach (pytest's own is private)."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def use_without_rights(path: Path) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    ok = number_in(path) == 1
    for target, overwrite in ((path, True), (path.with_name("other"), False)):
        try:
            write_folder(target, *state(2), overwrite=overwrite)
            ok = False
        except CheckpointWriteError as error:
            ok = (
                ok
                and error.errno == errno.EACCES
                and "check the path and its permissions" in str(error)
            )
    os._exit(0 if ok else 1)


def test_read_only_parent_can_be_read_and_says_why_it_cannot_be_written(
    open_to_all: Path, forks: ForkServerContext
) -> None:
    path = open_to_all / "run"
    write_folder(path, *state(1))
    os.chmod(open_to_all, 0o555)
    try:
        child = forks.Process(target=use_without_rights, args=(path,))
        child.start()
        child.join()
    finally:
        os.chmod(open_to_all, 0o755)
    assert child.exitcode == 0
    assert number_in(path) == 1


def read_without_rights(path: Path) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
    os._exit(0 if number_in(path) == 1 and not path.exists() else 1)


def test_folder_left_aside_by_a_crash_is_read_even_where_it_cannot_be_put_back(
    open_to_all: Path, forks: ForkServerContext
) -> None:
    path = open_to_all / "run"
    for step in range(200):  # until a writer dies between the two renames
        shutil.rmtree(path, ignore_errors=True)
        write_folder(path, *state(1))
        child = forks.Process(target=write_and_die_at, args=(step, path))
        child.start()
        child.join()
        if not path.exists():
            break
    assert not path.exists()
    for name in left_over(path):  # whose contents could be deleted even so
        os.chmod(open_to_all / name, 0o777)
    os.chmod(open_to_all, 0o555)
    try:
        child = forks.Process(target=read_without_rights, args=(path,))
        child.start()
        child.join()
        assert child.exitcode == 0
    finally:
        os.chmod(open_to_all, 0o755)
    assert number_in(path) == 1
    assert path.exists()
    assert left_over(path) == []


def test_a_removed_folder_is_not_raised_from_the_dead(run: Path, forks: ForkServerContext) -> None:
    """A writer died after the swap, before it removed the old;
    then the user removes the run: it is gone.
    """
    for step in range(200):
        shutil.rmtree(run, ignore_errors=True)
        write_folder(run, *state(1))
        child = forks.Process(target=write_and_die_at, args=(step, run))
        child.start()
        child.join()
        if number_in(run) == 2 and left_over(run):
            break
    assert [name[-4:] for name in left_over(run)] == [".old"]
    shutil.rmtree(run)
    refused(run, "no such folder")
    assert left_over(run) == []
