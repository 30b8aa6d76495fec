"""The peer of train_step.py: the same student, batch and loss in PyTorch, which it runs itself.

    python benchmarks/torch_step.py eager|channels_last|compiled

Prints images/s for each line that it reads from standard input, so that the two frameworks are
timed by turns. Needs the extra `bench`.
"""

import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CHANNELS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
STEPS = 20


def normalised(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU6(inplace=True)


def mobilenet(dim):
    """MobileNet-0.25 with a linear head, as `build_embedder` makes it, without the unit norm."""
    layers = [nn.Conv2d(3, 8, 3, 2, 1, bias=False), *normalised(8)]
    for stride, into, out in zip(STRIDES, CHANNELS, CHANNELS[1:], strict=False):
        layers += [
            nn.Conv2d(into, into, 3, stride, 1, groups=into, bias=False),
            *normalised(into),
            nn.Conv2d(into, out, 1, bias=False),
            *normalised(out),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, dim))


def batch_hard(embeddings, same):
    distances = torch.cdist(embeddings, embeddings)
    furthest = distances.masked_fill(~same, 0).amax(1)
    nearest = distances.masked_fill(same, 9).amin(1)
    return functional.relu(furthest - nearest + 0.2).mean()


def main(mode):
    torch.manual_seed(0)
    model = mobilenet(512)
    layout = torch.contiguous_format
    if mode != "eager":
        layout = torch.channels_last
        model = model.to(memory_format=layout)
    forward = torch.compile(model) if mode == "compiled" else model
    optimizer = torch.optim.Adam(model.parameters(), 3e-4)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 128, 3), dtype=np.uint8)
    images, labels = torch.from_numpy(pixels), torch.arange(64) // 8
    same = labels[:, None] == labels

    def steps(count):
        for _ in range(count):
            x = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=layout) / 127.5 - 1
            loss = batch_hard(functional.normalize(forward(x)), same)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    steps(5)
    print("ready", flush=True)
    for _ in sys.stdin:
        begun = time.perf_counter()
        steps(STEPS)
        print(STEPS * 64 / (time.perf_counter() - begun), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
