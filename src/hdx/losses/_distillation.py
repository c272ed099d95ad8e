"""Distillation of logits, for the methods that keep a previous model."""

from __future__ import annotations

from torch import Tensor

from hdx.ops.kd_rows import kd_rows


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
    any_class = student.new_zeros(len(student)).long()  # the divergence is the same about every class
    return kd_rows(student, teacher, any_class, temperature=temperature, kd=temperature**2)
