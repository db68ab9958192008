"""MedIQA: prompts, slice pooling, heads, the classifier for missing tags, and that it learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.maniqa import ManiqaConfig
from models.mediqa import Mediqa, MediqaConfig
from models.prompt import PARTS, UNKNOWN, PromptVocabulary
from models.prompt_classifier import PromptClassifier, PromptClassifierConfig, vote
from tests.models.conftest import TINY_VIT, overfits, parameters

VOCABULARY = PromptVocabulary()
WORDS = {part: st.sampled_from((UNKNOWN, *VOCABULARY.words(part))) for part in PARTS}


@pytest.fixture
def tiny(tiny_maniqa: ManiqaConfig) -> MediqaConfig:
    return MediqaConfig(maniqa=tiny_maniqa)


def prompts(count: int, **words: str) -> Tensor:
    return torch.tensor([VOCABULARY.encode(**words)] * count)


def test_parameters_of_the_published_network() -> None:
    config = MediqaConfig(maniqa=ManiqaConfig(truncated=False))
    assert parameters(lambda: Mediqa(config)) == pytest.approx(135.82, abs=5e-3)
    classifier = PromptClassifierConfig(part="region")
    assert parameters(lambda: PromptClassifier(classifier)) == pytest.approx(85.81, abs=5e-3)


@given(st.fixed_dictionaries(WORDS), st.sets(st.sampled_from(PARTS)))
def test_a_prompt_has_one_input_a_known_word(words: dict[str, str], parts: set[str]) -> None:
    values = VOCABULARY.encode(**words, parts=parts)
    assert len(values) == 64
    assert sum(values) == sum(words[part] != UNKNOWN for part in parts)


def test_words_outside_the_vocabulary_are_named() -> None:
    with pytest.raises(ValueError, match="region 'elbow room' is not in the vocabulary: head, neck"):
        VOCABULARY.encode(region="elbow room")
    with pytest.raises(ValueError, match="do not fit 8 inputs"):
        PromptVocabulary(width=8)
    with pytest.raises(ValueError, match="repeat"):
        PromptVocabulary(region=("head", "head"))


def test_zero_pooling_weights_are_the_mean(tiny: MediqaConfig, eight_images: Tensor) -> None:
    torch.manual_seed(1)
    net = Mediqa(tiny).eval()
    series = eight_images.view(2, 4, 3, 32, 32)
    found = net(series)
    assert found.slice_weights is not None
    torch.testing.assert_close(found.slice_weights, torch.full((2, 4), 0.25))
    alone = net(eight_images).score.view(2, 4).mean(dim=1)
    torch.testing.assert_close(found.score, alone)
    plain = Mediqa(replace(tiny, pooling="mean")).eval()
    plain.load_state_dict(net.state_dict(), strict=False)
    torch.testing.assert_close(plain(series).score, found.score)


@pytest.mark.parametrize("pooling", ["learned", "mean"])
def test_absent_slices_do_not_count(pooling: str, tiny: MediqaConfig, eight_images: Tensor) -> None:
    torch.manual_seed(1)
    net = Mediqa(replace(tiny, pooling=pooling)).eval()
    if net.pooling is not None:
        torch.nn.init.normal_(net.pooling.linear.weight)
    series = eight_images.view(2, 4, 3, 32, 32)
    present = torch.tensor([[True, True, False, True], [True, False, False, False]])
    found = net(series, present=present)
    assert found.slice_weights is not None
    assert (found.slice_weights[~present] == 0).all()
    torch.testing.assert_close(found.slice_weights.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(found.score[1], net(series[1:, :1]).score[0])


def test_a_prompt_moves_the_score_and_a_part_switched_off_does_not(
    tiny: MediqaConfig, eight_images: Tensor
) -> None:
    torch.manual_seed(1)
    net = Mediqa(replace(tiny, prompt_parts=("modality",))).eval()
    nothing = net(eight_images, prompts(8)).score
    assert not torch.allclose(net(eight_images, prompts(8, modality="CT")).score, nothing)
    assert torch.equal(net(eight_images, prompts(8, region="head", type="t1")).score, nothing)
    assert torch.equal(net(eight_images).score, nothing)


def test_a_physical_parameter_has_a_head_of_its_own(tiny: MediqaConfig, eight_images: Tensor) -> None:
    net = Mediqa(replace(tiny, parameters=("mas",))).eval()
    assert not torch.allclose(net(eight_images, task="mas").score, net(eight_images).score)
    with pytest.raises(ValueError, match="no head for 'tesla'; there are quality, mas"):
        net(eight_images, task="tesla")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"prompt_parts": ()},
        {"prompt_parts": ("modality", "region")},
        {"pooling": "mean"},
        {"parameters": ("mas",), "task": "mas"},
    ],
    ids=str,
)
def test_it_learns_eight_series(changed: dict[str, object], tiny: MediqaConfig, eight_images: Tensor) -> None:
    torch.manual_seed(3)
    task = str(changed.pop("task", "quality"))
    net = Mediqa(replace(tiny, **changed))
    series = torch.stack([eight_images, eight_images.flip(2)], dim=1)
    prompt = prompts(8, dimension="3D", modality="MR", region="head", type="t1")
    assert overfits(lambda images: net(images, prompt, task=task), net, series)


def test_wrong_inputs_are_named(tiny: MediqaConfig, eight_images: Tensor) -> None:
    net = Mediqa(tiny)
    with pytest.raises(ValueError, match=r"expected \(N, S, 3, side, side\)"):
        net(eight_images[0])
    with pytest.raises(ValueError, match=r"prompt has shape \(8, 3\); expected \(8, 64\)"):
        net(eight_images, torch.zeros(8, 3))
    with pytest.raises(ValueError, match="present has shape"):
        net(eight_images, present=torch.ones(8, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="'colour'\\] do not exist"):
        replace(tiny, prompt_parts=("colour",))
    with pytest.raises(ValueError, match="neither learned nor mean"):
        replace(tiny, pooling="max")


def test_the_classifier_answers_only_when_sure(eight_images: Tensor) -> None:
    config = PromptClassifierConfig(part="modality", image_size=32, backbone_options=TINY_VIT)
    net = PromptClassifier(config).eval()
    logits = net(eight_images)
    assert logits.shape == (8, len(net.words))
    unsure, probability = vote(logits * 0, net.words)
    assert unsure == UNKNOWN and probability == pytest.approx(1 / len(net.words))
    sure = torch.zeros_like(logits)
    sure[:, net.words.index("MR")] = 9.0
    assert vote(sure, net.words)[0] == "MR"
    with pytest.raises(ValueError, match="'dimension' is not one of"):
        PromptClassifierConfig(part="dimension")
