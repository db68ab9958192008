"""MIQANet: sizes, fusion, pathways, what it refuses, and that every row of its tables learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from models.compat import import_timm
from models.maniqa import Maniqa, ManiqaConfig
from models.miqanet import ABLATIONS, VARIANTS, Miqanet, MiqanetConfig, PaperMiqanet, RepositoryMiqanet
from models.miqanet_branches import AdaptiveParameter, CnnMap, PatchDecoder, SimpleCnnMap
from tests.models.conftest import overfits, parameters

import_timm()

from timm.models import vgg  # noqa: E402

RESNET = {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)}
SWIN = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2), "window_size": 2}
TINY: Mapping[str, Mapping[str, object]] = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet152"), RESNET),
    "vgg19": {"mlp_ratio": 1 / 4096},  # the head, thrown away after building; for the rest see `tiny`
    **dict.fromkeys(("tiny", "large"), SWIN),
}
ROWS = {f"{table} {name}": row for table, rows in ABLATIONS.items() for name, row in rows.items()}


@pytest.fixture
def tiny(tiny_maniqa: ManiqaConfig, monkeypatch: pytest.MonkeyPatch) -> MiqanetConfig:
    # timm's VGGs have no option for their widths.
    narrow = [8 if isinstance(width, int) else width for width in vgg.cfgs["vgg19"]]
    monkeypatch.setitem(vgg.cfgs, "vgg19", narrow)
    return MiqanetConfig(maniqa=tiny_maniqa, backbone_options=TINY)


@pytest.fixture
def repository(tiny: MiqanetConfig) -> MiqanetConfig:
    return replace(tiny, variant="repository", cnn="resnet18", swin="off", deform=False)


def built(config: MiqanetConfig) -> Miqanet:
    torch.manual_seed(1)
    return Miqanet(config).eval()


def test_parameters_of_the_repositorys_network() -> None:
    whole = ManiqaConfig(scale=0.13, truncated=False)
    config = replace(VARIANTS["repository"], maniqa=whole)
    assert parameters(lambda: Miqanet(config)) == pytest.approx(147.12, abs=5e-3)
    assert parameters(lambda: Miqanet(replace(config, cnn="resnet34"))) == pytest.approx(157.23, abs=5e-3)


def test_sizes_of_the_papers_network() -> None:
    with torch.device("meta"):
        net = Miqanet(MiqanetConfig()).eval()
        found = net(torch.empty(2, 3, 224, 224))
    assert found.patch_scores.shape == found.patch_weights.shape == (2, 28, 28)
    assert sum(p.numel() for p in net.parameters()) == 51_533_903


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_tables_learns_eight_images(
    name: str, tiny: MiqanetConfig, eight_images: Tensor
) -> None:
    torch.manual_seed(3)
    net = Miqanet(replace(tiny, **ROWS[name].model))
    assert overfits(net, net, eight_images)
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "changed",
    [{"ap": "gated"}, {"deform": False}, {"decoder": "cnn"}, {"cnn": "resnet18", "swin": "large"}],
    ids=str,
)
def test_every_other_switch_learns_eight_images(
    changed: dict[str, object], tiny: MiqanetConfig, eight_images: Tensor
) -> None:
    torch.manual_seed(3)
    net = Miqanet(replace(tiny, **changed))
    assert overfits(net, net, eight_images)


@pytest.mark.parametrize(
    "changed",
    [{}, {"ap": "off"}, {"ap": "gated"}, {"cnn": "simple"}, {"cnn": "vgg19"}, {"cnn": "resnet34"}],
    ids=str,
)
def test_the_repositorys_network_learns_eight_images(
    changed: dict[str, object], repository: MiqanetConfig, eight_images: Tensor
) -> None:
    torch.manual_seed(3)
    net = Miqanet(replace(repository, **changed))
    assert overfits(net, net, eight_images)


def test_the_tables_say_what_they_switch_and_print() -> None:
    assert [len(ABLATIONS[table]) for table in ("IV", "V", "VI")] == [10, 2, 3]
    full = ABLATIONS["IV"]["ResNet34 + Swin-T + AP"]
    assert (full.model, full.plcc, full.srocc, full.init) == ({}, 0.9320, 0.9289, "imagenet")
    for name, row in ABLATIONS["IV"].items():
        config = replace(MiqanetConfig(), **row.model)
        words = name.split(" + ")
        assert (config.swin == "tiny") == ("Swin-T" in words)
        assert (config.ap == "scalar") == ("AP" in words)
        assert config.cnn == {"simpleCNN": "simple", "Swin-T": "none"}.get(words[0], words[0].lower())


def test_without_offsets_the_cnn_map_meets_a_plain_convolution(
    tiny: MiqanetConfig, eight_images: Tensor
) -> None:
    net = built(tiny).network
    assert isinstance(net, PaperMiqanet) and net.cnn and net.swin and net.deform and net.offsets
    x = (eight_images - net.mean) / net.std
    local, context = net.cnn(x), net.swin(x)
    plain = nn.functional.conv2d(local, net.deform.weight, net.deform.bias, padding=1)
    wanted = torch.cat([0.8 * context, 0.2 * plain], dim=1)
    torch.testing.assert_close(net.fused(context, local), wanted)
    nn.init.constant_(net.offsets.bias, 0.5)
    assert not torch.allclose(net.fused(context, local), wanted)


def test_the_deformable_convolution_can_be_left_out(tiny: MiqanetConfig, eight_images: Tensor) -> None:
    net = built(replace(tiny, deform=False)).network
    assert isinstance(net, PaperMiqanet) and net.cnn and net.swin
    x = (eight_images - net.mean) / net.std
    local, context = net.cnn(x), net.swin(x)
    torch.testing.assert_close(net.fused(context, local), torch.cat([0.8 * context, 0.2 * local], dim=1))


def test_the_adaptive_parameter() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    assert AdaptiveParameter("off", 4, 0.8)(*maps).item() == 0.5
    torch.testing.assert_close(AdaptiveParameter("scalar", 4, 0.8)(*maps), torch.full((1, 1, 1, 1), 0.8))
    gated = AdaptiveParameter("gated", 4, 0.8)
    torch.testing.assert_close(gated(*maps), torch.full((3, 1, 1, 1), 0.8))
    assert gated.gate is not None
    nn.init.normal_(gated.gate.weight)
    found = gated(*maps).flatten()
    assert len(found.unique()) == 3 and ((found > 0) & (found < 1)).all()


def test_both_decoding_pathways_do_the_same_arithmetic() -> None:
    torch.manual_seed(0)
    cnn, linear = (PatchDecoder(6, 4, pathway, 0.0, "relu").eval() for pathway in ("cnn", "transformer"))
    state = linear.state_dict()
    cnn.load_state_dict({name: value.reshape(state_of.shape) for (name, value), state_of in
                         zip(state.items(), cnn.state_dict().values(), strict=True)})  # fmt: skip
    x = torch.randn(2, 6, 3, 5)
    one, other = cnn(x), linear(x)
    for mine, theirs in zip(one[:3], other[:3], strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(
        one.score, (one.patch_scores * one.patch_weights).sum((1, 2)) / one.patch_weights.sum((1, 2))
    )


@pytest.mark.parametrize(
    ("name", "channels"), [("vgg19", 512), ("resnet34", 512), ("resnet152", 2048), ("simple", 800)]
)
def test_maps_of_the_cnns(name: str, channels: int) -> None:
    with torch.device("meta"):
        net = SimpleCnnMap(0.1) if name == "simple" else CnnMap(name, {})
        found = net(torch.empty(1, 3, 224, 224))
    side = 28 if name == "simple" else 14
    assert found.shape == (1, channels, side, side) and net.channels == channels
    assert net.stride * side == 224


def test_simplecnn_looks_at_32_pixels_around_each_cell() -> None:
    torch.manual_seed(0)
    net = SimpleCnnMap(0.0).eval()
    still = torch.rand(1, 3, 64, 64)
    columns = torch.arange(64)
    moved = still.repeat(64, 1, 1, 1)
    moved[columns, :, :, columns] += 3 * torch.rand(64, 3, 64)  # image i differs in column i
    with torch.inference_mode():
        difference = (net(moved)[:, :, 3, 3] - net(still)[:, :, 3, 3]).abs().amax(dim=1)
    seen = columns[difference > 1e-5].tolist()
    # 32 pixels around cell 3, pixels 24 to 31; 3 more a side for the local normalisation.
    assert (seen[0], seen[-1]) == (12 - 3, 43 + 3)


def test_the_repositorys_map_is_tiled_and_mixed(repository: MiqanetConfig, eight_images: Tensor) -> None:
    net = built(repository).network
    assert isinstance(net, RepositoryMiqanet) and net.cnn and net.project
    x = net.maniqa.narrow(net.maniqa.first_stage(net.maniqa.tokens(eight_images)))
    local = net.project(net.cnn(eight_images * 2 - 1))
    assert local.shape[2:] == (2, 2) and x.shape[2:] == (8, 8)
    row = torch.cat([local] * 4, dim=3)
    wanted = net.maniqa.second_stage(0.8 * x + 0.2 * torch.cat([row] * 4, dim=2))
    torch.testing.assert_close(net(eight_images).score, wanted.score)


def test_the_repositorys_network_without_its_cnn_is_maniqa(
    repository: MiqanetConfig, eight_images: Tensor
) -> None:
    net = built(replace(repository, cnn="none", ap="off"))
    base = Maniqa(repository.maniqa).eval()
    base.load_state_dict({k.removeprefix("network.maniqa."): v for k, v in net.state_dict().items()})
    assert torch.equal(net(eight_images).score, base(eight_images).score)


@pytest.mark.parametrize("variant", ["paper", "repository"])
def test_it_can_be_exported(
    variant: str, tiny: MiqanetConfig, repository: MiqanetConfig, eight_images: Tensor
) -> None:
    net = built(tiny if variant == "paper" else repository)
    exported = torch.export.export(net, (eight_images,)).module()
    torch.testing.assert_close(exported(eight_images).score, net(eight_images).score)


def test_the_configuration_survives_json(tiny: MiqanetConfig, eight_images: Tensor) -> None:
    adapter = TypeAdapter(MiqanetConfig)
    again = adapter.validate_json(adapter.dump_json(tiny))
    assert torch.equal(built(again)(eight_images).score, built(tiny)(eight_images).score)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"cnn": "alexnet"}, "cnn 'alexnet' is not one of none, simple"),
        ({"variant": "both"}, "variant 'both' is not one of paper, repository"),
        ({"alpha": 1.0}, "alpha 1.0 is not between 0 and 1"),
        ({"backbone_options": {"simple": {}}}, r"backbone_options for \['simple'\]"),
        ({"cnn": "none", "swin": "off"}, "leave no branch"),
        ({"cnn": "none"}, "ap 'scalar' and deform True need two branches"),
        ({"swin": "off", "ap": "off"}, "ap 'off' and deform True need two branches"),
        ({"variant": "repository"}, "swin 'tiny' is not the repository's; expected 'off'"),
        ({"variant": "repository", "swin": "off"}, "deform True is not the repository's; expected False"),
        ({"maniqa": ManiqaConfig(image_size=36)}, "image_size 36 is not a multiple of 8"),
    ],
)
def test_contradictions_are_named(changed: dict[str, object], told: str, tiny: MiqanetConfig) -> None:
    with pytest.raises(ValueError, match=told):
        Miqanet(replace(tiny, **changed))


def test_maps_that_cannot_be_tiled_are_named(repository: MiqanetConfig) -> None:
    with pytest.raises(ValueError, match=r"gives 2\.5 patches a side; they cannot be tiled to the 10"):
        Miqanet(replace(repository, maniqa=replace(repository.maniqa, image_size=40, window=5)))


@pytest.mark.parametrize("variant", ["paper", "repository"])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 40)])
def test_wrong_images_are_named(
    shape: tuple[int, ...], variant: str, tiny: MiqanetConfig, repository: MiqanetConfig
) -> None:
    with pytest.raises(ValueError, match=r"expected \(N, 3, 32, 32\)"):
        Miqanet(tiny if variant == "paper" else repository)(torch.zeros(shape))
