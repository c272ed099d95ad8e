// Linear scores in float64, (x - origin) W^T: tiles of 8 rows and 16 classes that stay in registers over all features.
//
// A score is summed in the order of the features, whatever the other rows and the number of threads.
#include <algorithm>
#include <cstring>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "math.h"

namespace {

using torch::stable::Tensor;

constexpr int64_t ROWS = 8, CLASSES = 16;

struct Scores {
  const double *features, *origin, *weight;  // [B, D] rows `stride` apart, [D], packed [panels, D, CLASSES]
  int64_t stride, d, n_classes;
  double* out;  // [B, C]
};

template <int LANES>
struct Doubles {
  typedef double Vector __attribute__((vector_size(LANES * sizeof(double))));
};

// sums [M, CLASSES] = a^T b over `d` packed features.
template <int LANES, int M>
HDX_MATH void tile(const double* a, const double* b, int64_t d, double* out) {
  using Vector = typename Doubles<LANES>::Vector;
  constexpr int N = CLASSES / LANES;
  Vector sums[M][N] = {};
  for (int64_t k = 0; k < d; ++k, a += ROWS, b += CLASSES) {
    Vector right[N];
    std::memcpy(right, b, sizeof right);
    for (int i = 0; i < M; ++i) {
      for (int j = 0; j < N; ++j) sums[i][j] += a[i] * right[j];
    }
  }
  std::memcpy(out, sums, sizeof sums);
}

// Rows `begin` to `end`, at most ROWS of them.
template <int LANES, int M>
HDX_MATH void score(const Scores& s, int64_t begin, int64_t end, double* packed) {
  for (int64_t i = 0; i < ROWS; ++i) {
    const double* x = s.features + std::min(begin + i, end - 1) * s.stride;
    for (int64_t k = 0; k < s.d; ++k) packed[k * ROWS + i] = x[k] - s.origin[k];
  }
  double sums[ROWS * CLASSES];
  for (int64_t first = 0; first < s.n_classes; first += CLASSES) {
    for (int64_t i = 0; i < ROWS; i += M) tile<LANES, M>(packed + i, s.weight + first * s.d, s.d, sums + i * CLASSES);
    const int64_t n = std::min(CLASSES, s.n_classes - first);
    for (int64_t r = begin; r < end; ++r) std::copy_n(sums + (r - begin) * CLASSES, n, s.out + r * s.n_classes + first);
  }
}

HDX_CLONES void score_by_4(const Scores& s, int64_t begin, int64_t end, double* packed) { score<4, 2>(s, begin, end, packed); }

#if HDX_X86
__attribute__((target("arch=x86-64-v4"))) void score_by_8(const Scores& s, int64_t begin, int64_t end, double* packed) {
  score<8, 8>(s, begin, end, packed);
}

bool wide() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"); }
#else
constexpr auto score_by_8 = score_by_4;
constexpr bool wide() { return false; }
#endif

// features [B, D] with unit column stride, origin [D], weight [C, D] contiguous, all float64. Returns: [B, C].
Tensor class_scores(const Tensor& features, const Tensor& origin, const Tensor& weight) {
  const int64_t n = features.size(0), d = features.size(1), n_classes = weight.size(0);
  Tensor out = torch::stable::empty({n, n_classes}, torch::headeronly::ScalarType::Double);
  std::vector<double> packed((n_classes + CLASSES - 1) / CLASSES * CLASSES * d);
  const double* w = weight.const_data_ptr<double>();
  torch::stable::parallel_for(0, n_classes, 16, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      double* to = packed.data() + c / CLASSES * CLASSES * d + c % CLASSES;
      for (int64_t k = 0; k < d; ++k) to[k * CLASSES] = w[c * d + k];
    }
  });
  const Scores scores{features.const_data_ptr<double>(), origin.const_data_ptr<double>(), packed.data(), features.stride(0), d,
                      n_classes, out.mutable_data_ptr<double>()};
  const auto work = wide() ? score_by_8 : score_by_4;
  torch::stable::parallel_for(0, (n + ROWS - 1) / ROWS, 4, [&](int64_t begin, int64_t end) {
    std::vector<double> block(d * ROWS);
    for (int64_t b = begin; b < end; ++b) work(scores, b * ROWS, std::min(n, (b + 1) * ROWS), block.data());
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) { m.impl("class_scores", TORCH_BOX(&class_scores)); }
