// kd_rows: what one class adds to a row, what a row comes to, and the slope of one class.
//
// p, q are the softmax of student and teacher at temperature T; p', q' the same over the classes but the target y. Everything about
// y itself goes through the log-odds of y against the rest, which lose nothing where p_y is near 1.
#pragma once

#include "math.h"

#include <cstring>

namespace hdx {

// T and the weight of each term; see hdx/ops/kd_rows.py.
struct KdTerms {
  double temperature, ce, teacher_ce, kd, target, non_target, non_target_ce;
};

// Sums over the classes but the target, relative to the largest of their logits:
// exp((s - max) / T), the same of the teacher, exp(s - max), the teacher's exp(t - max), and with e the second of them and x, y the
// scaled logits: e (y - x) and -e x.
template <typename T>
struct KdSums {
  T student, teacher, hard, teacher_hard, gap, cross;
};

// e^x for x <= 0 in float32 to about one unit in the last place; 0 below 2^-126, NaN for NaN.
HDX_MATH float kd_exp(float x) {
#if defined(__CUDA_ARCH__)
  return expf(x);  // __expf loses digits where x is far below 0
#else
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, which stands in the low bits
  const float below = x < -88.02969f ? -88.02969f : x;
  const float shifted = below * 1.44269504f + shifter;
  const float n = shifted - shifter;
  const float r = (below - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  int32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = static_cast<int32_t>(static_cast<uint32_t>(bits - 0x4B400000 + 127) << 23);  // 2^n; 0 for n = -127
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
#endif
}

HDX_MATH double kd_exp(double x) { return exp(x); }

// What a class other than the target adds. A class at -inf, and one that the teacher rules out, adds nothing but to the student's sums.
template <bool Hard, bool TeacherHard, typename T>
HDX_MATH KdSums<T> kd_class(T s, T t, T student_max, T teacher_max, T scale) {
  const T below = s - student_max, teacher_below = t - teacher_max;
  const T x = below * scale, y = teacher_below * scale;
  const T e = kd_exp(y);
  KdSums<T> sums;
  sums.student = kd_exp(x);
  sums.teacher = e;
  sums.hard = Hard ? kd_exp(below) : T(0);
  sums.teacher_hard = TeacherHard ? kd_exp(teacher_below) : T(0);
  sums.gap = e == T(0) ? T(0) : e * (y - x);
  sums.cross = e == T(0) ? T(0) : -e * x;
  return sums;
}

// d loss / d s of a class other than the target, from a row's slopes.
template <bool Hard, typename T>
HDX_MATH T kd_slope(T s, T t, T student_max, T teacher_max, T scale, T student_slope, T teacher_slope, T hard_slope) {
  const T below = s - student_max;
  const T slope = student_slope * kd_exp(below * scale) - teacher_slope * kd_exp((t - teacher_max) * scale);
  return Hard ? slope + hard_slope * kd_exp(below) : slope;
}

HDX_MATH double kd_softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

HDX_MATH double kd_sigmoid(double x) {
  const double e = exp(x > 0 ? -x : x);
  return (x > 0 ? 1.0 : e) / (1.0 + e);
}

// 0 where the weight is, whatever the value.
HDX_MATH double kd_times(double weight, double value) { return weight == 0 ? 0.0 : weight * value; }

// The loss of a row, and its six numbers for the backward: both maxima, the slopes of student, teacher and hard exponentials, and the
// target's own slope.
//
// sums: over the classes but the target; without Hard, where T = 1, `hard` is `student`, and likewise the teacher's.
// s, t: the target's logits, relative to the maxima. labelled: whether the target is the label.
HDX_MATH double kd_row(const KdSums<double>& sums, double s, double t, bool labelled, const KdTerms& terms, double slopes[4]) {
  const bool alone = sums.student == 0, teacher_alone = sums.teacher == 0;
  const double log_sum = log(sums.student), teacher_log_sum = log(sums.teacher), temperature = terms.temperature;
  const double u = s / temperature - log_sum, v = t / temperature - teacher_log_sum, hard_u = s - log(sums.hard);
  const double p = kd_sigmoid(u), q = kd_sigmoid(v), rest_p = kd_sigmoid(-u), rest_q = kd_sigmoid(-v);

  double hard = labelled ? terms.ce : 0.0;  // the weight of -log softmax(s)_y
  if (terms.teacher_ce != 0) hard += terms.teacher_ce * kd_sigmoid(t - log(sums.teacher_hard));
  double loss = kd_times(hard, kd_softplus(-hard_u));
  const double binary = terms.kd + terms.target;
  if (binary != 0) {
    loss += binary * (kd_times(q, kd_softplus(-u) - kd_softplus(-v)) + kd_times(rest_q, kd_softplus(u) - kd_softplus(v)));
  }
  if (!teacher_alone) {
    const double gap = alone ? HUGE_VAL : sums.gap / sums.teacher + log_sum - teacher_log_sum;
    const double cross = alone ? HUGE_VAL : sums.cross / sums.teacher + log_sum;
    loss += kd_times(terms.kd * rest_q + terms.non_target, gap) + kd_times(terms.non_target_ce, cross);
  }

  const double excess = u > 0 && v > 0 ? rest_q - rest_p : p - q;
  const double others = teacher_alone ? 0.0 : terms.non_target + terms.non_target_ce;
  const double own = (terms.kd * rest_p + others - terms.target * excess) / temperature;
  hard *= kd_sigmoid(-hard_u);
  slopes[0] = alone ? 0.0 : (temperature == 1 ? own + hard : own) / sums.student;
  slopes[1] = teacher_alone ? 0.0 : (terms.kd * rest_q + others) / temperature / sums.teacher;
  slopes[2] = alone || temperature == 1 ? 0.0 : hard / sums.hard;
  slopes[3] = binary * excess / temperature - hard;
  return loss;
}

}  // namespace hdx
