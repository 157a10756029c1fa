"""Collections that are interrupted, or spread over processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import QUIET, Network, close, identical, moments_of, text_batch, tiny_llama, tokens
from torch import nn

import mnemotomy as mt
from mnemotomy.core.errors import ArtifactError


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


class StopError(Exception):
    pass


def stream(stop_after: int | None = None) -> Any:
    for i in range(6):
        if i == stop_after:
            raise StopError
        yield tokens(3, i), ["a", "b", "c"] if i % 2 else ["b", "a", None]


@pytest.mark.parametrize("stop_after", [1, 4])
def test_an_interrupted_collection_resumes_to_the_same_bits(network: Network, tmp_path: Path, stop_after: int):
    checkpoint = tmp_path / "checkpoint.safetensors"
    options = mt.CollectOptions(progress=False, checkpoint=checkpoint, checkpoint_seconds=0.0)
    arguments: dict[str, Any] = {"concepts": lambda batch: batch[1], "sites": "all"}
    whole = mt.collect(network, stream(), options=QUIET, **arguments)
    with pytest.raises(StopError):
        mt.collect(network, stream(stop_after), options=options, **arguments)
    with pytest.raises(ArtifactError, match="checkpoint of an unfinished collection"):
        mt.Moments.load(checkpoint)
    seen: list[int] = []
    handle = network.register_forward_pre_hook(lambda module, args: seen.append(1))
    resumed = mt.collect(network, stream(), options=options, **arguments)
    handle.remove()
    assert len(seen) == 6 - stop_after
    assert identical(resumed, whole)
    assert not checkpoint.exists()


def test_sharing_survives_a_resumption(tmp_path: Path):
    model, batches = tiny_llama(), [text_batch(2, seed=i) for i in range(4)]
    options = mt.CollectOptions(progress=False, checkpoint=tmp_path / "c", checkpoint_seconds=0.0)
    whole = mt.collect(model, {"a": batches[:2], "b": batches[2:]}, options=QUIET)

    def stopping() -> Any:
        yield batches[2]
        raise StopError

    with pytest.raises(StopError):
        mt.collect(model, {"a": batches[:2], "b": stopping()}, options=options)
    assert identical(mt.collect(model, {"a": batches[:2], "b": batches[2:]}, options=options), whole)


def test_a_checkpoint_of_something_else_is_refused(network: Network, tmp_path: Path):
    checkpoint = tmp_path / "c.safetensors"
    options = mt.CollectOptions(progress=False, checkpoint=checkpoint, checkpoint_seconds=0.0)
    arguments: dict[str, Any] = {"concepts": lambda batch: batch[1], "options": options}
    with pytest.raises(StopError):
        mt.collect(network, stream(2), sites="all", **arguments)
    other = Network()
    nn.init.zeros_(other.out.weight)
    for model, changes in ((other, {"sites": "all"}), (network, {"sites": ["out"]})):
        with pytest.raises(ArtifactError, match="not a checkpoint of this collection"):
            mt.collect(model, stream(), **changes, **arguments)
    moments_of(network, a=tokens(3, 0), b=tokens(4, 1)).save(checkpoint)
    with pytest.raises(ArtifactError, match="not a checkpoint of this collection"):
        mt.collect(network, stream(), sites="all", **arguments)
    checkpoint.write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="damaged"):
        mt.collect(network, stream(), sites="all", **arguments)


@pytest.mark.parametrize("again", [{"a": [3] * 4, "b": [6]}, {"x": [6, 6], "b": [6]}, {"a": [6]}])
def test_a_checkpoint_of_other_batches_is_refused(network: Network, tmp_path: Path, again: dict[str, list[int]]):
    options = mt.CollectOptions(progress=False, checkpoint=tmp_path / "c.safetensors", checkpoint_seconds=0.0)

    def stopping() -> Any:
        yield from (tokens(6, 0), tokens(6, 1))
        raise StopError

    with pytest.raises(StopError):
        mt.collect(network, {"a": stopping()}, options=options)
    others = {name: [tokens(size, i) for i, size in enumerate(sizes)] for name, sizes in again.items()}
    with pytest.raises(ArtifactError, match="collected from other batches"):
        mt.collect(network, others, options=options)
    with pytest.raises(ArtifactError, match="not a checkpoint of this collection"):
        mt.collect(network, {"a": stopping()}, options=replace(options, share_inputs=False))


INTERRUPTED = """
    import os, signal, sys
    import torch
    sys.path.insert(0, sys.argv[2])
    torch.set_num_threads(1)
    import mnemotomy as mt
    from helpers import Network
    stream = __import__("runpy").run_path(sys.argv[3])["stream"]

    def interrupting():
        for i, batch in enumerate(stream()):
            if i == 3:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    options = mt.CollectOptions(progress=False, checkpoint=sys.argv[1], checkpoint_seconds=1e9)
    mt.collect(Network(), interrupting(), concepts=lambda batch: batch[1], sites="all", options=options)
"""


def test_ctrl_c_leaves_a_checkpoint_that_resumes_to_the_same_bits(network: Network, tmp_path: Path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    here = str(Path(__file__).parents[1] / "support")
    command = [sys.executable, "-c", textwrap.dedent(INTERRUPTED), str(checkpoint), here, __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (-signal.SIGINT, 130, 1), done.stderr
    assert "KeyboardInterrupt" in done.stderr
    arguments: dict[str, Any] = {"concepts": lambda batch: batch[1], "sites": "all"}
    whole = mt.collect(network, stream(), options=QUIET, **arguments)
    seen: list[int] = []
    handle = network.register_forward_pre_hook(lambda module, args: seen.append(1))
    options = mt.CollectOptions(progress=False, checkpoint=checkpoint)
    assert identical(mt.collect(network, stream(), options=options, **arguments), whole)
    handle.remove()
    assert len(seen) == 2  # the fourth batch was finished before stopping


def in_a_group(rank: int, folder: str) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = Network()
    mine = {"a": [tokens(3, rank)], "b": [tokens(2, 5 + rank)]} | ({"c": [tokens(2, 9)]} if rank == 1 else {})
    options = mt.CollectOptions(
        progress=False, checkpoint=f"{folder}/c.safetensors", checkpoint_seconds=0.0, dtype=torch.float64
    )
    mt.collect(model, mine, sites="all", options=options).save(f"{folder}/{rank}.safetensors")
    nothing = {"a": [tokens(3, rank)] if rank == 0 else [], "b": [tokens(2, 5)] if rank == 0 else []}
    mt.collect(model, nothing, sites="all", options=options).save(f"{folder}/only{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_moments_are_summed_over_processes(network: Network, tmp_path: Path):
    torch.multiprocessing.spawn(in_a_group, args=(str(tmp_path),), nprocs=2)
    found = [mt.Moments.load(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    data = {"a": [tokens(3, 0), tokens(3, 1)], "b": [tokens(2, 5), tokens(2, 6)], "c": [tokens(2, 9)]}
    exact = mt.CollectOptions(progress=False, dtype=torch.float64)
    single = mt.collect(network, data, sites="all", options=exact)
    assert identical(*found)
    assert close(found[0], single)
    assert found[0].origin.examples == single.origin.examples
    only = [mt.Moments.load(tmp_path / f"only{rank}.safetensors") for rank in range(2)]
    assert identical(*only)
    alone = mt.collect(network, {"a": [tokens(3, 0)], "b": [tokens(2, 5)]}, sites="all", options=exact)
    assert close(only[0], alone)
