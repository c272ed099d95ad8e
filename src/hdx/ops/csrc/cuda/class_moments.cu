// Class sums and centred features in one read, in a fixed order: the same bits whatever the device does at the same time.
//
// Rows sorted by class are cut into segments of at most SEGMENT rows of one class. A block sums a segment, column by column in
// the order of the rows; then the segments of a class are added in their order.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels.h"
#include "math.h"

namespace hdx::cuda {
namespace {

constexpr int COLUMNS = 128;  // of a block, one a thread
constexpr int AHEAD = 4;      // rows in flight

// The class whose segments hold number `segment`: the last c with firsts[c] <= segment.
__device__ int64_t class_of(const int64_t* firsts, int64_t n_classes, int64_t segment) {
  int64_t low = 0, high = n_classes;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (firsts[middle] <= segment ? low : high) = middle;
  }
  return low;
}

template <typename T>
__global__ void __launch_bounds__(COLUMNS)
    sum_segments(const __grid_constant__ Labelled<T> x, const double* pivot, double* centred, double* partial) {
  const int64_t segment = blockIdx.x, column = int64_t{blockIdx.y} * COLUMNS + threadIdx.x;
  if (column >= x.d || segment >= x.firsts[x.n_classes]) return;
  const int64_t c = class_of(x.firsts, x.n_classes, segment);
  const int64_t begin = x.starts[c] + (segment - x.firsts[c]) * SEGMENT, end = min(begin + SEGMENT, x.starts[c + 1]);
  const double at = pivot[column];
  double sum = 0;
  for (int64_t first = begin; first < end; first += AHEAD) {
    int64_t rows[AHEAD];
    double values[AHEAD];
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) {
      rows[k] = first + k < end ? x.order[first + k] : -1;
      values[k] = rows[k] >= 0 ? static_cast<double>(x.rows[rows[k] * x.stride + column]) - at : 0.0;
    }
#pragma unroll
    for (int k = 0; k < AHEAD; ++k) {
      if (rows[k] < 0) break;
      centred[rows[k] * x.d + column] = values[k];
      sum += values[k];
    }
  }
  partial[segment * x.d + column] = sum;
}

__global__ void __launch_bounds__(COLUMNS) sum_classes(const int64_t* firsts, const double* partial, int64_t d, double* sums) {
  const int64_t c = blockIdx.x, column = int64_t{blockIdx.y} * COLUMNS + threadIdx.x;
  if (column >= d) return;
  double sum = 0;
  for (int64_t segment = firsts[c]; segment < firsts[c + 1]; ++segment) sum += partial[segment * d + column];
  sums[c * d + column] = sum;
}

}  // namespace

template <typename T>
void class_moments(const Labelled<T>& x, const double* pivot, double* centred, double* partial, double* sums,
                   cudaStream_t stream) {
  if (x.d == 0 || x.n_classes == 0) return;
  const unsigned strips = static_cast<unsigned>((x.d + COLUMNS - 1) / COLUMNS);
  const int64_t segments = segments_of(x.n, x.n_classes);
  sum_segments<<<dim3(static_cast<unsigned>(segments), strips), COLUMNS, 0, stream>>>(x, pivot, centred, partial);
  sum_classes<<<dim3(static_cast<unsigned>(x.n_classes), strips), COLUMNS, 0, stream>>>(x.firsts, partial, x.d, sums);
}

template void class_moments(const Labelled<float>&, const double*, double*, double*, double*, cudaStream_t);
template void class_moments(const Labelled<__half>&, const double*, double*, double*, double*, cudaStream_t);
template void class_moments(const Labelled<__nv_bfloat16>&, const double*, double*, double*, double*, cudaStream_t);
template void class_moments(const Labelled<double>&, const double*, double*, double*, double*, cudaStream_t);

}  // namespace hdx::cuda
