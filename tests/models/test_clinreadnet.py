"""ClinReadNet: its size, what it answers, that every switch learns, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.clinreadnet import ABLATIONS, ClinReadNet, ClinReadNetConfig, decode, encode
from models.output import check_images

SWIN = {"embed_dim": 16, "depths": (1, 1, 1, 2), "num_heads": (1, 2, 4, 8), "drop_path_rate": 0.0}
TINY = ClinReadNetConfig(image_size=64, window=2, backbone_options=SWIN, hidden=(16, 16), dropout=0.0)


def _images(count: int = 8) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_parameters() -> None:
    def count(config: ClinReadNetConfig) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in ClinReadNet(config).parameters())

    assert count(ClinReadNetConfig()) == 31_729_840
    off = ClinReadNetConfig(soqn="off", temperatures=(), progressive=())
    assert count(off) == 27_519_354 + 4 * (1440 + 1) * 21  # timm's Swin-T without its head


def test_what_it_answers() -> None:
    torch.manual_seed(0)
    net, images = ClinReadNet(TINY).eval(), _images()
    check_images(images, (None, 3, 64, 64))
    with torch.inference_mode():
        first, second = net(images), net(images)
    assert first.logits is not None and torch.equal(first.score, second.score)
    assert first.logits.shape == (8, 4, 21) and first.score.shape == (8,)
    assert first.patch_scores is None
    assert ((first.score >= 0) & (first.score <= 4)).all()
    assert torch.equal(first.score, decode(first.logits, "continuous"))
    net.train()
    assert not torch.equal(net(images).score, net(images).score)  # Gumbel noise


def test_it_normalises_as_imagenet() -> None:
    net = ClinReadNet(TINY).eval()
    seen: list[Tensor] = []
    net.swin.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(torch.tensor([0.485, 0.456, 0.406])[None, :, None, None].expand(1, 3, 64, 64))
    assert seen[0].abs().max() < 1e-6
    assert not {"mean", "std"} & net.state_dict().keys()


def test_the_sobel_networks_feed_the_next_stage_and_the_head() -> None:
    net, images = ClinReadNet(TINY).eval(), _images(2)
    seen: dict[str, Tensor] = {}
    net.soqn[1].register_forward_hook(lambda *call: seen.update(soqn=call[2]))
    net.swin.layers[2].register_forward_pre_hook(lambda _, inputs: seen.update(next=inputs[0]))
    pooled = net.features(images)
    assert pooled.shape == (2, 16 + 32 + 64 + 128)
    torch.testing.assert_close(seen["next"], seen["soqn"].permute(0, 2, 3, 1))
    torch.testing.assert_close(pooled[:, 16:48], seen["soqn"].mean((2, 3)))


def test_the_feature_layer_of_grad_cam() -> None:
    net = ClinReadNet(TINY).eval()
    seen: list[Tensor] = []
    net.get_submodule(net.cam_layer).register_forward_hook(lambda *call: seen.append(call[2]))
    score = net(_images(2)).score
    assert seen[0].shape == (2, 2, 2, 128)
    (slope,) = torch.autograd.grad(score.sum(), seen[0])
    assert slope.abs().max() > 0


def test_weights_of_timms_swin_load_into_it() -> None:
    swin = ClinReadNet(replace(TINY, soqn="off", temperatures=(), progressive=())).swin.state_dict()
    missing, unexpected = ClinReadNet(TINY).swin.load_state_dict(swin, strict=False)
    assert not unexpected
    assert all(part in name for name in missing for part in ("layers.3.blocks", "attn"))
    assert {name.rpartition("attn.")[2].partition(".")[0] for name in missing} == {
        "temperature", "progressive", "modulator",
    }  # fmt: skip


LEARNERS: list[Mapping[str, object]] = [
    {},
    {"soqn": "off"},
    {"soqn": "sobel"},
    {"soqn": "ordinal"},
    {"residual": "plain"},
    {"temperatures": (), "progressive": ()},
    {"temperatures": (0.5,), "progressive": (0.3,)},
    {"temperatures": (1.0,), "progressive": (0.4,)},
    {"temperatures": (2.0,), "progressive": (0.3,)},
    {"temperatures": (0.5, 1.0), "progressive": (0.3, 0.4)},
    {"temperatures": (0.5, 2.0), "progressive": (0.3, 0.3)},
    {"temperatures": (1.0, 2.0), "progressive": (0.4, 0.3)},
    {"attention": "channel"},
    {"attention": "spatial"},
    {"softmax": "double"},
    {"softmax": "printed"},
    {"heads": 1},
    {"heads": 7},
]


@pytest.mark.parametrize("changed", LEARNERS, ids=str)
def test_every_switch_learns_eight_images(changed: Mapping[str, object]) -> None:
    torch.manual_seed(0)
    net, images = ClinReadNet(replace(TINY, **changed)), _images()  # type: ignore[arg-type]
    labels = torch.tensor([0, 3, 6, 8, 11, 14, 17, 20])
    optimiser = torch.optim.NAdam(net.parameters(), lr=3e-3)
    for _ in range(60):
        logits = net(images).logits
        assert logits is not None
        loss = sum(torch.nn.functional.cross_entropy(head, labels) for head in logits.unbind(1)) / len(
            net.heads
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimiser.step()
        if loss < 0.3:
            assert all(p.grad is not None for p in net.parameters())
            return
    pytest.fail(f"loss {float(loss):.3f} after 60 steps")


@pytest.mark.parametrize("changed", [{}, {"attention": "channel"}, {"soqn": "off"}], ids=str)
def test_it_can_be_exported(changed: Mapping[str, object]) -> None:
    net, images = ClinReadNet(replace(TINY, **changed)).eval(), _images()  # type: ignore[arg-type]
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(net, (images[:3],), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images).logits, net(images).logits)


def test_decoding() -> None:
    logits = torch.full((2, 2, 21), -30.0)
    logits[0, :, 13] = 30
    logits[1, 0, 20], logits[1, 1, 0], logits[1, 1, 4] = 30, 30, 30  # 1/2 of 20, 1/4 of 0 and of 4
    torch.testing.assert_close(decode(logits), torch.tensor([2.6, 4.0]))
    torch.testing.assert_close(decode(logits, "continuous"), torch.tensor([2.6, 2.2]))
    with pytest.raises(ValueError, match="'mode' is neither"):
        decode(logits, "mode")  # type: ignore[arg-type]
    grades = torch.arange(21)
    assert torch.equal(encode(grades / 5), grades)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"window": 3}, "window 3 is larger than the last stage's grid of 2x2 tokens at 64 pixels"),
        ({"image_size": 72}, "image_size 72 is not a multiple of 32"),
        ({"backbone": "resnet18", "backbone_options": {}}, "'resnet18' is not one of timm's Swin"),
        ({"backbone_options": {**SWIN, "depths": (1, 1), "num_heads": (1, 2)}}, "has 2 stages; expected 4"),
        ({"backbone_options": {"img_size": 96}}, "set by the other fields"),
        ({"soqn": "all"}, "soqn 'all' is not one of off, sobel, ordinal, both"),
        ({"softmax": "triple"}, "softmax 'triple'"),
        ({"softmax": "double", "attention": "channel"}, "needs attention at temperatures"),
        ({"temperatures": (0.5,)}, "has 3 weights for 1 temperatures"),
        ({"temperatures": (0.5, 0.0, 1.0)}, "not all above 0"),
        ({"heads": 0}, "heads 0"),
        ({"grades": 1}, "grades 1"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_contradictions_are_refused(changed: Mapping[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ClinReadNet(replace(TINY, **changed))  # type: ignore[arg-type]


def test_images_of_another_shape_are_refused() -> None:
    net = ClinReadNet(TINY)
    for images in (
        torch.rand(1, 3, 32, 64),
        torch.rand(3, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ):
        with pytest.raises(ValueError, match=r"expected floating-point \(N, 3, 64, 64\)"):
            net(images)


def test_the_ablation_tables() -> None:
    assert {table: len(rows) for table, rows in ABLATIONS.items()} == {
        "3": 4, "4": 3, "5": 2, "6": 7, "7": 3, "8": 5,
    }  # fmt: skip
    for rows in ABLATIONS.values():
        settings = []
        for row in rows.values():
            settings.append((replace(ClinReadNetConfig(), **row.model), dict(row.loss)))  # type: ignore[arg-type]
            assert row.plcc + row.srocc + row.krocc == pytest.approx(row.score, abs=1.5e-4)
        assert all(a != b for i, a in enumerate(settings) for b in settings[:i])
        assert max(rows.values(), key=lambda row: row.score).score == 2.7690
