"""The papers' comparison rows: shapes, sizes, and that each of them learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.output import Output
from models.rows import ABSENT
from models.rows.cnniqa import CnnIqa, CnnIqaConfig
from models.rows.dbcnn import DbCnn, DbCnnConfig, bilinear
from models.rows.deepvit import DeepVit, DeepVitConfig, ReAttention
from models.rows.hyperiqa import HyperIqa, HyperIqaConfig, HyperLayer
from models.rows.lenet5 import LeNet5, LeNet5Config
from models.rows.patches import cut, locally_normalised, put_back
from models.rows.timm_net import PRESETS, TimmNet, TimmNetConfig
from models.rows.wadiqam import Wadiqam, WadiqamConfig
from tests.models.conftest import overfits, parameters

TINY_VIT = {"embed_dim": 24, "depth": 2, "num_heads": 2}
TINY: dict[str, Callable[[], nn.Module]] = {
    "timm, convolutions": lambda: TimmNet(TimmNetConfig(backbone="test_resnet", image_size=None)),
    "timm, transformer": lambda: TimmNet(
        TimmNetConfig(backbone="vit_tiny_patch16_224", backbone_options=TINY_VIT, image_size=64)
    ),
    "timm, grades": lambda: TimmNet(
        TimmNetConfig(backbone="test_resnet", image_size=64, grades=11, heads=2, grade_step=0.1)
    ),
    "cnniqa": lambda: CnnIqa(CnnIqaConfig(widths=(32, 32), dropout=0)),
    "lenet5": lambda: LeNet5(LeNet5Config()),
    "wadiqam": lambda: Wadiqam(WadiqamConfig(channels=(8, 8, 16, 16), width=16, dropout=0)),
    "dbcnn": lambda: DbCnn(
        DbCnnConfig(backbone="test_resnet", widths=(8, 8, 8, 8, 8), strides=(1, 2, 2, 2, 2))
    ),
    "hyperiqa": lambda: HyperIqa(
        HyperIqaConfig(
            image_size=64,
            backbone="test_resnet",
            local_channels=(4, 4, 8),
            local_width=4,
            reductions=(32, 16),
            hyper_channels=16,
            widths=(24, 16, 8),
        )
    ),
    "deepvit": lambda: DeepVit(
        DeepVitConfig(image_size=64, width=24, depth=2, heads=2, plain_blocks=1, stem=8)
    ),
}
PATCHES = {"cnniqa": 2, "lenet5": 2, "wadiqam": 4}  # patches a side of 64 pixels


@pytest.fixture
def images() -> Tensor:
    """(8, 3, 64, 64) in [0, 1], of different noise and brightness."""
    made = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return made * torch.linspace(0.2, 1, 8)[:, None, None, None]


@pytest.mark.parametrize("name", TINY)
def test_shapes_and_gradients(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    net = TINY[name]()
    found: Output = net(images)
    assert found.score.shape == (8,)
    for field in (found.patch_scores, found.patch_weights):
        assert field is None or field.shape == (8, PATCHES[name], PATCHES[name])
    assert (found.patch_scores is not None) == (name in PATCHES)
    assert (found.patch_weights is not None) == (name == "wadiqam")
    found.score.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert sum(bool(p.grad.any()) for p in net.parameters() if p.grad is not None) > 3


@pytest.mark.parametrize("name", TINY)
def test_an_image_does_not_depend_on_its_batch(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    net = TINY[name]().eval()
    with torch.inference_mode():
        torch.testing.assert_close(net(images).score[:1], net(images[:1]).score, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_it_learns_eight_images(name: str, images: Tensor) -> None:
    torch.manual_seed(0)
    net = TINY[name]()
    assert overfits(net, net, images, steps=120)


@pytest.mark.parametrize("name", TINY)
def test_it_can_be_exported(name: str, images: Tensor) -> None:
    net = TINY[name]().eval()
    exported = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(exported(images).score, net(images).score, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_wrong_images_are_refused(name: str, images: Tensor) -> None:
    net = TINY[name]()
    for wrong in (images[0], images[:, :1]):
        with pytest.raises(ValueError, match="images have shape"):
            net(wrong)
    if name != "timm, convolutions":
        with pytest.raises(ValueError, match="images have shape"):
            net(images[..., :15, :15])


def test_grades_are_learnt_through_logits(images: Tensor) -> None:
    torch.manual_seed(0)
    net = TINY["timm, grades"]()
    grades = torch.arange(8)
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(40):
        logits = net(images).logits
        assert logits is not None and logits.shape == (8, 2, 11)
        loss = functional.cross_entropy(logits.flatten(0, 1), grades.repeat_interleave(2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.5
    torch.testing.assert_close(net(images).score, grades / 10, atol=0.1, rtol=0)


SIZES: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "cnniqa": (lambda: CnnIqa(CnnIqaConfig()), 0.724901),
    "lenet5": (lambda: LeNet5(LeNet5Config()), 0.060941),
    "wadiqam": (lambda: Wadiqam(WadiqamConfig()), 5.238562),
    "dbcnn": (lambda: DbCnn(DbCnnConfig()), 15.311345),
    "hyperiqa": (lambda: HyperIqa(HyperIqaConfig()), 27.375369),
    "deepvit": (lambda: DeepVit(DeepVitConfig()), 26.916029),
}
PRESET_SIZES = {
    "vgg16": 134.264641,
    "vgg19": 139.574337,
    "resnet18": 11.177025,
    "resnet34": 21.285185,
    "resnet50": 23.510081,
    "resnet152": 58.145857,
    "swin_t": 27.520123,
    "swin_l": 194.997013,
    "vit_b": 85.799425,
    "beit_b": 85.762753,
    "convnext_t": 27.820897,
    "mobilenet_v2": 2.225153,
    "efficientnetv2_s": 20.178769,
    "efficientnetv2_t": 12.625413,
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_at_the_papers_sizes(name: str) -> None:
    build, wanted = SIZES[name]
    assert parameters(build) == pytest.approx(wanted, abs=1e-6)
    with torch.device("meta"):
        assert build()(torch.zeros(2, 3, 224, 224)).score.shape == (2,)


@pytest.mark.parametrize("name", PRESET_SIZES)
def test_parameters_of_the_presets(name: str) -> None:
    assert set(PRESETS) == set(PRESET_SIZES)
    assert parameters(lambda: TimmNet(PRESETS[name])) == pytest.approx(PRESET_SIZES[name], abs=1e-6)


def test_patches_are_where_they_were() -> None:
    image = torch.arange(2 * 70 * 100.0).reshape(2, 1, 70, 100)
    found, rows, columns = cut(image, 32)
    assert (rows, columns) == (2, 3) and found.shape == (12, 1, 32, 32)
    assert torch.equal(found[2 * 3 - 1], image[0, :, 32:64, 64:96])
    assert torch.equal(found[6], image[1, :, :32, :32])
    assert torch.equal(
        put_back(torch.arange(12.0)[:, None], 2, 3)[1], torch.tensor([[6.0, 7, 8], [9, 10, 11]])
    )


def test_local_normalisation_forgets_brightness_and_contrast() -> None:
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    normal = locally_normalised(image, 3, 0.0)
    torch.testing.assert_close(locally_normalised(0.2 + 0.3 * image, 3, 0.0), normal, atol=1e-3, rtol=1e-3)
    window = image[0, 0, 10:17, 12:19]
    wanted = (window[3, 3] - window.mean()) / window.std(correction=0)
    torch.testing.assert_close(normal[0, 0, 13, 15], wanted, atol=1e-4, rtol=1e-4)
    assert not locally_normalised(torch.full((1, 1, 16, 16), 0.5), 3, 1 / 255).any()


def test_wadiqam_weighs_its_patches(images: Tensor) -> None:
    found = TINY["wadiqam"]().eval()(images)
    weights, scores = found.patch_weights, found.patch_scores
    assert (weights > 0).all()
    torch.testing.assert_close(found.score, (weights * scores).sum((1, 2)) / weights.sum((1, 2)))


def test_bilinear_pooling_is_the_mean_outer_product() -> None:
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    found = bilinear(a, b)
    plain = torch.einsum("nahw,nbhw->nab", a, b).flatten(1) / 16
    rooted = plain.sign() * plain.abs().sqrt()
    torch.testing.assert_close(found, rooted / rooted.norm(dim=1, keepdim=True), atol=1e-4, rtol=1e-3)


def test_the_hyper_network_writes_other_weights_for_other_images() -> None:
    torch.manual_seed(0)
    layer = HyperLayer(16, 8, 4, grid=2)
    weights, biases = layer(torch.randn(3, 16, 2, 2))
    assert weights.shape == (3, 4, 8) and biases.shape == (3, 4)
    assert not torch.allclose(weights[0], weights[1]) and not torch.allclose(biases[0], biases[1])


def test_re_attention_that_mixes_nothing_is_plain_attention() -> None:
    torch.manual_seed(0)
    layer = ReAttention(24, 3).eval()
    with torch.no_grad():
        layer.mix.weight.copy_(torch.eye(3)[:, :, None, None])
        layer.mix.bias.zero_()
    x = torch.randn(2, 5, 24)
    query, key, value = layer.qkv(x).reshape(2, 5, 3, 3, 8).permute(2, 0, 3, 1, 4)
    plain = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, 5, 24)
    torch.testing.assert_close(layer(x), layer.projection(plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: TimmNetConfig(backbone="resnet18", grades=1), "grades 1"),
        (lambda: TimmNetConfig(backbone="resnet18", heads=4), "heads 4"),
        (lambda: TimmNetConfig(backbone="resnet18", backbone_options={"pretrained": True}), "pretrained"),
        (lambda: TimmNet(dataclasses.replace(PRESETS["vit_b"], image_size=None)), "image_size"),
        (lambda: CnnIqaConfig(kernel=40), "kernel 40"),
        (lambda: LeNet5Config(patch=18), "patch 18"),
        (lambda: WadiqamConfig(channels=()), "channels"),
        (lambda: DbCnnConfig(widths=(8, 8)), "2 widths"),
        (lambda: DbCnn(DbCnnConfig(backbone="test_vit", widths=(8,), strides=(2,))), "features at"),
        (lambda: HyperIqaConfig(image_size=100), "image_size 100"),
        (lambda: HyperIqaConfig(widths=(224, 111)), "224 x 111"),
        (lambda: DeepVitConfig(width=100), "width 100"),
        (lambda: DeepVitConfig(plain_blocks=16), "plain_blocks 16"),
    ],
)
def test_contradictions_are_named(build: Callable[[], object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build()


def test_every_absent_method_says_why() -> None:
    assert all(len(reason) > 30 for reason in ABSENT.values())
