// kd_rows: a block a row. A row is read from memory once: the second look at it, which sums, finds it in registers where it is
// short and in the caches where it is long. What a row comes to is worked out in float64 by a thread a row, in a kernel of its
// own: its registers would halve the blocks that sum.
#include "kd_math.h"
#include "kernels.h"

namespace hdx::cuda {
namespace {

constexpr int WARP = 32, THREADS = 256, WARPS = THREADS / WARP;
constexpr int FINISHERS = 64;
constexpr int HELD = 8;  // classes a thread keeps in registers: rows of up to 2048
constexpr unsigned ALL = 0xffffffffu;

template <typename T>
struct Maxima {
  T student, teacher;
};

template <typename T>
HDX_MATH T larger(T a, T b) {
  return a > b ? a : b;
}

HDX_MATH KdSums<double> operator+(const KdSums<double>& a, const KdSums<double>& b) {
  return {a.student + b.student, a.teacher + b.teacher, a.hard + b.hard, a.teacher_hard + b.teacher_hard, a.gap + b.gap,
          a.cross + b.cross};
}

template <typename T>
HDX_MATH Maxima<T> operator+(const Maxima<T>& a, const Maxima<T>& b) {
  return {larger(a.student, b.student), larger(a.teacher, b.teacher)};
}

__device__ KdSums<double> from_lane(const KdSums<double>& x, int lane) {
  return {__shfl_xor_sync(ALL, x.student, lane),      __shfl_xor_sync(ALL, x.teacher, lane),
          __shfl_xor_sync(ALL, x.hard, lane),         __shfl_xor_sync(ALL, x.teacher_hard, lane),
          __shfl_xor_sync(ALL, x.gap, lane),          __shfl_xor_sync(ALL, x.cross, lane)};
}

template <typename T>
__device__ Maxima<T> from_lane(const Maxima<T>& x, int lane) {
  return {__shfl_xor_sync(ALL, x.student, lane), __shfl_xor_sync(ALL, x.teacher, lane)};
}

// Whether a row needs sums at temperature 1 besides those at T.
struct Wanted {
  bool hard, teacher_hard;
};

// The total of what all threads have, in every thread; always added in the same order.
template <typename V>
__device__ V over_block(V value) {
  __shared__ V of_warp[WARPS];
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) value = value + from_lane(value, lane);
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
  __syncthreads();
  V total = of_warp[0];
#pragma unroll
  for (int w = 1; w < WARPS; ++w) total = total + of_warp[w];
  __syncthreads();
  return total;
}

// The first of the largest, in every thread.
template <typename T>
__device__ int64_t first_largest(const T* row, int64_t n) {
  __shared__ T values[THREADS];
  __shared__ int64_t places[THREADS];
  int64_t best = threadIdx.x < n ? threadIdx.x : 0;
  for (int64_t j = threadIdx.x; j < n; j += THREADS) best = row[j] > row[best] ? j : best;
  values[threadIdx.x] = row[best];
  places[threadIdx.x] = best;
  __syncthreads();
  for (int width = THREADS / 2; width > 0; width /= 2) {
    if (threadIdx.x < width) {
      const T other = values[threadIdx.x + width], own = values[threadIdx.x];
      const int64_t place = places[threadIdx.x + width];
      if (other > own || (other == own && place < places[threadIdx.x])) {
        values[threadIdx.x] = other;
        places[threadIdx.x] = place;
      }
    }
    __syncthreads();
  }
  return places[0];
}

// The logits of both rows at class j, -inf at the target and beyond the row: that adds nothing to any sum.
template <typename T>
struct Pair {
  T student, teacher;
};

template <typename T>
__device__ Pair<T> at(const T* s, const T* t, int64_t j, int64_t n, int64_t y) {
  const bool counts = j < n && j != y;
  return {counts ? s[j] : T(-INFINITY), counts ? t[j] : T(-INFINITY)};
}

template <typename T>
__device__ void add(const Pair<T>& logits, const Maxima<T>& most, const Wanted& wanted, T scale, KdSums<T>& sums) {
  const KdSums<T> one = kd_class<false, false>(logits.student, logits.teacher, most.student, most.teacher, scale);
  if (wanted.hard) sums.hard += kd_exp(logits.student - most.student);
  if (wanted.teacher_hard) sums.teacher_hard += kd_exp(logits.teacher - most.teacher);
  sums.student += one.student;
  sums.teacher += one.teacher;
  sums.gap += one.gap;
  sums.cross += one.cross;
}

template <typename T>
__device__ Maxima<T> known(Maxima<T> most) {  // a row whose target is alone has none
  return {most.student == T(-INFINITY) ? T(0) : most.student, most.teacher == T(-INFINITY) ? T(0) : most.teacher};
}

template <bool Held, typename T>
__global__ void __launch_bounds__(THREADS, 3) sum_rows(const __grid_constant__ KdInput<T> in, T scale, Wanted wanted,
                                                       KdSums<double>* sums, T* kept, int64_t* targets) {
  const int64_t i = blockIdx.x, n = in.n_classes, label = in.labels[i];
  const T *s = in.student + i * in.student_stride, *t = in.teacher + i * in.teacher_stride;
  if (label >= n) __trap();
  const int64_t y = label < 0 ? first_largest(t, n) : label;
  Maxima<T> most{T(-INFINITY), T(-INFINITY)};
  KdSums<T> own{};
  if (Held) {
    Pair<T> logits[HELD];
#pragma unroll
    for (int k = 0; k < HELD; ++k) {
      logits[k] = at(s, t, threadIdx.x + int64_t{k} * THREADS, n, y);
      most = most + Maxima<T>{logits[k].student, logits[k].teacher};
    }
    most = known(over_block(most));
#pragma unroll
    for (int k = 0; k < HELD; ++k) add(logits[k], most, wanted, scale, own);
  } else {
    for (int64_t j = threadIdx.x; j < n; j += THREADS) {
      const Pair<T> logits = at(s, t, j, n, y);
      most = most + Maxima<T>{logits.student, logits.teacher};
    }
    most = known(over_block(most));
    for (int64_t j = threadIdx.x; j < n; j += THREADS) add(at(s, t, j, n, y), most, wanted, scale, own);
  }
  KdSums<double> total = over_block(KdSums<double>{own.student, own.teacher, own.hard, own.teacher_hard, own.gap, own.cross});
  if (threadIdx.x != 0) return;
  if (!wanted.hard) total.hard = total.student;
  if (!wanted.teacher_hard) total.teacher_hard = total.teacher;
  sums[i] = total;
  targets[i] = y;
  kept[6 * i] = most.student;
  kept[6 * i + 1] = most.teacher;
}

template <typename T>
__global__ void __launch_bounds__(FINISHERS) finish(const __grid_constant__ KdInput<T> in, const __grid_constant__ KdTerms terms,
                                                    const KdSums<double>* sums, const int64_t* targets, T* loss, T* kept) {
  const int64_t i = int64_t{blockIdx.x} * FINISHERS + threadIdx.x;
  if (i >= in.n_rows) return;
  const double s = in.student[i * in.student_stride + targets[i]], t = in.teacher[i * in.teacher_stride + targets[i]];
  double slopes[4];
  loss[i] = static_cast<T>(kd_row(sums[i], s - kept[6 * i], t - kept[6 * i + 1], in.labels[i] >= 0, terms, slopes));
#pragma unroll
  for (int k = 0; k < 4; ++k) kept[6 * i + 2 + k] = static_cast<T>(slopes[k]);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) backward(const __grid_constant__ KdInput<T> in, const T* upstream,
                                                    int64_t upstream_stride, const int64_t* targets, const T* kept, T scale,
                                                    T* out) {
  const int64_t i = blockIdx.x, n = in.n_classes, y = targets[i];
  const T *s = in.student + i * in.student_stride, *t = in.teacher + i * in.teacher_stride, *row = kept + 6 * i;
  const T g = upstream[i * upstream_stride];
  const T a = row[2] * g, b = row[3] * g, c = row[4] * g, of_y = row[5] * g;
  const bool hard = row[4] != T(0);
  for (int64_t j = threadIdx.x; j < n; j += THREADS) {
    T slope;
    if (hard) slope = kd_slope<true>(s[j], t[j], row[0], row[1], scale, a, b, c);
    else slope = kd_slope<false>(s[j], t[j], row[0], row[1], scale, a, b, c);
    out[i * n + j] = j == y ? of_y : slope;
  }
}

}  // namespace

template <typename T>
void kd_rows(const KdInput<T>& in, const KdTerms& terms, KdSums<double>* sums, T* loss, T* kept, int64_t* targets,
             cudaStream_t stream) {
  if (in.n_rows == 0) return;
  const unsigned rows = static_cast<unsigned>(in.n_rows);
  const bool warm = terms.temperature != 1, teacher_ce = terms.teacher_ce != 0;
  const Wanted wanted{warm && (terms.ce != 0 || teacher_ce), warm && teacher_ce};
  const auto run = in.n_classes <= THREADS * HELD ? sum_rows<true, T> : sum_rows<false, T>;
  run<<<rows, THREADS, 0, stream>>>(in, static_cast<T>(1 / terms.temperature), wanted, sums, kept, targets);
  finish<<<(rows + FINISHERS - 1) / FINISHERS, FINISHERS, 0, stream>>>(in, terms, sums, targets, loss, kept);
}

template <typename T>
void kd_rows_backward(const KdInput<T>& in, const T* upstream, int64_t upstream_stride, const int64_t* targets, const T* kept,
                      double temperature, T* out, cudaStream_t stream) {
  if (in.n_rows == 0) return;
  const unsigned rows = static_cast<unsigned>(in.n_rows);
  backward<<<rows, THREADS, 0, stream>>>(in, upstream, upstream_stride, targets, kept, static_cast<T>(1 / temperature), out);
}

template void kd_rows(const KdInput<float>&, const KdTerms&, KdSums<double>*, float*, float*, int64_t*, cudaStream_t);
template void kd_rows(const KdInput<double>&, const KdTerms&, KdSums<double>*, double*, double*, int64_t*, cudaStream_t);
template void kd_rows_backward(const KdInput<float>&, const float*, int64_t, const int64_t*, const float*, double, float*,
                               cudaStream_t);
template void kd_rows_backward(const KdInput<double>&, const double*, int64_t, const int64_t*, const double*, double, double*,
                               cudaStream_t);

}  // namespace hdx::cuda
