"""Binary KL divergence between logits of student and teacher: the loss of DHKD's auxiliary head."""

from __future__ import annotations

import math

from torch import Tensor


def binary_kl(student: Tensor, teacher: Tensor, temperature: float, t2_scale: bool = True) -> Tensor:
    """T^2 sum_c KL(1/2 || sigmoid((s_c - t_c) / T)) of each sample: 0 where the logits agree, and only there.

    With d = (s - t) / T the divergence of one class is |d| / 2 + ln(1 + e^-|d|) - ln 2 = ln cosh(d / 2), which needs no clamp;
    the authors clamp the sigmoid at 1e-8, and so have no gradient beyond |d| = 18.

    Args:
        student, teacher: [B, C]; 16-bit ones are computed in float32. A class at -inf of the teacher asks nothing.
        temperature: T > 0.
        t2_scale: multiply by T^2.
    Returns: [B].
    """
    wide = student.float() if student.dtype.itemsize < 4 else student
    target = teacher.detach().to(wide.dtype)
    known = target.isfinite()
    d = (wide - target.masked_fill(~known, 0.0)).masked_fill(~known, 0.0) / temperature  # [B, C]
    losses = (d.abs() / 2 + (-d.abs()).exp().log1p() - math.log(2)).sum(1)
    return temperature**2 * losses if t2_scale else losses
