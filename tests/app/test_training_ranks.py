"""Several processes train as one does with all their pairs: under torchrun, on two gloo processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.network.config import NetworkConfig
from models.tensor_file import read_tensor_file
from models.track_file import save_track
from models.training.checkpoint import KIND, MAX_BYTES
from models.training.frames import FrameStore
from models.training.losses import GradientPyramid
from models.training.parallel import join_ranks
from models.training.splits import make_split
from models.training.trainer import Recipe, Trainer
from renderer.raster import make_rasterizer
from tests.synthetic_subject import film

ROOT = Path(__file__).resolve().parents[2]
STEPS = 4
# float32 and fast: after four steps gradients that were not averaged would show in every weight
RECIPE = Recipe(steps=STEPS, pairs=2, rate=0.1, texture_rate=0.5, half=False)
CONFIG = NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)


def train(folder: Path, checkpoint: Path) -> int:
    """What each process runs; also by itself."""
    from app.training_loop import train_until
    from models.track_file import load_track

    torch.set_num_threads(1)
    track = load_track(folder / "ball.track")
    store = FrameStore(track, folder / "ball.mp4", 64, make_rasterizer())
    ranks = join_ranks("cpu")
    split = make_split("blocks", track.segment)
    trainer = Trainer(store, split, CONFIG, RECIPE, GradientPyramid(), torch.device("cpu"), ranks)
    code = train_until(trainer, STEPS, checkpoint.with_name(f"{checkpoint.name}.{ranks.rank}"))
    ranks.leave()
    return code


@pytest.mark.timeout(900)
def test_two_processes_train_as_one_with_all_their_pairs(tmp_path: Path) -> None:
    track, _ = film(tmp_path, frames=84, side=64)
    save_track(tmp_path / "ball.track", track)
    assert train(tmp_path, tmp_path / "alone") == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "both.py"
    script.write_text(
        "import sys; from pathlib import Path; from tests.app.test_training_ranks import train\n"
        "sys.exit(train(Path(sys.argv[1]), Path(sys.argv[2])))\n"
    )
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), str(script), str(tmp_path), str(tmp_path / "both"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "both.1").exists(), "the first process alone writes"
    (a, one), (b, two) = (read_tensor_file(tmp_path / name, KIND, MAX_BYTES) for name in ("alone.0", "both.0"))
    assert two["log"] == [pytest.approx(entry, rel=1e-3) for entry in one["log"]] and len(one["log"]) == 1
    for name in a:
        if name.startswith("network."):
            spread = float(a[name].std()) + 1e-3
            assert abs(a[name] - b[name]).mean() < 0.02 * spread, name
