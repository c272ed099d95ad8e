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

// Both rows, a piece of whole lanes after the other. The lanes with the target and those at the end are copied, and the target and
// what lies beyond the row are -inf there: no loop over a piece needs to ask.
template <typename T>
struct Pieces {
  const T *student, *teacher;
  int64_t n, target, first = 0;
  const T *s = nullptr, *t = nullptr;
  int size = 0;
  alignas(64) T own[kLanes], asked[kLanes];

  HDX_MATH Pieces(const T* student, const T* teacher, int64_t n, int64_t target)
      : student(student), teacher(teacher), n(n), target(target) {}

  HDX_MATH bool next() {
    if (first >= n) return false;
    const int64_t around = target / kLanes * kLanes, whole = n / kLanes * kLanes;
    s = student + first;
    t = teacher + first;
    if (first == around || first == whole) {
      size = kLanes;
      for (int j = 0; j < kLanes; ++j) {
        const bool counts = first + j < n && first + j != target;
        own[j] = counts ? s[j] : kNone<T>;
        asked[j] = counts ? t[j] : kNone<T>;
      }
      s = own;
      t = asked;
    } else {
      size = static_cast<int>(std::min<int64_t>(kBlock, (first < around ? around : whole) - first));
    }
    first += size;
    return true;
  }
};

template <typename T>
HDX_MATH void maxima(const T* s, const T* t, int n, T& student_max, T& teacher_max) {
  T a = student_max, b = teacher_max;
#pragma omp simd reduction(max : a, b)
  for (int j = 0; j < n; ++j) {
    a = s[j] > a ? s[j] : a;
    b = t[j] > b ? t[j] : b;
  }
  student_max = a;
  teacher_max = b;
}

template <int Hard, int TeacherHard, typename T>
HDX_MATH void add(const T* s, const T* t, int n, T student_max, T teacher_max, T scale, KdSums<double>& sums) {
  T student = 0, teacher = 0, hard = 0, teacher_hard = 0, gap = 0, cross = 0;
#pragma omp simd reduction(+ : student, teacher, hard, teacher_hard, gap, cross)
  for (int j = 0; j < n; ++j) {
    const KdSums<T> one = hdx::kd_class<Hard, TeacherHard>(s[j], t[j], student_max, teacher_max, scale);
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

template <int Hard, int TeacherHard, typename T>
HDX_MATH void row_forward(const T* s, const T* t, int64_t n, int64_t y, bool labelled, const KdTerms& terms, T* loss, T* kept) {
  T student_max = kNone<T>, teacher_max = kNone<T>;
  for (Pieces<T> pieces(s, t, n, y); pieces.next();) maxima(pieces.s, pieces.t, pieces.size, student_max, teacher_max);
  if (student_max == kNone<T>) student_max = 0;  // the target is alone
  if (teacher_max == kNone<T>) teacher_max = 0;
  KdSums<double> sums{};
  const T scale = static_cast<T>(1 / terms.temperature);
  for (Pieces<T> pieces(s, t, n, y); pieces.next();) {
    add<Hard, TeacherHard>(pieces.s, pieces.t, pieces.size, student_max, teacher_max, scale, sums);
  }
  if (Hard == hdx::kdNotWanted) sums.hard = sums.student;
  if (TeacherHard == hdx::kdNotWanted) sums.teacher_hard = sums.teacher;
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

// How exponentials at temperature 1 are made where they are wanted.
int hard_of(double temperature, bool wanted) {
  if (!wanted || temperature == 1) return hdx::kdNotWanted;
  return temperature == 2 ? hdx::kdSquare : temperature == 4 ? hdx::kdFourth : hdx::kdOwn;
}

template <typename T>
HDX_MATH void rows_forward(Rows<T> student, Rows<T> teacher, const int64_t* labels, int64_t n, const KdTerms& terms,
                           int64_t begin, int64_t end, T* loss, T* kept, int64_t* targets) {
  const int hard = hard_of(terms.temperature, terms.ce != 0 || terms.teacher_ce != 0);
  const bool teacher_hard = hard != hdx::kdNotWanted && terms.teacher_ce != 0;
  for (int64_t i = begin; i < end; ++i) {
    const T *s = student.data + i * student.stride, *t = teacher.data + i * teacher.stride;
    const int64_t y = labels[i] < 0 ? first_largest(t, n) : labels[i];
    const bool labelled = labels[i] >= 0;
    targets[i] = y;
    if (teacher_hard) {
      row_forward<hdx::kdOwn, hdx::kdOwn>(s, t, n, y, labelled, terms, loss + i, kept + 6 * i);
    } else if (hard == hdx::kdOwn) {
      row_forward<hdx::kdOwn, hdx::kdNotWanted>(s, t, n, y, labelled, terms, loss + i, kept + 6 * i);
    } else if (hard == hdx::kdSquare) {
      row_forward<hdx::kdSquare, hdx::kdNotWanted>(s, t, n, y, labelled, terms, loss + i, kept + 6 * i);
    } else if (hard == hdx::kdFourth) {
      row_forward<hdx::kdFourth, hdx::kdNotWanted>(s, t, n, y, labelled, terms, loss + i, kept + 6 * i);
    } else {
      row_forward<hdx::kdNotWanted, hdx::kdNotWanted>(s, t, n, y, labelled, terms, loss + i, kept + 6 * i);
    }
  }
}

template <int Hard, typename T>
HDX_MATH void row_backward(const T* s, const T* t, int64_t n, int64_t y, T scale, T upstream, const T* kept, T* out) {
  const T student_max = kept[0], teacher_max = kept[1];
  const T a = kept[2] * upstream, b = kept[3] * upstream, c = kept[4] * upstream;
  const int64_t whole = n / kLanes * kLanes;
#pragma omp simd
  for (int64_t j = 0; j < whole; ++j) out[j] = hdx::kd_slope<Hard>(s[j], t[j], student_max, teacher_max, scale, a, b, c);
  if (whole < n) {
    alignas(64) T own[kLanes] = {}, asked[kLanes] = {}, last[kLanes];
    std::copy(s + whole, s + n, own);
    std::copy(t + whole, t + n, asked);
#pragma omp simd
    for (int j = 0; j < kLanes; ++j) {
      last[j] = hdx::kd_slope<Hard>(own[j], asked[j], student_max, teacher_max, scale, a, b, c);
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
    const int hard = hard_of(temperature, own[4] != 0);
    if (hard == hdx::kdOwn) {
      row_backward<hdx::kdOwn>(s, t, n, targets[i], scale, g, own, out + i * n);
    } else if (hard == hdx::kdSquare) {
      row_backward<hdx::kdSquare>(s, t, n, targets[i], scale, g, own, out + i * n);
    } else if (hard == hdx::kdFourth) {
      row_backward<hdx::kdFourth>(s, t, n, targets[i], scale, g, own, out + i * n);
    } else {
      row_backward<hdx::kdNotWanted>(s, t, n, targets[i], scale, g, own, out + i * n);
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
