"""The fast path: precisions, buckets, engines, memory, drift."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.fast import batches, openvino, precision
from models.fast.drift import drift, gate
from models.fast.engine import Accelerated, accelerate
from models.fast.errors import ConversionError, DriftError, FastWarning, ImageTooLargeError, is_out_of_memory
from models.fast.torch_runner import Float32Linear, prepared
from models.maniqa import Maniqa, ManiqaConfig
from models.mediqa import Mediqa, MediqaConfig
from models.output import Output

needs_openvino = pytest.mark.skipif(not openvino.available(), reason="OpenVINO is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
ENGINES = ["torch", pytest.param("openvino", marks=needs_openvino)]


@pytest.fixture
def maniqa(tiny_maniqa: ManiqaConfig) -> Maniqa:
    torch.manual_seed(0)
    return Maniqa(tiny_maniqa).eval()


class Sharpness(nn.Module):
    """A convolutional network whose score follows the images, as a trained one's would."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 1)

    def forward(self, images: Tensor) -> Output:
        return Output(score=10 * self.head(self.conv(images).relu().mean(dim=(2, 3)))[:, 0])


@pytest.fixture
def varied() -> Tensor:
    """24 images, the same pattern from sharp to washed out."""
    pattern = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(2))
    return torch.stack([0.5 + (pattern - 0.5) * strength for strength in torch.linspace(0.05, 1, 24)])


def same(found: Output, wanted: Output, tolerance: float) -> None:
    for name, have, want in zip(Output._fields, found, wanted, strict=True):
        assert (have is None) == (want is None), name
        if have is not None and want is not None:
            assert have.dtype == torch.float32 and have.device == want.device
            torch.testing.assert_close(have, want, atol=tolerance, rtol=tolerance, msg=name)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("chosen", "tolerance"), [("fp32", 1e-5), ("bf16", 3e-2)])
def test_any_number_of_images_gives_what_the_network_gives(
    engine: str, chosen: str, tolerance: float, maniqa: Maniqa
) -> None:
    images = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        wanted = maniqa(images)
    fast = accelerate(maniqa, engine=engine, precision=chosen, max_batch=4)  # type: ignore[arg-type]
    same(fast(images), wanted, tolerance)
    same(fast(images[:1]), Output(*(None if f is None else f[:1] for f in wanted)), tolerance)  # type: ignore[arg-type]
    assert fast.precision == chosen and fast.engine == engine and not fast.notes


@pytest.mark.parametrize("engine", ENGINES)
def test_several_inputs_and_missing_ones(engine: str, tiny_maniqa: ManiqaConfig) -> None:
    torch.manual_seed(4)
    net = Mediqa(MediqaConfig(maniqa=tiny_maniqa)).eval()
    images, prompt = torch.rand(3, 2, 3, 32, 32), torch.rand(3, 64)
    present = torch.tensor([[True, True], [True, False], [True, True]])
    fast = accelerate(net, engine=engine, precision="fp32", max_batch=2)  # type: ignore[arg-type]
    with torch.inference_mode():
        for inputs in ((images, None, present), (images, prompt)):
            same(fast(*inputs), net(*inputs), 1e-5)


class Rigid(nn.Module):
    """A network whose code fixes the batch size where it is exported."""

    def forward(self, images: Tensor) -> Output:
        if len(images) % 2:
            return Output(score=images.mean(dim=(1, 2, 3)))
        return Output(score=images.flatten(1).mean(dim=1))


@needs_openvino
def test_padded_buckets_give_the_same_as_unpadded() -> None:
    images = torch.rand(7, 3, 8, 8)
    runner = openvino.OpenVinoRunner(Rigid(), "fp32", (1, 2, 4, 8))
    for count in (7, 3, 1):
        torch.testing.assert_close(runner((images[:count],)).score, images[:count].mean(dim=(1, 2, 3)))
    assert sorted(size for size, _ in runner._fixed) == [1, 4, 8]  # type: ignore[misc]


def test_padding_repeats_the_last_row_and_keeps_missing_inputs() -> None:
    images = torch.arange(6.0).view(3, 2)
    padded = batches.padded((images, None), 4)
    assert padded[1] is None and padded[0] is not None
    assert torch.equal(padded[0], torch.tensor([[0.0, 1], [2, 3], [4, 5], [4, 5]]))
    assert batches.padded((images,), 3)[0] is images


def test_buckets() -> None:
    assert batches.bucket_sizes(12) == (1, 2, 4, 8, 12) and batches.bucket_sizes(8) == (1, 2, 4, 8)
    assert batches.bucket_sizes(1) == (1,)
    assert [batches.bucket_of(n, (1, 2, 4, 8)) for n in (1, 3, 8)] == [1, 4, 8]
    with pytest.raises(ValueError, match="9 rows do not fit"):
        batches.bucket_of(9, (1, 2, 4, 8))
    with pytest.raises(ValueError, match="max_batch 0"):
        batches.bucket_sizes(0)


@pytest.mark.parametrize(
    "inputs",
    [(), (None,), (torch.zeros(0, 3, 8, 8),), (torch.tensor(1.0),), (torch.zeros(2, 3), torch.zeros(3, 3))],
)
def test_inputs_that_are_no_batch_are_refused(inputs: tuple[Tensor | None, ...]) -> None:
    with pytest.raises(ValueError, match=r"no images|not the same number"):
        accelerate(Sharpness(), engine="torch")(*inputs)


class Hungry(nn.Module):
    """Runs out of memory above a number of images."""

    def __init__(self, capacity: int, error: type[Exception], words: str) -> None:
        super().__init__()
        self.capacity, self.error, self.words = capacity, error, words
        self.seen: list[int] = []

    def __deepcopy__(self, memo: object) -> Hungry:
        return self  # to look into the copy

    def forward(self, images: Tensor) -> Output:
        if len(images) > self.capacity:
            raise self.error(self.words)
        self.seen.append(len(images))
        return Output(score=images.mean(dim=(1, 2, 3)))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        (MemoryError, ""),
        (torch.cuda.OutOfMemoryError, "CUDA out of memory"),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_remembered(error: type[Exception], words: str) -> None:
    net = Hungry(3, error, words)
    fast = accelerate(net, engine="torch", max_batch=16)
    images = torch.rand(20, 3, 8, 8)
    with pytest.warns(FastWarning) as told:
        found = fast(images)
    assert [str(one.message) for one in told] == fast.notes
    assert fast.notes[0] == "a batch of 16 does not fit the memory of cpu; 8 are tried"
    torch.testing.assert_close(found.score, images.mean(dim=(1, 2, 3)))
    assert fast.max_batch == 2 and net.seen == [2] * 10 and len(fast.notes) == 3
    fast(images[:5])
    assert net.seen[10:] == [2, 2, 1]


def test_an_image_that_does_not_fit_is_named() -> None:
    fast = accelerate(Hungry(0, MemoryError, ""), engine="torch", max_batch=2)
    with (
        pytest.warns(FastWarning, match="a batch of 2"),
        pytest.raises(ImageTooLargeError, match="one image does not fit"),
    ):
        fast(torch.rand(3, 3, 8, 8))


def test_other_errors_are_not_taken_for_memory() -> None:
    fast = accelerate(Hungry(0, RuntimeError, "size mismatch"), engine="torch")
    with pytest.raises(RuntimeError, match="size mismatch"):
        fast(torch.rand(2, 3, 8, 8))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_weights_are_cast_once_and_the_head_stays_exact() -> None:
    net = Sharpness()
    net.conv.weight.data += 0.001
    fast = prepared(net, torch.device("cpu"), "bf16")
    assert fast.conv.weight.dtype == torch.bfloat16 and isinstance(fast.head, Float32Linear)
    assert net.conv.weight.dtype == torch.float32 and type(net.head) is nn.Linear
    assert net.training and not fast.training
    scores = accelerate(net, engine="torch", precision="bf16")(torch.rand(64, 3, 16, 16)).score
    assert not torch.equal(scores, scores.bfloat16().float()), "the score was rounded"


@needs_openvino
def test_openvino_leaves_the_score_exact() -> None:
    scores = accelerate(Sharpness(), engine="openvino", precision="bf16")(torch.rand(8, 3, 16, 16)).score
    assert not torch.equal(scores, scores.bfloat16().float()), "the score was rounded"


class Cancelling(nn.Module):
    """Far from itself in bfloat16: a small difference of large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, 1000)

    def forward(self, images: Tensor) -> Output:
        large = self.conv(images)
        return Output(score=(large - large.mean(dim=(2, 3), keepdim=True)).square().mean(dim=(1, 2, 3)))


@needs_openvino
@pytest.mark.skipif("bf16" not in precision.fast_precisions("cpu"), reason="no bfloat16 on this processor")
def test_an_answer_that_is_altogether_different_is_refused() -> None:
    torch.manual_seed(0)
    with pytest.raises(ConversionError, match=r"OpenVINO answers .* where Cancelling answers"):
        accelerate(Cancelling(), engine="openvino", precision="bf16")(torch.rand(3, 3, 16, 16))


class Refused(nn.Module):
    """No exporter follows `.item()` on values."""

    def forward(self, images: Tensor) -> Output:
        return Output(score=images.mean(dim=(1, 2, 3)) * (1 if images.sum().item() > 0 else 2))


@needs_openvino
def test_a_network_openvino_refuses_runs_on_torch_or_is_named() -> None:
    images = torch.rand(3, 3, 8, 8)
    fast = accelerate(Refused(), precision="fp32")
    with pytest.warns(FastWarning, match="OpenVINO cannot take Refused"):
        found = fast(images)
    torch.testing.assert_close(found.score, images.mean(dim=(1, 2, 3)))
    assert fast.engine == "torch"
    with pytest.raises(ConversionError, match='engine="torch"'):
        accelerate(Refused(), engine="openvino")(images)


def test_a_missing_openvino_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r"pip install 'qagate\[openvino\]'"):
        accelerate(Sharpness(), engine="openvino")
    monkeypatch.setattr(openvino, "available", lambda: False)
    assert accelerate(Sharpness()).engine == "torch"


@needs_openvino
def test_openvino_does_not_call_home() -> None:
    code = (
        "import socket, sys, torch\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from models.fast.openvino import import_openvino\n"
        "import_openvino()\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert 'telemetry_stub' in telemetry_utils.tm.__name__, telemetry_utils.tm\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "onnx"}, "engine 'onnx' is not one of auto, torch, openvino"),
        ({"precision": "int8"}, "precision 'int8' is not one of auto, fp32, bf16, fp16"),
        ({"precision": "fp16"}, "on a CPU use bf16 or fp32"),
        ({"device": "meta"}, "neither cpu nor cuda"),
        ({"max_batch": 0}, "max_batch 0"),
    ],
)
def test_options_that_do_not_exist_are_named(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        accelerate(Sharpness(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fast"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", ("bf16", "fp32")),
        ("flags : fpu amx_tile amx_bf16", ("bf16", "fp32")),
        ("Features\t: fp asimd bf16 i8mm", ("bf16", "fp32")),
        ("flags : fpu avx2 avx512f", ("fp32",)),
        ("", ("fp32",)),
    ],
)
def test_the_processor_says_what_it_does_well(
    text: str, fast: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    flags = precision.cpu_flags(tmp_path / "cpuinfo")
    monkeypatch.setattr(precision, "cpu_flags", lambda: flags)
    assert precision.fast_precisions("cpu") == fast
    assert precision.choose("auto") == fast[0] and precision.choose("fp32") == "fp32"


def test_a_processor_that_does_not_tell_computes_in_fp32(tmp_path: Path) -> None:
    assert precision.cpu_flags(tmp_path / "absent") == frozenset()


@pytest.mark.parametrize(("capability", "chosen"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16")])
def test_the_gpu_says_what_it_does_well(
    capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision.choose("auto", "cuda") == chosen and precision.choose("fp16", "cuda") == "fp16"


def test_drift_of_known_scores() -> None:
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = drift(reference, torch.tensor([0.1, 0.3, 0.2, 0.4]))
    assert found.srocc == pytest.approx(0.8) and found.max_abs == pytest.approx(0.1)
    assert found.mean_abs == pytest.approx(0.05) and found.spread == pytest.approx(0.1118, abs=1e-4)
    assert drift(torch.ones(3), torch.ones(3)).srocc == 1 and drift(torch.ones(3), reference[:3]).srocc == 0
    with pytest.raises(ValueError, match="shapes"):
        drift(reference, reference[:3])
    with pytest.raises(ValueError, match="NaN"):
        drift(reference, reference / 0 * 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gate_lets_a_true_copy_pass(engine: str, varied: Tensor) -> None:
    net = Sharpness().eval()
    found = gate(net, accelerate(net, engine=engine, precision="fp32"), varied)  # type: ignore[arg-type]
    assert found.srocc > 1 - 1e-9 and found.max_abs < 1e-5 < found.spread


def test_the_gate_stops_another_order_and_images_that_cannot_tell(varied: Tensor) -> None:
    net = Sharpness().eval()

    def swapped(images: Tensor) -> Output:
        score = net(images).score.clone()
        score[[3, 9]] = score[[9, 3]]
        return Output(score=score)

    with pytest.raises(DriftError, match=r"SROCC 0\.9.* is below 0\.999"):
        gate(net, swapped, varied)
    alike = varied[-1:].expand(24, -1, -1, -1)
    with pytest.raises(DriftError, match="give images of varied degradation"):
        gate(net, net, alike)
    with pytest.raises(DriftError, match="24 or more"):
        gate(net, net, varied[:23])


def test_without_a_gpu_the_cpu_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(FastWarning, match="there is no GPU for cuda; the CPU is used"):
        fast = accelerate(Sharpness(), device="cuda", engine="torch")
    assert fast.device.type == "cpu" and len(fast.notes) == 1


@pytest.fixture
def on_gpu(maniqa: Maniqa) -> Iterator[Accelerated]:
    yield accelerate(maniqa, device="cuda", max_batch=8)
    torch.cuda.empty_cache()


@needs_gpu
def test_graphs_on_a_gpu_give_what_the_network_gives(on_gpu: Accelerated, maniqa: Maniqa) -> None:
    for count in (1, 3, 8, 11, 3):
        images = torch.rand(count, 3, 32, 32)
        with torch.inference_mode():
            same(on_gpu(images), maniqa(images), 3e-2)
            there = on_gpu(images.cuda())
        assert there.score.is_cuda
    assert not on_gpu.notes and on_gpu.engine == "torch, CUDA graphs"


@needs_gpu
def test_a_network_that_cannot_be_captured_runs_eagerly_on_a_gpu() -> None:
    images = torch.rand(3, 3, 8, 8)
    fast = accelerate(Refused(), device="cuda", precision="fp32")
    with pytest.warns(FastWarning, match="no CUDA graph"):
        found = fast(images)
    torch.testing.assert_close(found.score, images.mean(dim=(1, 2, 3)))
