from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import UserError
from models.evaluation.offline import draw_frame, evaluate, late_frame, warp_frame
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.network.warp import Cache, MotionWarp, Target, WarpOutput
from models.training.frames import FrameStore, stack_views
from models.training.losses import GradientPyramid, VggPerceptual, masked_l1
from models.training.parallel import Ranks
from models.training.splits import BLOCK, make_split, pairs_at
from models.training.trainer import Recipe, Trainer
from tests.models.conftest import CONFIG, trainer_of


def trainer(store: FrameStore, steps: int, config: NetworkConfig = CONFIG) -> Trainer:
    return trainer_of(store, Recipe(steps=steps), config)


def run(t: Trainer, until: int) -> list[float]:
    losses: list[float] = []
    assert t.run(until, lambda _, row: losses.append(row["total"]), lambda: False)
    return losses


def test_splits_share_no_frame_and_blocks_are_dealt() -> None:
    segment = np.zeros(40 * BLOCK, np.int32)
    split = make_split("blocks", segment)
    parts = [set(p.tolist()) for p in (split.train, split.validation, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    assert set.union(*parts) == set(range(len(segment)))
    assert [len(p) for p in parts] == [28 * BLOCK, 6 * BLOCK, 6 * BLOCK]
    tail = make_split("tail", segment)
    assert tail.test.min() == len(tail.train) and len(tail.test) == pytest.approx(0.15 * len(segment), abs=1)
    with pytest.raises(UserError, match="only 41"):
        make_split("most", segment[:41])


def test_pairs_stay_in_their_block_and_run() -> None:
    segment = np.repeat([0, 1], 63).astype(np.int32)
    split = make_split("blocks", segment)
    for distance in (1, 8, -3):
        pairs = pairs_at(split.train, split.block, distance)
        assert len(pairs) and (pairs[:, 1] - pairs[:, 0] == distance).all()
        assert (split.block[pairs[:, 0]] == split.block[pairs[:, 1]]).all()
        assert np.isin(pairs, split.train).all()


def test_samples_show_the_head_where_the_mesh_is(store: FrameStore) -> None:
    """The crop of the picture and the raster of the mesh agree: the matte is the coverage, to a pixel's border."""
    for sample in (store.sample(7), store.jittered(20, np.random.default_rng(0), shift=0.1, zoom=0.2)):
        matte, covered = sample.matte > 127, sample.raster.coverage
        overlap = (matte & covered).sum() / (matte | covered).sum()
        assert overlap > 0.96
        x0, y0, x1, y1 = sample.box
        assert covered[y0:y1, x0:x1].mean() > 0.5


def test_the_texture_is_held_small(store: FrameStore) -> None:
    t = trainer(store, 10)
    expected = float(t.network.texture.decay().detach())
    assert expected > 0 and t.step()["decay"] == pytest.approx(expected)


def test_training_learns_and_the_warp_beats_the_late_frame(store: FrameStore) -> None:
    t = trainer(store, 160)
    losses = run(t, 160)
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])
    rows = evaluate(t.average, store, t.split.test, t.split.block, distances=(0, 1, 2, 4))
    assert rows["G"]["psnr"] > 20
    for d, gain in ((1, 0.2), (2, 1.0), (4, 2.0)):
        assert rows[f"warp_d{d}"]["face"]["psnr"] > rows[f"late_{d}"]["face"]["psnr"] + gain
    assert rows["warp_2x"]["frames"] == rows["warp_d1"]["frames"] + rows["warp_d2"]["frames"]
    # from its own cache: nothing moves, and the mesh's motion alone is G's picture
    assert rows["warp_d0"]["frames"] == rows["G"]["frames"] and "late_0" not in rows
    assert rows["mesh_d0"]["psnr"] == pytest.approx(rows["G"]["psnr"], abs=0.01)
    assert rows["mesh_d0"]["to_g_face_psnr"] > 60 > rows["warp_d0"]["to_g_face_psnr"]


@pytest.mark.parametrize("kind", ["motion", "published", "past", "none"])
def test_a_resumed_run_equals_an_uninterrupted_one(store: FrameStore, tmp_path: Path, kind: str) -> None:
    config = replace(CONFIG, warp=kind)
    whole = trainer(store, 8, config)
    straight = run(whole, 8)
    first = trainer(store, 8, config)
    begun = run(first, 3)
    first.save(tmp_path / "c.safetensors")
    second = trainer(store, 8, config)
    second.resume(tmp_path / "c.safetensors")
    assert begun + run(second, 8) == pytest.approx(straight, rel=1e-6)
    for a, b in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_other_settings_is_refused(store: FrameStore, tmp_path: Path) -> None:
    trainer(store, 8).save(tmp_path / "c.safetensors")
    with pytest.raises(UserError, match="other settings.*recipe"):
        trainer(store, 9).resume(tmp_path / "c.safetensors")
    with pytest.raises(UserError, match="does not exist"):
        trainer(store, 8).resume(tmp_path / "none.safetensors")


def test_a_training_starts_from_an_avatars_weights(store: FrameStore) -> None:
    """The first picture is the avatar's, so the first loss is far below that of fresh weights."""
    learnt = trainer(store, 60)
    losses = run(learnt, 60)
    split = make_split("blocks", store.track.segment)

    def again(config: NetworkConfig) -> Trainer:
        pyramid, cpu = GradientPyramid(), torch.device("cpu")
        return Trainer(store, split, config, Recipe(steps=60), pyramid, cpu, start=learnt.average)

    second = again(CONFIG)
    for a, b in zip(second.network.parameters(), learnt.average.parameters(), strict=True):
        assert torch.equal(a, b)
    assert second.step()["total"] < 0.7 * losses[0]
    other, fresh = again(replace(CONFIG, warp_leaky=False)), trainer(store, 60)
    for part, begun in (("texture", learnt.average), ("generator", learnt.average), ("warp", fresh.network)):
        for a, b in zip(getattr(other.network, part).parameters(), getattr(begun, part).parameters(), strict=True):
            assert torch.equal(a, b), part
    with pytest.raises(UserError, match="other networks"):
        again(replace(CONFIG, width=16))


def test_the_warp_alone_learns_on_from_an_avatar(store: FrameStore) -> None:
    """Begun with warp and F5 as they are, and with views from aside, while texture and G's picture stay."""
    first = trainer(store, 30)
    run(first, 30)
    start = first.average
    recipe, split = Recipe(steps=30, orbit_weight=0.5), make_split("blocks", store.track.segment)
    t = Trainer(store, split, CONFIG, recipe, GradientPyramid(), torch.device("cpu"), shared=start, start=start)
    assert all(torch.equal(a, b) for a, b in zip(t.network.parameters(), start.parameters(), strict=True))
    losses = [t.step() for _ in range(30)]
    assert {"W.colour", "steady", "orbit.W", "orbit.own"} <= losses[0].keys()
    assert not {"G.colour", "texture", "decay", "unseen"} & losses[0].keys()
    with torch.inference_mode():
        before, after = draw_frame(start.eval(), store, 3), draw_frame(t.average, store, 3)
    assert torch.equal(after.g, before.g)
    assert not torch.equal(after.drawn.cache.f5, before.drawn.cache.f5)
    test, block = split.test, split.block
    was, now = (evaluate(n, store, test, block, distances=(1, 4))["warp_d4"]["psnr"] for n in (start, t.average))
    assert now > was


def test_the_same_seed_gives_the_same_losses(store: FrameStore) -> None:
    assert run(trainer(store, 4), 4) == run(trainer(store, 4), 4)


def test_late_frame_of_the_same_frame_is_itself(store: FrameStore) -> None:
    network = trainer(store, 1).average
    with torch.inference_mode():
        frame = draw_frame(network, store, 10)
        torch.testing.assert_close(late_frame(frame, frame), frame.g, atol=2e-2, rtol=0)
        moved = late_frame(draw_frame(network, store, 4), frame)
    assert moved.shape == frame.g.shape and not torch.allclose(moved, frame.g, atol=2e-2)


def test_a_late_frame_stays_where_it_was_in_the_video(store: FrameStore) -> None:
    """Cut out by another window, the same picture of the video lies elsewhere: a late frame follows the window."""
    network = trainer(store, 1).average.eval()
    with torch.inference_mode():
        target = draw_frame(network, store, 5)
        shifted = store.jittered(5, np.random.default_rng(1), shift=0.15)
        picture = torch.from_numpy(shifted.image).permute(2, 0, 1).float() / 255
        late = late_frame(target._replace(sample=shifted, g=picture), target)
    inner = (slice(None), slice(16, 48), slice(16, 48))
    assert (late - target.truth)[inner].abs().mean() < 0.3 * (picture - target.truth)[inner].abs().mean()


def test_pairs_of_frames_go_both_ways_in_time(store: FrameStore) -> None:
    t = trainer(store, 1)
    gaps = [b - a for a, b in (t.choose(np.random.default_rng(seed)) for seed in range(80))]
    assert min(gaps) < -3 and max(gaps) > 3 and max(map(abs, gaps)) <= t.recipe.gaps


def test_losses_vanish_for_equal_pictures_and_ignore_the_outside() -> None:
    a, inside = torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)
    inside[..., 16:] = 0
    b = a.clone()
    b[..., 16:] = 0
    assert masked_l1(a, b, inside) == 0 and GradientPyramid()(a, b, inside) == 0
    assert masked_l1(a, a + 0.25, inside) == pytest.approx(0.25), "a mean over channels and weighted pixels"
    assert masked_l1(a, 1 - b, inside) > 0 and GradientPyramid()(a, 1 - b, inside) > 0


def test_vgg_weights_are_read_as_tensors_only(tmp_path: Path) -> None:
    vgg = object.__new__(VggPerceptual)
    bad = tmp_path / "vgg16.pth"
    bad.write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(UserError, match="vgg16.pth is not a VGG16"):
        VggPerceptual.__init__(vgg, bad)
    good = tmp_path / "good.pth"
    layers: dict[str, torch.Tensor] = {}
    channels, k = 3, 0
    for item in (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512):
        if item == "M":
            k += 1
            continue
        layers[f"features.{k}.weight"] = torch.randn(int(item), channels, 3, 3) * (2 / (9 * channels)) ** 0.5
        layers[f"features.{k}.bias"] = torch.zeros(int(item))
        channels, k = int(item), k + 2
    torch.save(layers, good)
    loss = VggPerceptual(good)
    a, inside = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert loss(a, a, inside) == 0 and loss(a, 1 - a, inside) > 0


@pytest.mark.parametrize("kind", ["motion", "published", "resnet", "transposed"])
def test_on_a_shared_g_only_the_warp_and_f5_learn(store: FrameStore, kind: str) -> None:
    extra = {"resnet": {"backbone": "resnet"}, "transposed": {"upsampling": "transposed"}}.get(kind, {})
    config = replace(CONFIG, **extra, warp="published" if kind == "published" else "motion")
    shared = trainer(store, 2, replace(config, warp="none")).average
    for parameter in shared.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    t = Trainer(store, make_split("blocks", store.track.segment), config, Recipe(steps=3), GradientPyramid(),
                torch.device("cpu"), shared=shared)  # fmt: skip
    with torch.inference_mode():
        before, expected = draw_frame(t.network.eval(), store, 3), draw_frame(shared.eval(), store, 3)
    bias = f"up.{len(shared.generator.up) - 1}.conv.bias"
    own, theirs = (n.generator.get_parameter(bias).detach()[4:] for n in (t.network, shared))
    assert len(own) and not torch.equal(own, theirs), "F5 begins anew"
    losses = t.step()
    t.step()
    assert not any(name.startswith("G.") or name in ("texture", "decay") for name in losses)
    with torch.inference_mode():
        after, mean = draw_frame(t.network.eval(), store, 3), draw_frame(t.average, store, 3)
    assert torch.equal(after.g, expected.g) and torch.equal(mean.g, expected.g), "its picture is kept bit for bit"
    assert torch.equal(after.drawn.cache.f4, before.drawn.cache.f4)
    torch.manual_seed(0)
    fresh = AvatarNetwork(config)
    assert t.network.warp is not None and fresh.warp is not None
    moved = [not torch.equal(a, b) for a, b in zip(t.network.warp.parameters(), fresh.warp.parameters(), strict=True)]
    assert sum(moved) > len(moved) / 2
    if kind == "motion":  # its first step only reaches the residual's zeros; F5 follows from the second on
        assert not torch.equal(after.drawn.cache.f5, before.drawn.cache.f5)


def test_a_shared_g_must_have_the_same_shape(store: FrameStore) -> None:
    shared = trainer(store, 2, replace(CONFIG, warp="none", detail=False)).average
    split = make_split("blocks", store.track.segment)
    for config, says in ((CONFIG, "detail False where True is wanted"), (replace(CONFIG, warp="none"), "nothing to")):
        with pytest.raises(UserError, match=says):
            Trainer(store, split, config, Recipe(), GradientPyramid(), torch.device("cpu"), shared=shared)


def test_what_two_processes_see_is_what_one_would_have_seen(store: FrameStore) -> None:
    whole = trainer(store, 1)
    samples, noise, _, _ = whole.samples()
    n = len(samples) // 2
    for rank in range(2):
        part = Trainer(store, whole.split, CONFIG, Recipe(steps=1), GradientPyramid(), torch.device("cpu"),
                       Ranks(rank, 2))  # fmt: skip
        mine, its_noise, _, _ = part.samples()
        assert [s.view.crop for s in mine] == [samples[rank].view.crop, samples[n + rank].view.crop]
        assert torch.equal(its_noise, noise[[rank, n + rank]])
    with pytest.raises(UserError, match="2 pairs per step on 3 processes: give --pairs a multiple"):
        Ranks(0, 3).share(2)


def test_a_track_without_consecutive_frames_trains_no_warp(store: FrameStore) -> None:
    lonely = replace(make_split("blocks", store.track.segment), block=np.arange(len(store.track)))
    with pytest.raises(UserError, match="longer uninterrupted"):
        Trainer(store, lonely, CONFIG, Recipe(), GradientPyramid(), torch.device("cpu"))


def test_a_steady_warp_depends_less_on_its_cache(store: FrameStore) -> None:
    """The same steps with and without the term: what one frame's pictures from two caches differ by."""
    split = make_split("blocks", store.track.segment)

    @torch.inference_mode()
    def jump(weight: float) -> float:
        with torch.inference_mode(False):
            recipe = Recipe(steps=60, steady_weight=weight)
            t = Trainer(store, split, CONFIG, recipe, GradientPyramid(), torch.device("cpu"))
            assert t.run(60, lambda _, row: None, lambda: False)
            assert ("steady" in t.log[-1]) == (weight > 0)
        network, total = t.network.eval(), 0.0
        for b in split.test[4:12].tolist():
            near, far, target = (draw_frame(network, store, i) for i in (b - 1, b - 4, b))
            one, other = (warp_frame(network, store, cached, target)["warp"] for cached in (near, far))
            total += float((one - other).abs().mean())
        return total

    assert jump(4.0) < 0.9 * jump(0.0)


def test_steadiness_compares_pictures_of_one_frame(store: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warp whose picture tells which frame it was asked for, and nothing of the cache, is steady already."""
    t = trainer(store, 1)

    def told(cache: Cache, target: Target) -> WarpOutput:
        shade = target.state.sum(dim=1).sigmoid()[:, None, None, None] + 0 * cache.rgb
        return WarpOutput(shade, torch.ones_like(cache.mask))

    monkeypatch.setattr(t.network, "redraw", told)
    assert t.step()["steady"] == 0


def test_only_a_warp_that_moves_its_cache_is_held_steady(store: FrameStore) -> None:
    t = trainer(store, 1, replace(CONFIG, warp="published"))
    assert "steady" not in t.step()


@torch.inference_mode()
def test_a_frame_is_the_still_target_of_its_own_cache(store: FrameStore) -> None:
    network = AvatarNetwork(CONFIG).eval()
    view = stack_views([store.sample(5)])
    drawn = network.draw(view, network.sample(view))
    target = network.still(view, drawn.features)
    assert isinstance(network.warp, MotionWarp)
    torch.testing.assert_close(network.warp.moved(drawn.cache, target)[:, :3], drawn.output.rgb, rtol=0, atol=1e-5)
    out = network.redraw(drawn.cache, target)  # an untrained residual adds nothing
    torch.testing.assert_close(out.rgb, drawn.output.rgb, rtol=0, atol=1e-5)
