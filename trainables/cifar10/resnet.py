"""Residual networks, version 2, for small images: those of the Gluon model zoo with `thumbnail=True`.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016,
https://arxiv.org/abs/1603.05027. Layer for layer the zoo's networks, so the parameter counts agree: a
BatchNorm without scale and shift on the pixels, a 3x3 stem without pooling, and the shortcut's 1x1
convolution taken after the first activation.

    name            stages   blocks a stage   block        width
    resnet8_v2      3        1 1 1            basic        16      a CPU trains it in seconds
    resnet14_v2     3        2 2 2            basic        16      (6n + 2 layers, as He et al. 2015 on CIFAR)
    resnet20_v2     3        3 3 3            basic        16
    resnet10_v2     4        1 1 1 1          basic        64
    resnet18_v2     4        2 2 2 2          basic        64      from here on as in Gluon
    resnet34_v2     4        3 4 6 3          basic        64
    resnet50_v2     4        3 4 6 3          bottleneck   64
    resnet101_v2    4        3 4 23 3         bottleneck   64

Fully convolutional up to the mean over positions, so any image size serves: 32 x 32 and 8 x 8 alike.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["MODELS", "ResNetV2"]


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class _Block(nn.Module):
    """What both kinds of block share: activate, convolve, and add to a shortcut."""

    expansion: int

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.activate = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True))
        self.residual = self._residual(inputs, width, stride)
        self.stride = stride
        self.shortcut = _conv(inputs, outputs, 1) if inputs != outputs or stride != 1 else None

    def _residual(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        activated = self.activate(x)
        if self.shortcut is None:
            return x + self.residual(activated)
        # A 1x1 convolution of that stride. The gradient of oneDNN's own, of fewer than 8 channels that lie
        # last, writes past its memory on CPUs with AVX2 alone: https://github.com/uxlfoundation/oneDNN/issues/6035
        seen = activated[..., :: self.stride, :: self.stride]
        return self.shortcut(seen) + self.residual(activated)


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def _residual(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            _conv(inputs, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _conv(width, width, 3),
        )


class Bottleneck(_Block):
    """1x1, 3x3, 1x1 convolutions; the block is four times as wide outside as inside."""

    expansion = 4

    def _residual(self, inputs: int, width: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            _conv(inputs, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _conv(width, width, 3, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            _conv(width, width * self.expansion, 1),
        )


# name -> (block, blocks in each stage, width of the stem unless told otherwise)
MODELS: dict[str, tuple[type[_Block], tuple[int, ...], int]] = {
    "resnet8_v2": (BasicBlock, (1, 1, 1), 16),
    "resnet14_v2": (BasicBlock, (2, 2, 2), 16),
    "resnet20_v2": (BasicBlock, (3, 3, 3), 16),
    "resnet10_v2": (BasicBlock, (1, 1, 1, 1), 64),
    "resnet18_v2": (BasicBlock, (2, 2, 2, 2), 64),
    "resnet34_v2": (BasicBlock, (3, 4, 6, 3), 64),
    "resnet50_v2": (Bottleneck, (3, 4, 6, 3), 64),
    "resnet101_v2": (Bottleneck, (3, 4, 23, 3), 64),
}


class ResNetV2(nn.Module):
    """A network of `MODELS`, with the widths width, 2 width, 4 width, ... from stage to stage.

    Args:
        name: a key of `MODELS`.
        width: channels of the stem and of the first stage's convolutions; None takes the model's own.
        stem_stride: 2 halves the image's sides in the stem, which quarters the work of all that follows.
        classes: how many logits come out.

    `forward` maps n x 3 x height x width to n x classes.
    """

    def __init__(self, name: str, width: int | None = None, stem_stride: int = 1, classes: int = 10) -> None:
        super().__init__()
        block, stages, own_width = MODELS[name]
        width = width or own_width
        self.pixels = nn.BatchNorm2d(3, affine=False)
        self.stem = _conv(3, width, 3, stem_stride)
        blocks: list[nn.Module] = []
        channels = width
        for stage, count in enumerate(stages):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride))
                channels = width * 2**stage * block.expansion
        self.blocks = nn.Sequential(*blocks)
        self.activate = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.classify = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.activate(self.blocks(self.stem(self.pixels(x))))
        return self.classify(x.mean(dim=(2, 3)))
