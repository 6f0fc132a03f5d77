"""What counts for more in training: the face's box, and the eyeballs where they are seen."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.training.emphasis import emphasis
from models.training.frames import FrameStore, stack_pictures, stack_views
from models.training.trainer import Recipe
from tests.models.conftest import trainer_of

FACE, EYES = 0.5, 4.0


@pytest.fixture
def eyes(store: FrameStore) -> np.ndarray:
    """Triangles of the subject with an eyeball: what of its front lies close to where one would be."""
    rig = store.rig
    ball = np.flatnonzero(np.linalg.norm(rig.neutral - rig.eye_centers[0], axis=1) < 0.03)
    some, _ = replace(rig, regions={**rig.regions, "eye_left": ball.astype(np.int32)}).eyeballs
    assert 4 < some.sum() < 0.1 * len(some)
    assert np.isin(rig.triangles[some], ball).all(), "and no lid"
    return some


def test_seen_eyeballs_and_their_edge_count_for_more(store: FrameStore, eyes: np.ndarray) -> None:
    samples = [store.sample(i) for i in (5, 40)]
    weight = emphasis(samples, eyes, FACE, EYES)
    for k, sample in enumerate(samples):
        x0, y0, x1, y1 = sample.box
        box = np.zeros_like(sample.raster.coverage)
        box[y0:y1, x0:x1] = True
        ball = eyes[sample.raster.triangle] & sample.raster.coverage
        assert 4 < ball.sum() < 0.1 * ball.size
        row, column = np.nonzero(ball)
        edge = np.zeros_like(ball)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                edge[row + dy, column + dx] = True
        np.testing.assert_allclose(weight[k, 0].numpy(), 1 + FACE * box + EYES * edge)
    shut = emphasis(samples, np.zeros_like(eyes), FACE, EYES)
    assert shut.max() == 1 + FACE, "nothing of the eyes is seen"


def test_training_gives_the_eyes_more(store: FrameStore, eyes: np.ndarray) -> None:
    """Beside the same steps without: the same frames' eyeballs are drawn nearer to the truth."""
    errors = []
    for weight in (0.0, 30.0):
        trainer = trainer_of(store, Recipe(steps=60, eye_weight=weight))
        trainer._eyes = eyes
        assert trainer.run(60, lambda *_: None, lambda: False)
        network, samples = trainer.network.eval(), [store.sample(i) for i in (5, 20, 40, 70)]
        with torch.no_grad():
            merged = network.texture.merged()
            ball = emphasis(samples, eyes, 0.0, 1.0) - 1
            view, pictures = stack_views(samples), stack_pictures(samples)
            drawn = network.draw(view, network.sample(view, merged)).output.rgb
            errors.append((((drawn - pictures.image) ** 2 * ball).sum() / ball.sum()).item())
    assert errors[1] < 0.9 * errors[0], errors
