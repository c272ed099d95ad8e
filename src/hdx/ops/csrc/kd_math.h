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

// Sums over the classes but the target, of logits a and b of student and teacher relative to the largest:
// e^(a / T), e = e^(b / T), e^a, e^b, e (b - a) and -e a.
template <typename T>
struct KdSums {
  T student, teacher, hard, teacher_hard, gap, cross;
};

// How a class's exponential at temperature 1 is made.
enum KdHard {
  kdNotWanted = 0,
  kdOwn = 1,     // on its own
  kdSquare = 2,  // T = 2: from e^(a / T), which costs little
  kdFourth = 4,  // T = 4
};

// e^(x scale) for x <= 0 in float32: within one unit in the last place of the rounded exponent's; 0 where it is below 2^-126, NaN for NaN.
HDX_MATH float kd_exp(float x, float scale) {
#if defined(__CUDA_ARCH__)
  return expf(x * scale);  // __expf loses digits where x is far below 0
#else
  const float shifter = 12583039.0f;  // 1.5 * 2^23 + 127: adding it rounds to an integer n, and n + 127 stands in the low bits
  const float exponent = x * (scale * 1.44269504f);
  const float z = exponent < -127.0f ? -127.0f : exponent;
  const float shifted = z + shifter;
  const float r = z - (shifted - shifter);
  float p = 1.5353362e-4f;  // 2^r for |r| <= 1/2, minimax with p(0) = 1
  p = p * r + 1.3398875e-3f;
  p = p * r + 9.6184369e-3f;
  p = p * r + 5.5503324e-2f;
  p = p * r + 2.4022648e-1f;
  p = p * r + 6.9314718e-1f;
  p = p * r + 1.0f;
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits <<= 23;  // 2^n; 0 for n = -127
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
#endif
}

HDX_MATH double kd_exp(double x, double scale) { return exp(x * scale); }

template <typename T>
HDX_MATH T kd_exp(T x) {
  return kd_exp(x, T(1));
}

// e^x, of which e = e^(x / T) is known.
template <int Hard, typename T>
HDX_MATH T kd_hard(T x, T e) {
  if (Hard == kdSquare) return e * e;
  if (Hard == kdFourth) return (e * e) * (e * e);
  return Hard == kdOwn ? kd_exp(x) : T(0);
}

// What a class other than the target adds. A class at -inf, and one that the teacher rules out, adds nothing but to the student's sums.
template <int Hard, int TeacherHard, typename T>
HDX_MATH KdSums<T> kd_class(T s, T t, T student_max, T teacher_max, T scale) {
  const T a = s - student_max, b = t - teacher_max;
  const T own = kd_exp(a, scale), e = kd_exp(b, scale);
  KdSums<T> sums;
  sums.student = own;
  sums.teacher = e;
  sums.hard = kd_hard<Hard>(a, own);
  sums.teacher_hard = kd_hard<TeacherHard>(b, e);
  sums.gap = e == T(0) ? T(0) : e * (b - a);
  sums.cross = e == T(0) ? T(0) : -e * a;
  return sums;
}

// d loss / d s of a class other than the target, from a row's slopes.
template <int Hard, typename T>
HDX_MATH T kd_slope(T s, T t, T student_max, T teacher_max, T scale, T student_slope, T teacher_slope, T hard_slope) {
  const T a = s - student_max, own = kd_exp(a, scale);
  const T slope = student_slope * own - teacher_slope * kd_exp(t - teacher_max, scale);
  return Hard == kdNotWanted ? slope : slope + hard_slope * kd_hard<Hard>(a, own);
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
    const double gap = alone ? HUGE_VAL : sums.gap / sums.teacher / temperature + log_sum - teacher_log_sum;
    const double cross = alone ? HUGE_VAL : sums.cross / sums.teacher / temperature + log_sum;
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
