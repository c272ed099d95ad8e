// rkd_triplet: all triplets from two matrices of squared distances, in O(B^2) memory and a fixed order of every sum.
//
// A block takes one row of the matrices, a thread one column, and a third index m runs. What the block needs of its own row at m
// lies in shared memory; what a thread needs at (m, column) it reads next to its neighbours.
#include "kernels.h"
#include "rkd_math.h"

namespace hdx::cuda {
namespace {

constexpr int WARP = 32, THREADS = 256, WARPS = THREADS / WARP;
constexpr int TILE = 16;  // of the distances: TILE x TILE threads
constexpr unsigned ALL = 0xffffffffu;

// Squared distances of all rows, from differences: equal rows are exactly 0 apart.
template <typename T>
__global__ void __launch_bounds__(TILE* TILE) square_distances(const T* x, int64_t stride, int n, int d, T* out) {
  __shared__ T rows[TILE][TILE + 1], columns[TILE][TILE + 1];
  const int i = blockIdx.y * TILE + threadIdx.y, j = blockIdx.x * TILE + threadIdx.x, other = blockIdx.x * TILE + threadIdx.y;
  T sum = 0;
  for (int first = 0; first < d; first += TILE) {
    const int k = first + threadIdx.x;
    rows[threadIdx.y][threadIdx.x] = i < n && k < d ? x[i * stride + k] : T(0);
    columns[threadIdx.y][threadIdx.x] = other < n && k < d ? x[other * stride + k] : T(0);
    __syncthreads();
#pragma unroll
    for (int l = 0; l < TILE; ++l) {
      const T gap = rows[threadIdx.y][l] - columns[threadIdx.x][l];
      sum += gap * gap;
    }
    __syncthreads();
  }
  if (i < n && j < n) out[int64_t{i} * n + j] = sum;
}

// A squared distance of the student and of the teacher, with their inverse roots.
template <typename T>
struct Sides {
  T student, teacher, student_inverse, teacher_inverse;
};

template <typename T>
__device__ Sides<T> sides_at(const T* student, const T* teacher, int64_t place) {
  const T s = student[place], t = teacher[place];
  return {s, t, rkd_inverse(s), rkd_inverse(t)};
}

// The student's cosine between two sides, the third being opposite, less the teacher's; with the student's.
template <typename T>
struct Angle {
  T gap, cosine, scale;
};

template <typename T>
__device__ Angle<T> angle(const Sides<T>& a, const Sides<T>& b, T student_opposite, T teacher_opposite) {
  const T scale = a.student_inverse * b.student_inverse;
  const T cosine = rkd_cosine(a.student, b.student, student_opposite, scale);
  const T asked = rkd_cosine(a.teacher, b.teacher, teacher_opposite, a.teacher_inverse * b.teacher_inverse);
  return {cosine - asked, cosine, scale};
}

__device__ double over_block(double value) {
  __shared__ double of_warp[WARPS];
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(ALL, value, lane);
  if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = value;
  __syncthreads();
  double total = 0;
  for (int w = 0; w < WARPS; ++w) total += of_warp[w];
  return total;
}

// The loss of vertex i = blockIdx.x.
template <typename T>
__global__ void __launch_bounds__(THREADS) losses_of(const T* student, const T* teacher, int n, T* loss) {
  __shared__ Sides<T> own[THREADS];
  const int64_t row = int64_t{blockIdx.x} * n;
  double total = 0;
  for (int first = 0; first < n; first += THREADS) {  // a chunk of this row at a time, then all columns
    const int size = min(THREADS, n - first);
    __syncthreads();
    if (threadIdx.x < size) own[threadIdx.x] = sides_at(student, teacher, row + first + threadIdx.x);
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += THREADS) {
      const Sides<T> at_k = sides_at(student, teacher, row + k);
      T sum = 0;
      for (int m = 0; m < size; ++m) {
        const int64_t opposite = int64_t{first + m} * n + k;
        sum += rkd_huber(angle(own[m], at_k, student[opposite], teacher[opposite]).gap);
      }
      total += static_cast<double>(sum);
    }
  }
  total = over_block(total);
  if (threadIdx.x == 0) loss[blockIdx.x] = static_cast<T>(total / (static_cast<double>(n) * n));
}

// The slope of the loss with respect to N at (row, column): from triplets whose vertex is the row, and from those whose vertex is
// a third sample, to which row and column are opposite. Those whose vertex is the column are at (column, row).
template <typename T>
__global__ void __launch_bounds__(THREADS) slopes_of(const T* student, const T* teacher, const T* upstream,
                                                     int64_t upstream_stride, int n, T* slopes) {
  __shared__ Sides<T> own[THREADS];
  __shared__ T weight[THREADS];
  const int64_t row = int64_t{blockIdx.x} * n;
  const int column = blockIdx.y * THREADS + threadIdx.x;
  const T at_row = upstream[blockIdx.x * upstream_stride];
  const Sides<T> base = column < n ? sides_at(student, teacher, row + column) : Sides<T>{};
  const T squared_inverse = base.student_inverse * base.student_inverse;
  double total = 0;
  for (int first = 0; first < n; first += THREADS) {
    const int size = min(THREADS, n - first);
    __syncthreads();
    if (threadIdx.x < size) {
      own[threadIdx.x] = sides_at(student, teacher, row + first + threadIdx.x);
      weight[threadIdx.x] = upstream[(first + threadIdx.x) * upstream_stride];
    }
    __syncthreads();
    T sum = 0;
    for (int m = 0; column < n && m < size; ++m) {
      const Sides<T> far = sides_at(student, teacher, int64_t{first + m} * n + column);
      const Angle<T> here = angle(base, own[m], far.student, far.teacher);
      const Angle<T> there = angle(own[m], far, base.student, base.teacher);
      sum += at_row * rkd_pull(here.gap) * (here.scale - here.cosine * squared_inverse);
      sum -= weight[m] * rkd_pull(there.gap) * there.scale * T(0.5);
    }
    total += static_cast<double>(sum);
  }
  if (column < n) slopes[row + column] = static_cast<T>(total);
}

// gradient_i = 2 / B^2 sum_j (slopes_ij + slopes_ji) (x_i - x_j).
template <typename T>
__global__ void __launch_bounds__(THREADS) gradient_of(const T* x, int64_t stride, const T* slopes, int n, int d, T* gradient) {
  __shared__ T both[THREADS];
  const int64_t i = blockIdx.x;
  const int column = blockIdx.y * THREADS + threadIdx.x;
  const T own = column < d ? x[i * stride + column] : T(0);
  T sum = 0;
  for (int first = 0; first < n; first += THREADS) {
    const int size = min(THREADS, n - first), j = first + threadIdx.x;
    __syncthreads();
    if (j < n) both[threadIdx.x] = slopes[i * n + j] + slopes[int64_t{j} * n + i];
    __syncthreads();
    for (int m = 0; column < d && m < size; ++m) sum += both[m] * (own - x[(first + m) * stride + column]);
  }
  if (column < d) gradient[i * d + column] = sum * static_cast<T>(2 / (static_cast<double>(n) * n));
}

unsigned parts(int n, int size) { return static_cast<unsigned>((n + size - 1) / size); }

}  // namespace

template <typename T>
void rkd_squares(const T* x, int64_t stride, int n, int d, T* squares, cudaStream_t stream) {
  if (n == 0) return;
  square_distances<<<dim3(parts(n, TILE), parts(n, TILE)), dim3(TILE, TILE), 0, stream>>>(x, stride, n, d, squares);
}

template <typename T>
void rkd_losses(const T* student_squares, const T* teacher_squares, int n, T* loss, cudaStream_t stream) {
  if (n == 0) return;
  losses_of<<<n, THREADS, 0, stream>>>(student_squares, teacher_squares, n, loss);
}

template <typename T>
void rkd_gradient(const RkdInput<T>& in, T* slopes, T* gradient, cudaStream_t stream) {
  if (in.n == 0 || in.d == 0) return;
  slopes_of<<<dim3(in.n, parts(in.n, THREADS)), THREADS, 0, stream>>>(
      in.student_squares, in.teacher_squares, in.upstream, in.upstream_stride, in.n, slopes);
  gradient_of<<<dim3(in.n, parts(in.d, THREADS)), THREADS, 0, stream>>>(in.student, in.stride, slopes, in.n, in.d, gradient);
}

template void rkd_squares(const float*, int64_t, int, int, float*, cudaStream_t);
template void rkd_squares(const double*, int64_t, int, int, double*, cudaStream_t);
template void rkd_losses(const float*, const float*, int, float*, cudaStream_t);
template void rkd_losses(const double*, const double*, int, double*, cudaStream_t);
template void rkd_gradient(const RkdInput<float>&, float*, float*, cudaStream_t);
template void rkd_gradient(const RkdInput<double>&, double*, double*, cudaStream_t);

}  // namespace hdx::cuda
