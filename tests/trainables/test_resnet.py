"""The networks, against the Gluon model zoo's published counts."""

from __future__ import annotations

import pytest
import torch

from trainables.cifar10.resnet import MODELS, BasicBlock, ResNetV2, _Block

# mxnet.gluon.model_zoo.vision's table: for ImageNet, and with each BatchNorm's running mean and variance.
PUBLISHED = {"resnet18_v2": 11_695_796, "resnet34_v2": 21_811_380, "resnet50_v2": 25_595_060}


def size(model: torch.nn.Module) -> int:
    """How many numbers the network holds, running statistics with them and their step counters without."""
    return sum(t.numel() for name, t in model.state_dict().items() if "num_batches" not in name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_that_of_gluon(name: str) -> None:
    features = 2048 if "50" in name else 512
    stem = 64 * 3 * (7 * 7 - 3 * 3) + 4 * 64  # ImageNet's 7x7 stem and the BatchNorm after it
    fixed = 2 * 3  # Gluon counts the scale and shift of the pixels' BatchNorm, which are never trained
    head = (1000 - 10) * (features + 1)
    assert size(ResNetV2(name)) == PUBLISHED[name] - stem - fixed - head


@pytest.mark.parametrize("name", MODELS)
def test_depth_is_in_the_name(name: str) -> None:
    modules = list(ResNetV2(name, width=1).modules())
    layers = [m for m in modules if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    shortcuts = sum(isinstance(m, _Block) and m.shortcut is not None for m in modules)
    assert name == f"resnet{len(layers) - shortcuts}_v2"


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("stem_stride", [1, 2])
def test_any_image_size_serves(side: int, stem_stride: int) -> None:
    logits = ResNetV2("resnet8_v2", 4, stem_stride, classes=7)(torch.zeros(2, 3, side, side))
    assert logits.shape == (2, 7)


def test_stem_stride_halves_what_the_blocks_see() -> None:
    seen = []
    for stride in (1, 2):
        model = ResNetV2("resnet8_v2", 4, stride)
        seen.append(model.stem(torch.zeros(1, 3, 32, 32)).shape[-1])
    assert seen == [32, 16]


def test_shortcut_starts_after_the_first_activation() -> None:
    block = BasicBlock(3, 6, stride=2)  # which widens, so its shortcut is a convolution
    x = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(block(x), block(x * 60 - 7), atol=1e-2)  # its BatchNorm takes scale and shift away


def test_shortcut_is_a_convolution_of_its_stride() -> None:
    block = BasicBlock(8, 16, stride=2).eval()
    assert block.shortcut is not None
    x = torch.randn(4, 8, 9, 9, generator=torch.Generator().manual_seed(0))
    shortcut = torch.nn.functional.conv2d(block.activate(x), block.shortcut.weight, stride=2)
    torch.testing.assert_close(block(x), shortcut + block.residual(block.activate(x)))


@pytest.mark.parametrize("width", [1, 4, 6, 8])
def test_narrow_networks_have_the_same_gradients_channels_last(width: int) -> None:
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        block = BasicBlock(width, 2 * width, stride=2).to(memory_format=layout)  # type: ignore[call-overload]
        images = torch.randn(64, width, 8, 8).contiguous(memory_format=layout)
        for _ in range(20):  # what is written past its memory shows late
            block.zero_grad()
            block(images).square().sum().backward()
        assert block.shortcut is not None
        gradients.append(block.shortcut.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-2)


def test_pixels_are_normalised_by_the_network_itself() -> None:
    model = ResNetV2("resnet8_v2", 4)
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(images), model(images * 60 - 7), atol=1e-2)
