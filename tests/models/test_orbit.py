"""Views from where no camera stood: their geometry, what of a frame they may be held to, and that it helps."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.network.avatar_network import Drawn, View
from models.training.frames import FrameStore, stack_pictures, stack_views
from models.training.losses import GradientPyramid
from models.training.orbit import BEYOND_MESH, NEAR_DEG, Filmed, Orbits, trust, within
from models.training.parallel import Ranks
from models.training.trainer import Recipe, Trainer
from tests.models.conftest import trainer_of


def orbits_of(store: FrameStore) -> Orbits:
    return Orbits(store, torch.ones(1, 1, 4, 4), GradientPyramid(), 0.25, 0.2)


def trainer(store: FrameStore, orbit: float, ranks: Ranks | None = None) -> Trainer:
    return trainer_of(store, Recipe(steps=100, orbit_weight=orbit), ranks=ranks)


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

    def inner(source: tuple[torch.Tensor, torch.Tensor], covered: torch.Tensor, filmed: torch.Tensor) -> torch.Tensor:
        return trust(torch.stack(source, dim=-1)[None], covered, filmed)[0, 0, 4:-4, 4:-4]

    assert inner((x, y), everywhere, everywhere).unique().tolist() == pytest.approx([1], abs=1e-5)
    squeezed = inner((x * 0.5, y * 0.5), everywhere, everywhere)  # four pixels are made of one
    assert squeezed.mean().item() == pytest.approx(0.25, abs=1e-4)
    torn = torch.where(x < 0.5, x, x - 0.4)
    assert (inner((torn, y), everywhere, everywhere) == 0).any(dim=0).sum() == 2
    assert inner((x, y), nowhere, nowhere).mean().item() == pytest.approx(BEYOND_MESH, abs=1e-5)
    assert not inner((x, y), nowhere, everywhere).any(), "the mesh has gone elsewhere from there"


def test_only_what_is_well_within_an_outline_is_within() -> None:
    coverage = torch.zeros(1, 1, 100, 100)
    coverage[..., 20:100, 30:70] = 1  # to the frame's lower border, beyond which the body goes on
    expected = torch.zeros_like(coverage)
    expected[..., 22:100, 32:68] = 1
    assert torch.equal(within(coverage), expected)


def test_what_is_held_from_aside_becomes_like_it(store: FrameStore) -> None:
    """The same steps with and without the term, on views that neither has seen."""

    def errors(orbit: float) -> dict[str, float]:
        t = trainer(store, orbit)
        rows: list[dict[str, float]] = []
        assert t.run(100, lambda _, row: rows.append(row), lambda: False)
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


def test_paint_is_opaque_only_where_the_person_was(store: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a network that masks nothing away, what is hidden costs less the more of it is said to be opaque, where it
    is not deep within the outline."""
    monkeypatch.setattr("models.training.orbit.DEEP", 0.5)
    t, frames = trainer(store, 1.0), [store.sample(i) for i in (5, 40)]
    network, rng = t.network.eval(), np.random.default_rng(5)
    costs = []
    with torch.no_grad():
        merged, view = network.texture.merged(), stack_views(frames)
        drawn = network.draw(view, network.sample(view, merged))
        ones = torch.ones_like(drawn.cache.mask)
        filmed = Filmed(frames, view, drawn.cache._replace(mask=0 * ones), drawn.features, stack_pictures(frames))
        aside = [orbits_of(store).sample(i, f, False, rng) for i, f in zip((5, 40), frames, strict=True)]
        masked = network.draw

        def opaque_draw(view: View, sampled: torch.Tensor) -> Drawn:
            found = masked(view, sampled)
            return found._replace(output=found.output._replace(mask=ones))

        network.draw = opaque_draw  # type: ignore[method-assign]
        for opaque in (0.0, 0.5, 1.0):
            orbits = Orbits(store, torch.full((1, 1, 4, 4), opaque), NoPerceptual(), 0.0, 100.0)
            far = orbits.losses(network, aside, [False, False], filmed, merged, lambda *_: merged.sum() * 0)
            costs.append(far["orbit.G"].item())
    assert costs[0] > costs[1] > costs[2], costs


def test_a_head_has_no_holes(store: FrameStore) -> None:
    """A frame that has seen background through all of the mesh still asks for a head, but for its rim."""
    t, frame = trainer(store, 1.0), store.sample(5)
    network, view = t.network.eval(), stack_views([frame])
    aside = orbits_of(store).sample(5, frame, False, np.random.default_rng(5))
    nothing_opaque = Orbits(store, torch.zeros(1, 1, 4, 4), NoPerceptual(), 0.0, 100.0)
    with torch.no_grad():
        merged = network.texture.merged()
        drawn = network.draw(view, network.sample(view, merged))
        hollow = drawn.cache._replace(mask=torch.zeros_like(drawn.cache.mask))
        filmed = Filmed([frame], view, hollow, drawn.features, stack_pictures([frame]))
        coverage = torch.from_numpy(aside.raster.coverage)[None, None].float()
        draw, costs = network.draw, []
        for mask in (torch.zeros_like(coverage), within(coverage), coverage):

            def masked(view: View, sampled: torch.Tensor, mask: torch.Tensor = mask) -> Drawn:
                found = draw(view, sampled)
                return found._replace(output=found.output._replace(mask=mask))

            network.draw = masked  # type: ignore[method-assign]
            far = nothing_opaque.losses(network, [aside], [False], filmed, merged, lambda *_: merged.sum() * 0)
            costs.append(far["orbit.G"].item())
    hole, solid, wide = costs
    assert solid < 0.1 * hole and solid < 0.5 * wide, costs


def test_two_processes_have_the_losses_of_one(store: FrameStore) -> None:
    """One has the far view, the other the near one."""
    whole = trainer(store, 1.0).step()
    parts = [trainer(store, 1.0, Alone(rank, 2)).step() for rank in range(2)]
    for name in ("orbit.G", "orbit.own", "orbit.W", "orbit.back"):
        assert np.mean([part[name] for part in parts]) == pytest.approx(whole[name], rel=2e-3), name
        assert min(part[name] for part in parts) == 0


class NoPerceptual:
    name = "none"

    def __call__(self, picture: torch.Tensor, truth: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        return picture.new_zeros(())


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
