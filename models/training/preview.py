"""Preview pictures during training: input, G, warp 1x, warp 2x side by side."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.offline import draw_frame, warp_frame
from models.network.avatar_network import AvatarNetwork
from models.training.frames import FrameStore
from models.training.splits import pairs_at


@torch.inference_mode()
def preview(
    network: AvatarNetwork, store: FrameStore, indices: np.ndarray, block: np.ndarray, rows: int = 3
) -> NDArray[np.uint8]:
    """[rows * S, 4 * S, 3] uint8: for frames spread over `indices`, the truth, G, and the warps over distance 1 and 2.
    A column without a warp repeats G."""
    network.eval()
    second = dict(pairs_at(indices, block, 2)[:, ::-1].tolist())
    first = dict(pairs_at(indices, block, 1)[:, ::-1].tolist())
    both = sorted(set(first) & set(second)) or indices.tolist()
    lines = []
    for i in np.array(both)[np.linspace(0, len(both) - 1, rows).astype(int)].tolist():
        target = draw_frame(network, store, i)
        line = [target.truth, target.g]
        for partner in (first.get(i), second.get(i)):
            if partner is None or network.warp is None:
                line.append(target.g)
            else:
                line.append(warp_frame(network, store, draw_frame(network, store, partner), target)["warp"])
        lines.append(torch.cat(line, dim=2))
    picture = torch.cat(lines, dim=1).clamp(0, 1).permute(1, 2, 0)
    return (picture * 255 + 0.5).to(torch.uint8).numpy()
