"""Where training starts: each source fills what it should, and says by name what it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.compat import import_timm
from models.maniqa import Maniqa, ManiqaConfig
from models.miqanet import Miqanet, MiqanetConfig
from models.miqanet_branches import CnnMap
from models.weights_file import WeightsError
from train.initial_weights import InitialWeights, backbones, initialise

timm = import_timm()

TINY = ManiqaConfig(
    image_size=128, backbone="test_vit", blocks=(0, 1, 2), widths=(8, 8), heads=2, mlp_width=8,
    channel_attentions=1, swin_layers=1,
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as timm publishes them, of the two smallest architectures, with values of our own."""
    for seed, name in enumerate(("test_resnet.r160_in1k", "test_vit.r160_in1k")):
        torch.manual_seed(100 + seed)
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
    return tmp_path


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_the_backbones_of_miqanet_are_found() -> None:
    with torch.device("meta"):
        assert backbones(Miqanet(MiqanetConfig())).keys() == {"network.cnn.cnn.net", "network.swin.net"}
        assert not backbones(nn.Linear(2, 2))


def test_scratch_changes_nothing() -> None:
    network = CnnMap("test_resnet", {})
    before = state(network)
    assert initialise(network, InitialWeights()) == ()
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_imagenet_fills_the_backbone_and_nothing_else(folder: Path) -> None:
    network = nn.ModuleDict({"cnn": CnnMap("test_resnet", {}), "head": nn.Linear(3, 1)})
    head = state(network["head"])
    assert initialise(network, InitialWeights(kind="imagenet", path=folder)) == ()
    torch.manual_seed(100)
    wanted = timm.create_model("test_resnet.r160_in1k").state_dict()
    found = network["cnn"].state_dict()
    assert found and all(
        torch.equal(wanted[name.removeprefix("net.")], value) for name, value in found.items()
    )
    assert all(torch.equal(head[name], value) for name, value in network["head"].state_dict().items())


def test_imagenet_fills_a_cut_vit_at_another_image_size(folder: Path) -> None:
    network = Maniqa(TINY)
    assert initialise(network, InitialWeights(kind="imagenet", path=folder)) == ()
    torch.manual_seed(101)
    wanted = timm.create_model("test_vit.r160_in1k").state_dict()
    name = "blocks.2.attn.qkv.weight"
    assert torch.equal(network.vit.state_dict()[name], wanted[name])
    assert network.vit.pos_embed.shape != wanted["pos_embed"].shape


def test_parts_that_are_not_published_are_told(folder: Path) -> None:
    network = CnnMap("test_resnet", {})
    network.net.layer1.append(nn.Conv2d(1, 1, 1))
    left = initialise(network, InitialWeights(kind="imagenet", path=folder))
    assert left == ("net.layer1.1.bias", "net.layer1.1.weight")


def test_other_sizes_than_the_published_are_named(folder: Path) -> None:
    network = CnnMap("test_resnet", {"channels": (8, 8, 8, 8)})
    with pytest.raises(WeightsError, match=r"test_resnet.r160_in1k: layer1\S+ has shape .* use scratch"):
        initialise(network, InitialWeights(kind="imagenet", path=folder))


def test_without_a_hub_the_mend_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network = CnnMap("test_resnet", {})

    def unreachable(name: str, **options: object) -> nn.Module:
        assert options.get("pretrained") is True
        raise FileNotFoundError("no connection")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        WeightsError, match=r"test_resnet\.r160_in1k cannot be had \(no connection\); train where"
    ):
        initialise(network, InitialWeights(kind="imagenet"))


def test_a_folder_without_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"put test_resnet\.r160_in1k\.safetensors into a folder"):
        initialise(CnnMap("test_resnet", {}), InitialWeights(kind="imagenet", path=tmp_path))


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_resnet.r160_in1k.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"test_resnet\.r160_in1k cannot be had"):
        initialise(CnnMap("test_resnet", {}), InitialWeights(kind="imagenet", path=tmp_path))


def test_a_network_without_backbones_has_no_imagenet_weights() -> None:
    with pytest.raises(WeightsError, match="Linear has no backbone with ImageNet weights"):
        initialise(nn.Linear(2, 2), InitialWeights(kind="imagenet"))


def test_a_checkpoint_fills_the_whole_network(tmp_path: Path) -> None:
    trained, network = Maniqa(TINY), Maniqa(TINY)
    save_file(trained.state_dict(), tmp_path / "live.safetensors")
    assert initialise(network, InitialWeights(kind="checkpoint", path=tmp_path / "live.safetensors")) == ()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in trained.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda tensors: tensors.pop("conv1.bias"), "1 tensors missing, 0 unknown, conv1.bias among them"),
        (
            lambda tensors: tensors.update(more=torch.zeros(1)),
            "0 tensors missing, 1 unknown, more among them",
        ),
        (
            lambda tensors: tensors.update({"conv1.bias": torch.zeros(9)}),
            r"conv1.bias has shape \(9,\), in the network",
        ),
        (lambda tensors: tensors["conv1.bias"].fill_(float("nan")), "conv1.bias holds NaN or infinity"),
    ],
    ids=["missing", "unknown", "misshapen", "NaN"],
)
def test_a_checkpoint_that_does_not_fit_is_named(spoil: object, told: str, tmp_path: Path) -> None:
    network = Maniqa(TINY)
    before, tensors = state(network), state(Maniqa(TINY))
    spoil(tensors)  # type: ignore[operator]
    save_file(tensors, tmp_path / "live.safetensors")
    with pytest.raises(WeightsError, match=rf"checkpoint .*live\.safetensors.*{told}"):
        initialise(network, InitialWeights(kind="checkpoint", path=tmp_path / "live.safetensors"))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_an_unreadable_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    for name in ("a.safetensors", "absent.safetensors"):
        with pytest.raises(WeightsError, match=rf"checkpoint .*{name} cannot be read"):
            initialise(Maniqa(TINY), InitialWeights(kind="checkpoint", path=tmp_path / name))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"kind": "luck"}, "kind 'luck' is not one of"),
        ({"kind": "checkpoint"}, "needs a path"),
        ({"kind": "scratch", "path": Path("x")}, "takes no path; path is x"),
    ],
)
def test_contradictions_are_named(changed: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(InitialWeights(), **changed)
