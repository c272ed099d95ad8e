"""A training step of a vision transformer with activations as they are, in eight bits, and computed again (checkpointing).

    python scripts/bench/activations.py [--model vit_base_patch16_224] [--batch 256] [--steps 10] [--save]

The three run in turns in one process. Memory is the peak of a step over what is allocated before it, and is known on a GPU only.
A timing never fails this program.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import timm
import torch
from _common import interleaved, publish, table
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.ops import dispatch
from hdx.ops.act_quant8 import saved8


class Step:
    """Forward and backward of one way to keep activations.

    Attributes:
        peaks: bytes at the peak of each step over what was there before.
        gradient: of the last step, all parameters in one vector.
    """

    def __init__(self, net: nn.Module, images: Tensor, context: Callable[[], AbstractContextManager[Any]], again: bool) -> None:
        self.net, self.images, self.context, self.again = net, images, context, again
        self.peaks: list[int] = []
        self.gradient = images.new_zeros(0)

    def __call__(self) -> None:
        """One step, waited for."""
        cuda = self.images.is_cuda
        self.net.zero_grad(set_to_none=True)
        self.net.set_grad_checkpointing(self.again)  # type: ignore[operator]
        before = torch.cuda.memory_allocated() if cuda else 0
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        with torch.autocast(self.images.device.type, torch.bfloat16):
            with self.context():
                logits = self.net(self.images)
            loss = F.cross_entropy(logits, torch.arange(len(logits), device=logits.device) % logits.shape[1])
        loss.backward()
        if cuda:
            torch.cuda.synchronize()
            self.peaks.append(torch.cuda.max_memory_allocated() - before)
        gradients = [parameter.grad.flatten() for parameter in self.net.parameters() if parameter.grad is not None]
        self.gradient = torch.cat(gradients).cpu()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cuda = torch.cuda.is_available()
    parser.add_argument("--model", default="vit_base_patch16_224" if cuda else "vit_tiny_patch16_224")
    parser.add_argument("--batch", type=int, default=256 if cuda else 4)
    parser.add_argument("--steps", type=int, default=10 if cuda else 3)
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(0)
    net = timm.create_model(options.model, pretrained=False, num_classes=100).to(device).train()
    images = torch.randn(options.batch, 3, 224, 224, device=device)
    spared = list(net.parameters())
    steps = {
        "as they are": Step(net, images, nullcontext, False),
        "eight bits": Step(net, images, lambda: saved8(0, spared), False),
        "computed again": Step(net, images, nullcontext, True),
    }
    for step in steps.values():
        step()
        step.peaks.clear()
    times = interleaved(options.steps, *steps.values())
    exact, plain = steps["as they are"].gradient, statistics.median(times[0])
    rows = []
    for (name, step), each in zip(steps.items(), times):
        median = statistics.median(each)
        peak = f"{max(step.peaks) / 2**30:.2f}" if step.peaks else "-"
        error = float((step.gradient - exact).norm() / exact.norm())
        rows.append([name, f"{1e3 * median:.1f}", f"{median / plain:.2f}", peak, f"{error:.1e}"])
    reason = dispatch.status("act_quant8", device.type)
    where = torch.cuda.get_device_name() if cuda else "CPU"
    form = f"in torch: {reason}" if reason else "natively"
    about = f"{options.model}, batch {options.batch}, bf16, {where}; act_quant8 runs {form}."
    head = ("activations", "step (ms)", "ratio", "peak (GiB)", "relative difference of the gradient")
    publish("activations", "Activations in eight bits", [about, table(head, rows)], options.save)


if __name__ == "__main__":
    main()
