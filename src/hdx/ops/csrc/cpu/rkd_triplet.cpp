// rkd_triplet on a CPU: no tensor larger than B^2. Each thread takes whole rows of every result, in an order that does not depend on
// their number, so the result is the same for any number of threads.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <tuple>

#include "rkd_math.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Squared distances of row i to the rows after it, into both halves of the matrix.
template <typename T>
HDX_MATH void row_of_squares(const T* x, int64_t n, int64_t d, int64_t i, T* squares) {
  const T* own = x + i * d;
  squares[i * n + i] = 0;
  int64_t j = i + 1;
  for (; j + 4 <= n; j += 4) {
    const T *a = x + j * d, *b = a + d, *c = b + d, *e = c + d;
    T to_a = 0, to_b = 0, to_c = 0, to_e = 0;
#pragma omp simd reduction(+ : to_a, to_b, to_c, to_e)
    for (int64_t k = 0; k < d; ++k) {
      to_a += (own[k] - a[k]) * (own[k] - a[k]);
      to_b += (own[k] - b[k]) * (own[k] - b[k]);
      to_c += (own[k] - c[k]) * (own[k] - c[k]);
      to_e += (own[k] - e[k]) * (own[k] - e[k]);
    }
    const T found[4] = {to_a, to_b, to_c, to_e};
    for (int m = 0; m < 4; ++m) squares[i * n + j + m] = squares[(j + m) * n + i] = found[m];
  }
  for (; j < n; ++j) {
    const T* a = x + j * d;
    T to_a = 0;
#pragma omp simd reduction(+ : to_a)
    for (int64_t k = 0; k < d; ++k) to_a += (own[k] - a[k]) * (own[k] - a[k]);
    squares[i * n + j] = squares[j * n + i] = to_a;
  }
}

// Rows from both ends, so that threads have equal shares of the triangle.
template <typename T>
HDX_MATH void squares_of(const T* x, int64_t n, int64_t d, int64_t begin, int64_t end, T* squares) {
  for (int64_t i = begin; i < end; ++i) {
    row_of_squares(x, n, d, i, squares);
    if (n - 1 - i > i) row_of_squares(x, n, d, n - 1 - i, squares);
  }
}

template <typename T>
HDX_MATH void inverses_of(const T* squares, int64_t begin, int64_t end, T* inverses) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) inverses[i] = hdx::rkd_inverse(squares[i]);
}

// One model's squared distances [n, n], and their inverse roots.
template <typename T>
struct Pairs {
  const T *squares, *inverses;
};

// Loss of the vertices i.
template <typename T>
HDX_MATH void losses_of(Pairs<T> s, Pairs<T> t, int64_t n, int64_t begin, int64_t end, T* losses) {
  for (int64_t i = begin; i < end; ++i) {
    const T *si = s.squares + i * n, *ti = t.squares + i * n, *su = s.inverses + i * n, *tu = t.inverses + i * n;
    double total = 0;
    for (int64_t j = 0; j < n; ++j) {
      const T *sj = s.squares + j * n, *tj = t.squares + j * n;
      const T s_unit = su[j], t_unit = tu[j], s_ij = si[j], t_ij = ti[j];
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < n; ++k) {
        const T a = hdx::rkd_cosine(s_ij, si[k], sj[k], s_unit * su[k]);
        const T b = hdx::rkd_cosine(t_ij, ti[k], tj[k], t_unit * tu[k]);
        sum += hdx::rkd_huber(a - b);
      }
      total += sum;
    }
    losses[i] = static_cast<T>(total / (static_cast<double>(n) * n));
  }
}

// Row j of M, of which M + M^T are the slopes d (upstream . loss) / d squares: pairs jk over all vertices i, and pairs ij of vertex i
// with all k.
template <typename T>
HDX_MATH void slopes_of(Pairs<T> s, Pairs<T> t, const T* upstream, int64_t stride, int64_t n, int64_t begin, int64_t end, T* slopes) {
  for (int64_t j = begin; j < end; ++j) {
    const T *sj = s.squares + j * n, *tj = t.squares + j * n;
    T* out = slopes + j * n;
    std::fill(out, out + n, T(0));
    for (int64_t i = 0; i < n; ++i) {
      const T *si = s.squares + i * n, *ti = t.squares + i * n, *su = s.inverses + i * n, *tu = t.inverses + i * n;
      const T g = upstream[i * stride], s_unit = su[j], t_unit = tu[j], s_ij = si[j], t_ij = ti[j];
      T scaled = 0, turned = 0;
#pragma omp simd reduction(+ : scaled, turned)
      for (int64_t k = 0; k < n; ++k) {
        const T scale = s_unit * su[k];
        const T a = hdx::rkd_cosine(s_ij, si[k], sj[k], scale);
        const T b = hdx::rkd_cosine(t_ij, ti[k], tj[k], t_unit * tu[k]);
        const T weight = hdx::rkd_pull(a - b) * g;
        out[k] -= T(0.5) * (weight * scale);
        scaled += weight * scale;
        turned += weight * a;
      }
      out[i] += scaled - turned * s_unit * s_unit;
    }
  }
}

// d / d x_i = factor * sum_j (M_ij + M_ji) (x_i - x_j).
template <typename T>
HDX_MATH void gradients_of(const T* x, const T* slopes, T factor, int64_t n, int64_t d, int64_t begin, int64_t end, T* out) {
  for (int64_t i = begin; i < end; ++i) {
    const T* own = x + i * d;
    T* to = out + i * d;
    std::fill(to, to + d, T(0));
    for (int64_t j = 0; j < n; ++j) {
      const T* other = x + j * d;
      const T slope = factor * (slopes[i * n + j] + slopes[j * n + i]);
#pragma omp simd
      for (int64_t k = 0; k < d; ++k) to[k] += slope * (own[k] - other[k]);
    }
  }
}

// One overload a type: a template cannot be compiled for several instruction sets.
#define HDX_ROWS(T, CLONES)                                                                                                     \
  CLONES void squares_rows(const T* x, int64_t n, int64_t d, int64_t begin, int64_t end, T* squares) {                          \
    squares_of(x, n, d, begin, end, squares);                                                                                   \
  }                                                                                                                             \
  CLONES void inverse_rows(const T* squares, int64_t begin, int64_t end, T* inverses) {                                         \
    inverses_of(squares, begin, end, inverses);                                                                                 \
  }                                                                                                                             \
  CLONES void loss_rows(Pairs<T> s, Pairs<T> t, int64_t n, int64_t begin, int64_t end, T* losses) {                             \
    losses_of(s, t, n, begin, end, losses);                                                                                     \
  }                                                                                                                             \
  CLONES void slope_rows(Pairs<T> s, Pairs<T> t, const T* g, int64_t stride, int64_t n, int64_t begin, int64_t end, T* slopes) { \
    slopes_of(s, t, g, stride, n, begin, end, slopes);                                                                          \
  }                                                                                                                             \
  CLONES void gradient_rows(const T* x, const T* slopes, T factor, int64_t n, int64_t d, int64_t begin, int64_t end, T* out) {   \
    gradients_of(x, slopes, factor, n, d, begin, end, out);                                                                     \
  }

HDX_ROWS(float, HDX_CLONES)
HDX_ROWS(double, )

// Rows a thread takes at least, of `work` numbers each.
int64_t grain(int64_t work) { return std::max<int64_t>(1, (int64_t{1} << 15) / std::max<int64_t>(work, 1)); }

template <typename T>
Tensor run_squares(const Tensor& features) {
  const int64_t n = features.size(0), d = features.size(1);
  Tensor squares = torch::stable::new_empty(features, {n, n});
  const T* x = features.const_data_ptr<T>();
  T* out = squares.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, (n + 1) / 2, grain(n * d), [&](int64_t begin, int64_t end) {
    squares_rows(x, n, d, begin, end, out);
  });
  return squares;
}

template <typename T>
Tensor run_inverses(const Tensor& squares) {
  Tensor inverses = torch::stable::empty_like(squares);
  const T* from = squares.const_data_ptr<T>();
  T* to = inverses.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, squares.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    inverse_rows(from, begin, end, to);
  });
  return inverses;
}

template <typename T>
Pairs<T> pairs_of(const Tensor& squares, const Tensor& inverses) {
  return {squares.const_data_ptr<T>(), inverses.const_data_ptr<T>()};
}

template <typename T>
std::tuple<Tensor, Tensor, Tensor> run_forward(const Tensor& student, const Tensor& teacher) {
  const Tensor s = run_squares<T>(student), t = run_squares<T>(teacher);
  const Tensor s_inverses = run_inverses<T>(s), t_inverses = run_inverses<T>(t);
  const int64_t n = student.size(0);
  Tensor losses = torch::stable::new_empty(student, {n});
  const Pairs<T> own = pairs_of<T>(s, s_inverses), asked = pairs_of<T>(t, t_inverses);
  T* out = losses.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, n, grain(n * n), [&](int64_t begin, int64_t end) {
    loss_rows(own, asked, n, begin, end, out);
  });
  return {losses, s, t};
}

template <typename T>
Tensor run_backward(const Tensor& upstream, const Tensor& student, const Tensor& s, const Tensor& t) {
  const Tensor s_inverses = run_inverses<T>(s), t_inverses = run_inverses<T>(t);
  const int64_t n = student.size(0), d = student.size(1), stride = upstream.stride(0);
  Tensor slopes = torch::stable::new_empty(student, {n, n}), gradient = torch::stable::new_empty(student, {n, d});
  const Pairs<T> own = pairs_of<T>(s, s_inverses), asked = pairs_of<T>(t, t_inverses);
  const T *g = upstream.const_data_ptr<T>(), *x = student.const_data_ptr<T>();
  T *slope = slopes.mutable_data_ptr<T>(), *out = gradient.mutable_data_ptr<T>();
  torch::stable::parallel_for(0, n, grain(n * n), [&](int64_t begin, int64_t end) {
    slope_rows(own, asked, g, stride, n, begin, end, slope);
  });
  const T factor = static_cast<T>(2 / (static_cast<double>(n) * n));
  torch::stable::parallel_for(0, n, grain(n * d), [&](int64_t begin, int64_t end) {
    gradient_rows(x, slope, factor, n, d, begin, end, out);
  });
  return gradient;
}

std::tuple<Tensor, Tensor, Tensor> rkd_triplet(const Tensor& student, const Tensor& teacher) {
  const Tensor s = torch::stable::contiguous(student), t = torch::stable::contiguous(teacher);
  return s.scalar_type() == ScalarType::Double ? run_forward<double>(s, t) : run_forward<float>(s, t);
}

Tensor rkd_triplet_backward(const Tensor& upstream, const Tensor& student, const Tensor& student_squares,
                            const Tensor& teacher_squares) {
  const Tensor x = torch::stable::contiguous(student);
  return x.scalar_type() == ScalarType::Double ? run_backward<double>(upstream, x, student_squares, teacher_squares)
                                               : run_backward<float>(upstream, x, student_squares, teacher_squares);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) {
  m.impl("rkd_triplet", TORCH_BOX(&rkd_triplet));
  m.impl("rkd_triplet_backward", TORCH_BOX(&rkd_triplet_backward));
}
