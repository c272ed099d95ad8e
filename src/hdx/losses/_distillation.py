"""Distillation of logits, for the methods that keep a previous model or have a teacher."""

from __future__ import annotations

import torch
from torch import Tensor


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)) of each sample (Hinton et al. 2015).

    Its gradient is that of T^2 times the cross-entropy with soft targets, which some papers write: the two differ by the entropy
    of the teacher. T^2 keeps the gradient's size about the same at every temperature.

    Args:
        student: [B, C] logits; 16-bit ones are computed in float32.
        teacher: [B, C] logits, no gradient flows into them; a class at -inf asks nothing of the student.
        temperature: T > 0.
    Returns: [B].
    """
    log_q = (_wide(student) / temperature).log_softmax(1)
    log_p = (_wide(teacher.detach()) / temperature).log_softmax(1)
    p = log_p.exp()
    return temperature**2 * torch.where(p > 0, p * (log_p - log_q), 0.0).sum(1)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
