import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from models.evaluation.metrics import Figures, figures, mean_figures, psnr, ssim


def pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    a = rng.random((3, 40, 52)).cumsum(axis=2)
    a /= a.max()
    return a, np.clip(a + rng.normal(0, 0.05, a.shape), 0, 1)


@pytest.mark.parametrize("seed", range(3))
def test_against_scikit_image(seed: int) -> None:
    a, b = pair(seed)
    ta, tb = torch.from_numpy(a), torch.from_numpy(b)
    assert psnr(ta, tb) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1.0), abs=1e-6)
    expected = structural_similarity(
        a, b, channel_axis=0, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert ssim(ta, tb) == pytest.approx(expected, abs=1e-6)


def test_weights_leave_pixels_out() -> None:
    a, b = (torch.from_numpy(x) for x in pair(0))
    weight = torch.zeros(1, 40, 52)
    weight[..., :20] = 1
    spoiled = b.clone()
    spoiled[..., 20:] = 0
    left = figures(a, spoiled, weight)
    assert left.psnr == pytest.approx(psnr(a[..., :20], b[..., :20]), abs=1e-6)
    assert left.l1 == pytest.approx(float((a - b)[..., :20].abs().mean()), abs=1e-9)


def test_equal_pictures_and_means() -> None:
    a = torch.rand(3, 16, 16)
    assert tuple(figures(a, a)) == pytest.approx((100.0, 1.0, 0.0))
    assert mean_figures([Figures(20, 0.5, 0.1), Figures(30, 0.7, 0.3)]) == pytest.approx((25, 0.6, 0.2))
    with pytest.raises(ValueError):
        mean_figures([])
