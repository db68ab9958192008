"""Full-reference metrics: best for equals, falling along ladders, and as other computations have them."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
import torch
from pydicom.data import get_testdata_file
from scipy import ndimage
from torch import Tensor

from models.metrics import full_reference
from models.metrics.full_reference import METRICS, compare
from models.metrics.mad import appearance, detection, log_gabor, mad

pytest.importorskip("piq", reason="needs the train extra")


def _tensor(image: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.clip(image, 0, 1).astype(np.float32))[None, None]


@pytest.fixture(scope="module")
def slice_of_ct() -> npt.NDArray[np.float64]:
    """A real CT slice, 192x192, window 1000 HU wide."""
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    pixels = pydicom.dcmread(path).pixel_array.astype(float)
    low, high = np.percentile(pixels, (1, 99.5))
    return np.clip(ndimage.zoom((pixels - low) / (high - low), 1.5, order=3), 0, 1)


@pytest.fixture(scope="module")
def noisy(slice_of_ct: npt.NDArray[np.float64]) -> list[Tensor]:
    noise = np.random.default_rng(0).standard_normal(slice_of_ct.shape)
    return [_tensor(slice_of_ct + level * noise) for level in (0, 0.01, 0.03, 0.08, 0.2)]


@pytest.fixture(scope="module")
def blurred(slice_of_ct: npt.NDArray[np.float64]) -> list[Tensor]:
    return [_tensor(slice_of_ct)] + [
        _tensor(ndimage.gaussian_filter(slice_of_ct, sigma)) for sigma in (1, 1.5, 2.2, 3.5)
    ]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("ladder", ["noisy", "blurred"])
def test_worse_images_have_worse_values(name: str, ladder: str, request: pytest.FixtureRequest) -> None:
    images = request.getfixturevalue(ladder)
    batch = torch.cat(images)
    values = compare(name, images[0].expand_as(batch), batch)
    assert values.shape == (len(images),) and values.dtype == torch.float64
    metric = METRICS[name]
    falling = values if metric.higher_is_better else -values
    assert (falling.diff() < 0).all(), values
    low, high = metric.range
    assert (values >= low - 1e-9).all() and (values <= high + 1e-9).all()
    best = high if metric.higher_is_better else low
    if np.isfinite(best) and name != "snr":  # its best value depends on the reference
        assert float(values[0]) == pytest.approx(best, abs=1e-6)
    elif name == "vifp":
        assert float(values[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", METRICS)
def test_an_image_does_not_depend_on_its_batch(name: str, noisy: list[Tensor]) -> None:
    both = compare(name, noisy[0].expand(2, -1, -1, -1), torch.cat([noisy[2], noisy[4]]))
    torch.testing.assert_close(both[1:], compare(name, noisy[0], noisy[4]))


@pytest.mark.parametrize("name", METRICS)
def test_sizes_down_to_the_smallest(name: str) -> None:
    side = METRICS[name].smallest
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 1, max(side, 2), side + 5, generator=generator)
    assert torch.isfinite(compare(name, x, y)).all()
    if side > 1:
        with pytest.raises(ValueError, match=f"needs {side}"):
            compare(name, x[..., :-1, :], y[..., :-1, :])


def test_uqi_equals_its_formula_in_a_loop() -> None:
    generator = np.random.default_rng(0)
    x = generator.random((14, 17))
    y = np.clip(x + 0.1 * generator.standard_normal(x.shape), 0, 1)
    x[:9, :9] = y[:9, :9] = 0.25  # one window where both are flat
    x[:8, :8] = 0.5
    found = []
    for row in range(14 - 7):
        for column in range(17 - 7):
            a, b = x[row : row + 8, column : column + 8], y[row : row + 8, column : column + 8]
            means = 2 * a.mean() * b.mean() / (a.mean() ** 2 + b.mean() ** 2)
            if a.var() + b.var() < 1e-15:
                found.append(means)
            else:
                found.append(2 * np.mean((a - a.mean()) * (b - b.mean())) / (a.var() + b.var()) * means)
    value = full_reference.uqi(*(torch.from_numpy(image)[None, None] for image in (x, y)))
    assert float(value) == pytest.approx(np.mean(found), abs=1e-10)


def test_snr_and_psnr_differ_by_the_reference_alone(noisy: list[Tensor]) -> None:
    shift = [float(compare("psnr", noisy[0], i) - compare("snr", noisy[0], i)) for i in noisy[1:]]
    assert np.ptp(shift) < 1e-3
    assert shift[0] == pytest.approx(-10 * np.log10(float(noisy[0].square().mean())), abs=1e-3)


def test_ssim_equals_that_of_scikit_image(noisy: list[Tensor]) -> None:
    measured = pytest.importorskip("skimage.metrics", reason="needs the train extra")
    x, y = (image[0, 0].double().numpy() for image in (noisy[0], noisy[3]))
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    wanted = measured.structural_similarity(x, y, **options)
    assert float(compare("ssim", noisy[0], noisy[3])) == pytest.approx(wanted, abs=1e-5)


def _pattern(kind: int, side: int) -> Tensor:
    y, x = np.mgrid[:side, :side]
    made = (37 * x + 91 * y + x * y, ((17 * x) ^ (29 * y)) + 3 * x + 5 * y, x + 2 * y)[kind - 1] % 256
    return torch.from_numpy(made / 255)[None, None]


@pytest.mark.parametrize(
    ("first", "second", "side", "detected", "appeared", "tolerance"),
    [
        (1, 2, 34, 112251.749213334246, 5.846236835626, 3e-3),
        (1, 2, 64, 131572.283897184563, 9.688765373323, 1e-2),
        (2, 3, 256, 64478.986671323131, 16.523224071463, 1e-3),
    ],
)
def test_mad_equals_the_authors_code(
    first: int, second: int, side: int, detected: float, appeared: float, tolerance: float
) -> None:
    """Wanted: values of the authors' MATLAB code, run by others, in a version that scales d_detect by 10."""
    x, y = _pattern(first, side), _pattern(second, side)
    assert float(detection(x, y)) == pytest.approx(20 * detected, rel=tolerance)
    assert float(appearance(x, y)) == pytest.approx(appeared, rel=1e-9)


def test_mad_blends_its_two_parts(noisy: list[Tensor]) -> None:
    faint, strong = (torch.stack([f(noisy[0], i) for i in noisy]) for f in (detection, appearance))
    whole = torch.stack([mad(noisy[0], i) for i in noisy])
    assert (whole[1:] > torch.minimum(faint, strong)[1:]).all()
    assert (whole[1:] < torch.maximum(faint, strong)[1:]).all()
    assert whole[0] == faint[0] == strong[0] == 0


def test_errors_in_the_dark_and_in_texture_are_less_visible() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 0.03 * torch.randn(1, 1, 128, 128, generator=generator)
    texture = 0.2 * torch.randn(1, 1, 128, 128, generator=generator)
    smooth, rough = torch.full_like(noise, 0.5), (0.5 + texture).clamp(0, 1)
    dark = torch.full_like(noise, 0.02)
    seen = [float(detection(image, (image + noise).clamp(0, 1))) for image in (smooth, rough, dark)]
    assert seen[0] > 2 * seen[1] and seen[0] > 100 * seen[2]


def test_log_gabor_filters_peak_at_their_wavelengths() -> None:
    bank = log_gabor(81, 81, 3, 4)
    assert bank.shape == (3, 4, 81, 81) and not bank[:, :, 0, 0].any()
    for scale, wavelength in enumerate((3, 9, 27)):
        assert int(bank[scale, 0, 0, :41].argmax()) == 81 // wavelength
        assert int(bank[scale, 2, -40:, 0].flip(0).argmax()) + 1 == 81 // wavelength


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("nqm", lambda x: (x, x), "'nqm' is unknown"),
        ("psnr", lambda x: (x, x[..., 1:]), "differ"),
        ("psnr", lambda x: (x, x.repeat(1, 3, 1, 1)), "expected any x 1 x any x any"),
        ("psnr", lambda x: (x, x * 255), r"expected \[0, 1\]"),
        ("psnr", lambda x: (x.mul(torch.nan), x), "NaN"),
        ("vifp", lambda x: (torch.zeros_like(x), x), "reference 0 is flat"),
    ],
)
def test_what_cannot_be_compared_is_named(name: str, change: object, named: str) -> None:
    x = torch.linspace(0, 1, 64 * 64).reshape(1, 1, 64, 64)
    with pytest.raises(ValueError, match=named):
        compare(name, *change(x))  # type: ignore[operator]


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, noisy: list[Tensor]) -> None:
    real = importlib.import_module

    def without_piq(name: str) -> object:
        if name == "piq":
            raise ModuleNotFoundError("No module named 'piq'", name="piq")
        return real(name)

    monkeypatch.setattr(full_reference.importlib, "import_module", without_piq)
    with pytest.raises(ImportError, match=r"qagate\[train\]"):
        compare("gmsd", noisy[0], noisy[1])
    assert float(compare("mcsd", noisy[0], noisy[1])) > 0


def test_piq_is_imported_at_the_first_use_only() -> None:
    code = "import sys, models.metrics.full_reference; sys.exit('piq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
