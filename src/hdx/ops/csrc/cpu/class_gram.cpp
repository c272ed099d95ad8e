// The Gram matrix of rows about a pivot: float32 products of a few rows, float64 sums of those, half of the matrix.
//
// Rows are centred and packed in panels of 32 columns; a tile of the result is a short product of two panels that stays in
// registers. Each tile is summed in the order of the rows by one thread: the result does not depend on their number.
#include <algorithm>
#include <cstring>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "math.h"

namespace {

using torch::stable::Tensor;

constexpr int64_t PANEL = 32;  // columns
constexpr int64_t DEEP = 256;  // rows of a float32 product: a panel of them is 32 KiB, which the first cache holds
constexpr int64_t ROUND = 8 * DEEP;  // rows packed at a time

typedef float Vector8 __attribute__((vector_size(32)));
typedef float Vector16 __attribute__((vector_size(64)));
typedef double Doubles8 __attribute__((vector_size(64)));

template <typename Vector, typename T>
HDX_MATH Vector load(const T* from) {
  Vector loaded;
  std::memcpy(&loaded, from, sizeof loaded);
  return loaded;
}

struct Packed {
  const float* values;  // [ROUND / DEEP, panels, DEEP, PANEL]
  int64_t n, panels;

  const float* panel(int64_t deep, int64_t p) const { return values + (deep * panels + p) * DEEP * PANEL; }
};

// out [M, N vectors] += a^T b of `depth` packed rows.
template <typename Vector, int M, int N>
HDX_MATH void tile(const float* a, const float* b, int64_t depth, double* out, int64_t stride) {
  constexpr int64_t width = sizeof(Vector) / sizeof(float);
  Vector sums[M][N] = {};
  for (int64_t k = 0; k < depth; ++k, a += PANEL, b += PANEL) {
    Vector right[N];
    for (int j = 0; j < N; ++j) right[j] = load<Vector>(b + j * width);
    for (int i = 0; i < M; ++i) {
      for (int j = 0; j < N; ++j) sums[i][j] += a[i] * right[j];
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
#pragma omp simd
      for (int64_t l = 0; l < width; ++l) out[i * stride + j * width + l] += sums[i][j][l];
    }
  }
}

// Tiles `begin` to `end` of the lower triangle, counted panel by panel of columns in steps of 8 rows.
template <typename Vector, int M, int N>
HDX_MATH void tiles(const Packed& z, int64_t begin, int64_t end, double* gram) {
  constexpr int64_t width = N * sizeof(Vector) / sizeof(float), steps = PANEL / 8;
  const int64_t size = z.panels * PANEL;
  for (int64_t deep = 0; deep * DEEP < z.n; ++deep) {
    const int64_t depth = std::min(DEEP, z.n - deep * DEEP);
    int64_t first = 0;
    for (int64_t p = 0; p < z.panels && first < end; ++p) {
      const int64_t n_tiles = (z.panels - p) * steps;
      for (int64_t t = std::max(first, begin); t < std::min(first + n_tiles, end); ++t) {
        const int64_t row = p * PANEL + (t - first) * 8;
        for (int64_t i = row; i < row + 8; i += M) {
          const float* a = z.panel(deep, i / PANEL) + i % PANEL;
          for (int64_t j = 0; j < PANEL; j += width) {
            tile<Vector, M, N>(a, z.panel(deep, p) + j, depth, gram + i * size + p * PANEL + j, size);
          }
        }
      }
      first += n_tiles;
    }
  }
}

HDX_CLONES void tiles_of_16(const Packed& z, int64_t begin, int64_t end, double* gram) {
  tiles<Vector8, 4, 2>(z, begin, end, gram);
}

#if HDX_X86
__attribute__((target("arch=x86-64-v4"))) void tiles_of_32(const Packed& z, int64_t begin, int64_t end, double* gram) {
  tiles<Vector16, 8, 2>(z, begin, end, gram);
}

bool wide() { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"); }
#else
constexpr auto tiles_of_32 = tiles_of_16;
constexpr bool wide() { return false; }
#endif

HDX_CLONES void pack(const float* x, int64_t stride, int64_t d, const float* pivot, int64_t begin, int64_t end, int64_t panels, float* out) {
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * stride;
    float* to = out + (r / DEEP * panels * DEEP + r % DEEP) * PANEL;
    for (int64_t p = 0; p < panels; ++p, to += DEEP * PANEL) {
      const int64_t first = p * PANEL, n = std::min(PANEL, d - first);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) to[i] = row[first + i] - pivot[first + i];
      for (int64_t i = n; i < PANEL; ++i) to[i] = 0;
    }
  }
}

// features [N, D] float32 with unit column stride, pivot [D] float32. Returns: [D, D] float64.
Tensor class_gram(const Tensor& features, const Tensor& pivot) {
  const int64_t n = features.size(0), d = features.size(1), stride = features.stride(0);
  const int64_t panels = (d + PANEL - 1) / PANEL, size = panels * PANEL;
  const float *x = features.const_data_ptr<float>(), *p = pivot.const_data_ptr<float>();
  std::vector<double> gram(size * size);
  std::vector<float> buffer(std::min(ROUND, (n + DEEP - 1) / DEEP * DEEP) * size + 16);
  float* values = buffer.data() + (64 - reinterpret_cast<uintptr_t>(buffer.data()) % 64) % 64 / sizeof(float);
  const auto work = wide() ? tiles_of_32 : tiles_of_16;
  for (int64_t start = 0; start < n; start += ROUND) {
    const int64_t rows = std::min(ROUND, n - start);
    torch::stable::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
      pack(x + start * stride, stride, d, p, begin, end, panels, values);
    });
    const Packed z{values, rows, panels};
    torch::stable::parallel_for(0, panels * (panels + 1) / 2 * (PANEL / 8), 16, [&](int64_t begin, int64_t end) {
      work(z, begin, end, gram.data());
    });
  }
  Tensor out = torch::stable::empty({d, d}, torch::headeronly::ScalarType::Double);
  double* to = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < d; ++i) {
    for (int64_t j = 0; j <= i; ++j) to[i * d + j] = to[j * d + i] = gram[i * size + j];
  }
  return out;
}

// out [n, 8] = (x - pivot) probes^T: the subtraction in float32, as `pack` has it, the rest in float64.
// `probes` lie as they are read, [ceil(d / 8), 8 probes, 8 features]: rows of a power of two apart would share a cache set.
HDX_CLONES void project(const float* x, int64_t stride, int64_t d, const float* pivot, const double* probes, int64_t n, double* out) {
  for (int64_t r = 0; r < n; ++r, x += stride, out += 8) {
    Doubles8 sums[8] = {};
    int64_t i = 0;
    for (; i + 8 <= d; i += 8) {
      const Doubles8 z = __builtin_convertvector(load<Vector8>(x + i) - load<Vector8>(pivot + i), Doubles8);
#pragma GCC unroll 8
      for (int64_t k = 0; k < 8; ++k) sums[k] += z * load<Doubles8>(probes + 8 * (i + k));
    }
#pragma GCC unroll 8
    for (int64_t k = 0; k < 8; ++k) {
      const Doubles8 s = sums[k];
      out[k] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
    }
    for (int64_t k = 0; k < 8; ++k) {
      for (int64_t l = 0; i + l < d; ++l) out[k] += static_cast<double>(x[i + l] - pivot[i + l]) * probes[8 * (i + k) + l];
    }
  }
}

// features [N, D] float32 with unit column stride, pivot [D] float32, probes [8, D] float64. Returns: [N, 8] float64.
Tensor class_probe(const Tensor& features, const Tensor& pivot, const Tensor& probes) {
  const int64_t n = features.size(0), d = features.size(1), stride = features.stride(0);
  STD_TORCH_CHECK(probes.size(0) == 8, "Expected 8 probes, got ", probes.size(0));
  Tensor out = torch::stable::empty({n, 8}, torch::headeronly::ScalarType::Double);
  const float *x = features.const_data_ptr<float>(), *p = pivot.const_data_ptr<float>();
  const double* u = probes.const_data_ptr<double>();
  std::vector<double> packed((d + 7) / 8 * 64);
  for (int64_t k = 0; k < 8; ++k) {
    for (int64_t i = 0; i < d; ++i) packed[i / 8 * 64 + k * 8 + i % 8] = u[k * d + i];
  }
  double* to = out.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, n, 64, [&](int64_t begin, int64_t end) {
    project(x + begin * stride, stride, d, p, packed.data(), end - begin, to + begin * 8);
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) {
  m.impl("class_gram", TORCH_BOX(&class_gram));
  m.impl("class_probe", TORCH_BOX(&class_probe));
}
