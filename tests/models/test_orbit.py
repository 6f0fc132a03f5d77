"""Views from where no camera stood: their geometry, what of a frame they may be held to, and that it helps."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from models.network.warp import move
from models.training.frames import FrameStore, stack_pictures, stack_views
from models.training.losses import GradientPyramid
from models.training.orbit import BADLY, BEYOND_MESH, NEAR_DEG, PAINTED, Filmed, Orbits, inner, mended, trust
from models.training.parallel import Ranks
from models.training.trainer import Recipe, Trainer
from tests.models.conftest import trainer_of

STEPS = 250  # until G has caught up with the warp, whose pictures are its teacher aside


def orbits_of(store: FrameStore) -> Orbits:
    return Orbits(store, GradientPyramid(), 0.25, 0.2)


def trainer(store: FrameStore, orbit: float, ranks: Ranks | None = None) -> Trainer:
    return trainer_of(store, Recipe(steps=STEPS, orbit_weight=orbit), ranks=ranks)


def degrees_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def test_a_view_from_aside_is_of_the_same_head_from_as_far_away(store: FrameStore) -> None:
    orbits, frame, rng = orbits_of(store), store.sample(7), np.random.default_rng(0)
    for near in (True, False):
        turns = []
        for _ in range(10):
            aside = orbits.sample(7, frame, near, rng)
            turns.append(degrees_between(aside.view.direction, frame.view.direction))
            np.testing.assert_array_equal(aside.view.state[:52], frame.view.state[:52])
            middle = [float(np.median(view.pixels[:, 2])) for view in (aside.view, frame.view)]
            assert middle[0] == pytest.approx(middle[1], rel=0.02), "it is as far away"
            np.testing.assert_array_equal(aside.image, frame.image)
            drawn = aside.raster.coverage
            assert 0.2 < drawn.mean() < 0.9 and (drawn != frame.raster.coverage).any()
            # only views that the clip does not show are worth holding G to what the mesh makes of a frame
            assert near or orbits._beyond(aside.view.direction)
        assert max(turns) < np.hypot(*NEAR_DEG) + 0.1 if near else max(turns) > max(NEAR_DEG)


def test_trust_is_for_what_a_frame_shows_well() -> None:
    at = (torch.arange(32) + 0.5) / 32
    y, x = torch.meshgrid(at, at, indexing="ij")
    everywhere, nowhere = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)

    def within(source: tuple[torch.Tensor, torch.Tensor], covered: torch.Tensor, filmed: torch.Tensor) -> torch.Tensor:
        return trust(torch.stack(source, dim=-1)[None], covered, filmed)[0, 0, 4:-4, 4:-4]

    assert within((x, y), everywhere, everywhere).unique().tolist() == pytest.approx([1], abs=1e-5)
    squeezed = within((x * 0.5, y * 0.5), everywhere, everywhere)  # four pixels are made of one
    assert squeezed.mean().item() == pytest.approx(0.25, abs=1e-4)
    torn = torch.where(x < 0.5, x, x - 0.4)
    assert (within((torn, y), everywhere, everywhere) == 0).any(dim=0).sum() == 2
    assert within((x, y), nowhere, nowhere).mean().item() == pytest.approx(BEYOND_MESH, abs=1e-5)
    assert not within((x, y), nowhere, everywhere).any(), "the mesh has gone elsewhere from there"


def test_only_what_is_deep_within_an_outline_is_inner() -> None:
    coverage = torch.zeros(1, 1, 100, 100)
    coverage[..., 20:100, 30:70] = 1  # to the frame's lower border, beyond which the body goes on
    expected = torch.zeros_like(coverage)
    expected[..., 22:100, 32:68] = 1
    assert torch.equal(inner(coverage), expected)


def test_cracks_are_mended_and_nothing_else() -> None:
    values = torch.ones(1, 1, 40, 40)
    values[..., 10:14, :] = 0.2  # four pixels
    values[..., 25:, :] = 0.4  # and a region of its own
    expected = torch.ones_like(values)
    expected[..., 25:, :] = 0.4
    assert torch.equal(mended(values), expected)


def test_what_is_held_from_aside_becomes_like_it(store: FrameStore) -> None:
    """The same steps with and without the term, on views that neither has seen."""

    def errors(orbit: float) -> dict[str, float]:
        t = trainer(store, orbit)
        rows: list[dict[str, float]] = []
        assert t.run(STEPS, lambda _, row: rows.append(row), lambda: False)
        assert ("orbit.G" in rows[0]) == (orbit > 0)
        if orbit:
            assert all(rows[0][name] > 0 for name in ("orbit.G", "orbit.own", "orbit.W", "orbit.back"))
        network, rng, judge = t.network.eval(), np.random.default_rng(5), orbits_of(store)
        frames = [store.sample(i) for i in (5, 20, 40, 70, 90, 100)]
        near = [False, False, False, True, True, True]
        aside = [judge.sample(i, f, n, rng) for i, f, n in zip((5, 20, 40, 70, 90, 100), frames, near, strict=True)]
        with torch.no_grad():
            merged, view = network.texture.merged(), stack_views(frames)
            drawn = network.draw(view, network.sample(view, merged))
            filmed = Filmed(frames, view, drawn.cache, drawn.features, stack_pictures(frames))
            found = judge.losses(network, aside, near, filmed, merged, lambda rgb, mask, index: rgb.sum() * 0)
        return {name: float(value) for name, value in found.items()}

    without, held = errors(0.0), errors(2.0)
    assert held["orbit.G"] < 0.9 * without["orbit.G"]
    assert held["orbit.own"] < 0.9 * without["orbit.own"], "W undoes what G draws there"
    assert held["orbit.W"] < without["orbit.W"]


def test_w_learns_from_far_aside_too(store: FrameStore) -> None:
    """Else it would undo what G has learned to draw there."""
    t, frame = trainer(store, 1.0), store.sample(5)
    network, view = t.network, stack_views([frame])
    merged = network.texture.merged()
    drawn = network.draw(view, network.sample(view, merged))
    filmed = Filmed([frame], view, drawn.cache, drawn.features, stack_pictures([frame]))
    aside = orbits_of(store).sample(5, frame, False, np.random.default_rng(5))
    losses = orbits_of(store).losses(network, [aside], [False], filmed, merged, lambda *_: merged.sum() * 0)
    weights = [p for name, p in network.named_parameters() if name.startswith("warp.residual")]
    assert weights and all(g.any() for g in torch.autograd.grad(losses["orbit.own"], weights))


def test_w_is_held_to_what_it_makes_of_the_newest_cache_not_to_g(store: FrameStore) -> None:
    """A warp that mends G everywhere by the same colour is right aside as well, near and far."""
    t, frame = trainer(store, 1.0), store.sample(5)
    network, view = t.network.eval(), stack_views([frame])
    still = Mock(np.random.Generator, uniform=Mock(return_value=np.zeros(2)))
    orbits = orbits_of(store)
    near, far = orbits.sample(5, frame, True, still), orbits.sample(5, frame, False, np.random.default_rng(5))
    with torch.no_grad():
        merged = network.texture.merged()
        drawn = network.draw(view, network.sample(view, merged))
        filmed = Filmed([frame], view, drawn.cache, drawn.features, stack_pictures([frame]))
        for mended_by in (0.0, 0.2):
            network.warp.residual.bias[:12] = mended_by  # type: ignore[union-attr,index]
            seen = orbits.losses(network, [near], [True], filmed, merged, lambda *_: merged.sum() * 0)
            assert seen["orbit.W"] < 1e-3, mended_by
            wanted = orbits._wanted(network, orbits._view([far], merged), drawn.features, [far], filmed, merged)[0]
            if not mended_by:
                plain = wanted
        assert (wanted - plain).mean() > 0.02, "the frame's picture aside is the mended one"


def test_a_head_has_no_holes_and_no_ghosts_at_its_rim(store: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame whose person does not fill the mesh says where the outline is only where it shows the surface well. What
    lies deep, and what has turned into view, is a whole head up to the mesh's edge, and is painted."""
    monkeypatch.setattr("models.training.orbit.DEEP", 0.06)  # some pixels
    t, frame = trainer(store, 1.0), store.sample(5)
    network, view = t.network.eval(), stack_views([frame])
    orbits = orbits_of(store)
    farthest = Mock(np.random.Generator, uniform=Mock(return_value=np.array([1.0, 0.0])))
    aside = orbits.sample(5, frame, False, farthest)
    with torch.no_grad():
        merged = network.texture.merged()
        drawn = network.draw(view, network.sample(view, merged))
        source, hidden = orbits._motion([frame], [aside], merged)
        seen = orbits._view([aside], merged)
        covered = seen.coverage > 0
        shown = mended(trust(source, seen.coverage, view.coverage))
        badly = covered & (shown < BADLY) & (hidden == 0) & (inner(seen.coverage) == 0)
        assert badly.sum() > 10
        for person in (torch.zeros_like(view.coverage), inner(inner(view.coverage)), torch.ones_like(view.coverage)):
            cache = drawn.cache._replace(mask=person)
            filmed = Filmed([frame], view, cache, drawn.features, stack_pictures([frame]))
            _, mask, weight, painted = orbits._wanted(network, seen, drawn.features, [aside], filmed, merged)
            whole = (mask >= 0.5) & covered
            assert whole[inner(seen.coverage) > 0].all(), "a hole"
            assert whole[badly].all() or person.all(), "a gap in what has turned into view"
            assert (weight[painted == 1] == PAINTED).all()
            assert torch.equal(mask[covered], mended(mask)[covered]), "a crack"
            rim = covered & (inner(seen.coverage) == 0) & (shown >= BADLY) & (hidden == 0)
            assert rim.sum() > 20 and (mask[rim].mean() > 0.9) == bool(person.all()), "a rim that the frame shows well"
            if person.all():
                assert ((painted > 0) == ((hidden > 0) & covered)).all(), "painted though the frame shows it"
        filmed = Filmed(
            [frame], view, drawn.cache._replace(mask=view.coverage), drawn.features, stack_pictures([frame])
        )
        *_, painted = orbits._wanted(network, seen, drawn.features, [aside], filmed, merged)
        at_edge = badly & (move(view.coverage, source) >= 0.5) & (move(inner(view.coverage), source) < 0.5)
        assert at_edge.sum() > 3 and (painted[at_edge] == 1).all(), "the frame's own outline is carried along"


def test_two_processes_have_the_losses_of_one(store: FrameStore) -> None:
    """One has the far view, the other the near one."""
    whole = trainer(store, 1.0).step()
    parts = [trainer(store, 1.0, Alone(rank, 2)).step() for rank in range(2)]
    for name in ("orbit.G", "orbit.own", "orbit.W", "orbit.back"):
        assert np.mean([part[name] for part in parts]) == pytest.approx(whole[name], rel=2e-3), name
        assert min(part[name] for part in parts) == 0


class Alone(Ranks):
    """A process of several that hears of no other."""

    def average(self, values: list[torch.Tensor]) -> None:
        pass


def test_a_resumed_run_equals_an_uninterrupted_one(store: FrameStore, tmp_path: Path) -> None:
    def run(t: Trainer, until: int) -> list[float]:
        losses: list[float] = []
        assert t.run(until, lambda _, row: losses.append(row["total"]), lambda: False)
        return losses

    straight = run(trainer(store, 1.0), 4)
    first = trainer(store, 1.0)
    begun = run(first, 2)
    first.save(tmp_path / "c.safetensors")
    second = trainer(store, 1.0)
    second.resume(tmp_path / "c.safetensors")
    assert begun + run(second, 4) == pytest.approx(straight, rel=1e-6)
