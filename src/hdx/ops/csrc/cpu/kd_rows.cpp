// kd_rows on a CPU: each thread takes whole rows, so the result is the same for any number of threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <limits>
#include <tuple>

#include "kd_math.h"

namespace {

using hdx::KdSums;
using hdx::KdTerms;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int kBlock = 1024;       // classes whose sums are kept in T before they go to double
constexpr int kLanes = 16;         // a row's last classes are padded to this many with -inf, which adds nothing
constexpr int64_t kTask = 1 << 14;  // classes below which a further thread does not pay

template <typename T>
constexpr T kNone = -std::numeric_limits<T>::infinity();

// A piece of both rows and its first class; short pieces are copied and padded to whole lanes.
template <typename T>
struct Piece {
  const T *s, *t;
  int n;
  int target;  // place of the target in the piece, -1 where it lies elsewhere
  alignas(64) T student[kLanes], teacher[kLanes];

  HDX_MATH Piece(const T* student_row, const T* teacher_row, int64_t first, int64_t n_classes, int64_t y) {
    const int64_t left = n_classes - first;
    s = student_row + first;
    t = teacher_row + first;
    n = left >= kBlock ? kBlock : static_cast<int>(left / kLanes * kLanes);
    if (n == 0) {
      for (int j = 0; j < kLanes; ++j) {
        student[j] = j < left ? s[j] : kNone<T>;
        teacher[j] = j < left ? t[j] : kNone<T>;
      }
      s = student;
      t = teacher;
      n = kLanes;
    }
    target = y >= first && y < first + n ? static_cast<int>(y - first) : -1;
  }
};

template <typename T>
HDX_MATH void maxima(const Piece<T>& piece, T& student_max, T& teacher_max) {
  const T *s = piece.s, *t = piece.t;
  const int target = piece.target;
  T a = student_max, b = teacher_max;
#pragma omp simd reduction(max : a, b)
  for (int j = 0; j < piece.n; ++j) {
    const T own = j == target ? kNone<T> : s[j], asked = j == target ? kNone<T> : t[j];
    a = own > a ? own : a;
    b = asked > b ? asked : b;
  }
  student_max = a;
  teacher_max = b;
}

template <bool Hard, bool TeacherHard, typename T>
HDX_MATH void add(const Piece<T>& piece, T student_max, T teacher_max, T scale, KdSums<double>& sums) {
  const T *s = piece.s, *t = piece.t;
  const int target = piece.target;
  T student = 0, teacher = 0, hard = 0, teacher_hard = 0, gap = 0, cross = 0;
#pragma omp simd reduction(+ : student, teacher, hard, teacher_hard, gap, cross)
  for (int j = 0; j < piece.n; ++j) {
    const T own = j == target ? kNone<T> : s[j], asked = j == target ? kNone<T> : t[j];
    const KdSums<T> one = hdx::kd_class<Hard, TeacherHard>(own, asked, student_max, teacher_max, scale);
    student += one.student;
    teacher += one.teacher;
    hard += one.hard;
    teacher_hard += one.teacher_hard;
    gap += one.gap;
    cross += one.cross;
  }
  sums.student += student;
  sums.teacher += teacher;
  sums.hard += hard;
  sums.teacher_hard += teacher_hard;
  sums.gap += gap;
  sums.cross += cross;
}

template <typename T>
HDX_MATH int64_t first_largest(const T* row, int64_t n) {
  int64_t best = 0;
  for (int64_t j = 1; j < n; ++j) best = row[j] > row[best] ? j : best;
  return best;
}

template <bool Hard, bool TeacherHard, typename T>
HDX_MATH void row_forward(const T* s, const T* t, int64_t n, int64_t y, bool labelled, const KdTerms& terms, T* loss, T* kept) {
  T student_max = kNone<T>, teacher_max = kNone<T>;
  for (int64_t first = 0; first < n;) {
    const Piece<T> piece(s, t, first, n, y);
    maxima(piece, student_max, teacher_max);
    first += piece.n;
  }
  if (student_max == kNone<T>) student_max = 0;
  if (teacher_max == kNone<T>) teacher_max = 0;
  KdSums<double> sums{};
  for (int64_t first = 0; first < n;) {
    const Piece<T> piece(s, t, first, n, y);
    add<Hard, TeacherHard>(piece, student_max, teacher_max, static_cast<T>(1 / terms.temperature), sums);
    first += piece.n;
  }
  if (!Hard) sums.hard = sums.student;
  if (!TeacherHard) sums.teacher_hard = sums.teacher;
  double slopes[4];
  const double own = static_cast<double>(s[y]) - student_max, asked = static_cast<double>(t[y]) - teacher_max;
  *loss = static_cast<T>(hdx::kd_row(sums, own, asked, labelled, terms, slopes));
  kept[0] = student_max;
  kept[1] = teacher_max;
  for (int i = 0; i < 4; ++i) kept[2 + i] = static_cast<T>(slopes[i]);
}

// Rows of logits that are `stride` numbers apart.
template <typename T>
struct Rows {
  const T* data;
  int64_t stride;
};

template <typename T>
HDX_MATH void rows_forward(Rows<T> student, Rows<T> teacher, const int64_t* labels, int64_t n, const KdTerms& terms,
                           int64_t begin, int64_t end, T* loss, T* kept, int64_t* targets) {
  const bool hard = terms.temperature != 1 && (terms.ce != 0 || terms.teacher_ce != 0);
  const bool teacher_hard = terms.temperature != 1 && terms.teacher_ce != 0;
  for (int64_t i = begin; i < end; ++i) {
    const T *s = student.data + i * student.stride, *t = teacher.data + i * teacher.stride;
    const int64_t y = labels[i] < 0 ? first_largest(t, n) : labels[i];
    targets[i] = y;
    if (teacher_hard) {
      row_forward<true, true>(s, t, n, y, labels[i] >= 0, terms, loss + i, kept + 6 * i);
    } else if (hard) {
      row_forward<true, false>(s, t, n, y, labels[i] >= 0, terms, loss + i, kept + 6 * i);
    } else {
      row_forward<false, false>(s, t, n, y, labels[i] >= 0, terms, loss + i, kept + 6 * i);
    }
  }
}

template <bool Hard, typename T>
HDX_MATH void row_backward(const T* s, const T* t, int64_t n, int64_t y, T scale, T upstream, const T* kept, T* out) {
  const T student_max = kept[0], teacher_max = kept[1];
  const T a = kept[2] * upstream, b = kept[3] * upstream, c = kept[4] * upstream;
  const int64_t whole = n / kLanes * kLanes;
#pragma omp simd
  for (int64_t j = 0; j < whole; ++j) out[j] = hdx::kd_slope<Hard>(s[j], t[j], student_max, teacher_max, scale, a, b, c);
  if (whole < n) {
    const Piece<T> piece(s, t, whole, n, -1);
    alignas(64) T last[kLanes];
#pragma omp simd
    for (int j = 0; j < kLanes; ++j) {
      last[j] = hdx::kd_slope<Hard>(piece.student[j], piece.teacher[j], student_max, teacher_max, scale, a, b, c);
    }
    std::copy(last, last + (n - whole), out + whole);
  }
  out[y] = kept[5] * upstream;
}

template <typename T>
HDX_MATH void rows_backward(const T* upstream, int64_t upstream_stride, Rows<T> student, Rows<T> teacher,
                            const int64_t* targets, const T* kept, double temperature, int64_t n, int64_t begin, int64_t end,
                            T* out) {
  const T scale = static_cast<T>(1 / temperature);
  for (int64_t i = begin; i < end; ++i) {
    const T *s = student.data + i * student.stride, *t = teacher.data + i * teacher.stride, *own = kept + 6 * i;
    const T g = upstream[i * upstream_stride];
    if (own[4] != 0) {
      row_backward<true>(s, t, n, targets[i], scale, g, own, out + i * n);
    } else {
      row_backward<false>(s, t, n, targets[i], scale, g, own, out + i * n);
    }
  }
}

HDX_CLONES void forward(Rows<float> student, Rows<float> teacher, const int64_t* labels, int64_t n, const KdTerms& terms,
                        int64_t begin, int64_t end, float* loss, float* kept, int64_t* targets) {
  rows_forward(student, teacher, labels, n, terms, begin, end, loss, kept, targets);
}

void forward(Rows<double> student, Rows<double> teacher, const int64_t* labels, int64_t n, const KdTerms& terms, int64_t begin,
             int64_t end, double* loss, double* kept, int64_t* targets) {
  rows_forward(student, teacher, labels, n, terms, begin, end, loss, kept, targets);
}

HDX_CLONES void backward(const float* upstream, int64_t upstream_stride, Rows<float> student, Rows<float> teacher,
                         const int64_t* targets, const float* kept, double temperature, int64_t n, int64_t begin, int64_t end,
                         float* out) {
  rows_backward(upstream, upstream_stride, student, teacher, targets, kept, temperature, n, begin, end, out);
}

void backward(const double* upstream, int64_t upstream_stride, Rows<double> student, Rows<double> teacher,
              const int64_t* targets, const double* kept, double temperature, int64_t n, int64_t begin, int64_t end, double* out) {
  rows_backward(upstream, upstream_stride, student, teacher, targets, kept, temperature, n, begin, end, out);
}

// The same logits with the classes of a row next to each other; rows may be further apart.
Tensor in_rows(const Tensor& logits) {
  return logits.size(1) > 1 && logits.stride(1) != 1 ? torch::stable::contiguous(logits) : logits;
}

template <typename T>
Rows<T> rows_of(const Tensor& logits) {
  return {logits.const_data_ptr<T>(), logits.stride(0)};
}

int64_t grain(int64_t n_classes) { return std::max<int64_t>(1, kTask / n_classes); }

template <typename T>
std::tuple<Tensor, Tensor, Tensor> run_forward(const Tensor& s, const Tensor& t, const Tensor& labels, const KdTerms& terms) {
  const int64_t n_rows = s.size(0), n = s.size(1);
  Tensor loss = torch::stable::new_empty(s, {n_rows}), kept = torch::stable::new_empty(s, {n_rows, 6});
  Tensor targets = torch::stable::new_empty(labels, {n_rows});
  const int64_t* given = labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < n_rows; ++i) {
    STD_TORCH_CHECK(given[i] < n, "kd_rows: label ", given[i], " of row ", i, " is out of range: there are ", n, " classes");
  }
  const Rows<T> student = rows_of<T>(s), teacher = rows_of<T>(t);
  T *losses = loss.mutable_data_ptr<T>(), *rows = kept.mutable_data_ptr<T>();
  int64_t* found = targets.mutable_data_ptr<int64_t>();
  torch::stable::parallel_for(0, n_rows, grain(n), [&](int64_t begin, int64_t end) {
    forward(student, teacher, given, n, terms, begin, end, losses, rows, found);
  });
  return {loss, kept, targets};
}

template <typename T>
Tensor run_backward(const Tensor& upstream, const Tensor& s, const Tensor& t, const Tensor& targets, const Tensor& kept,
                    double temperature) {
  const int64_t n_rows = s.size(0), n = s.size(1);
  Tensor gradient = torch::stable::new_empty(s, {n_rows, n});
  const Rows<T> student = rows_of<T>(s), teacher = rows_of<T>(t);
  const T *g = upstream.const_data_ptr<T>(), *rows = kept.const_data_ptr<T>();
  const int64_t step = upstream.stride(0), *y = targets.const_data_ptr<int64_t>();
  T* out = gradient.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, n_rows, grain(n), [&](int64_t begin, int64_t end) {
    backward(g, step, student, teacher, y, rows, temperature, n, begin, end, out);
  });
  return gradient;
}

std::tuple<Tensor, Tensor, Tensor> kd_rows(const Tensor& student, const Tensor& teacher, const Tensor& labels, double temperature,
                                           double ce, double teacher_ce, double kd, double target, double non_target,
                                           double non_target_ce) {
  const KdTerms terms{temperature, ce, teacher_ce, kd, target, non_target, non_target_ce};
  const Tensor s = in_rows(student), t = in_rows(teacher), y = torch::stable::contiguous(labels);
  return s.scalar_type() == ScalarType::Double ? run_forward<double>(s, t, y, terms) : run_forward<float>(s, t, y, terms);
}

Tensor kd_rows_backward(const Tensor& upstream, const Tensor& student, const Tensor& teacher, const Tensor& targets,
                        const Tensor& rows, double temperature) {
  const Tensor s = in_rows(student), t = in_rows(teacher);
  return s.scalar_type() == ScalarType::Double ? run_backward<double>(upstream, s, t, targets, rows, temperature)
                                               : run_backward<float>(upstream, s, t, targets, rows, temperature);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) {
  m.impl("kd_rows", TORCH_BOX(&kd_rows));
  m.impl("kd_rows_backward", TORCH_BOX(&kd_rows_backward));
}
