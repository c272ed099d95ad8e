// Launchers of the CUDA kernels. Pointers and a stream, no torch: the .cu files compile in seconds. Memory is the caller's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kd_math.h"

namespace hdx::cuda {

// --- act_quant8.cu: T is float, __half or __nv_bfloat16

// x [n] to codes [n] and ranges [ceil(n / 256), 2].
template <typename T>
void act_quant8(const T* x, int64_t n, int64_t seed, uint8_t* codes, float* ranges, cudaStream_t stream);

// And back: out [n].
template <typename T>
void act_dequant8(const uint8_t* codes, const float* ranges, int64_t n, T* out, cudaStream_t stream);

// --- episode_ncm.cu

struct Episodes {
  const float* bank;  // [n_bank, d], rows `stride` apart
  int64_t n_bank, stride;
  const int64_t *support, *labels, *query;  // [n, n_support], the same, [n, n_query]
  int64_t n;
  int n_support, n_query, ways, d;  // ways * d < 2^31
  bool cosine;
};

// Bytes that `episode_ncm` needs in global memory: 0 where the prototypes of an episode fit into the memory of a block.
int64_t episode_ncm_scratch(const Episodes& episodes, int device);

// The class [n, n_query] of every query.
void episode_ncm(const Episodes& episodes, float* scratch, int64_t* found, int device, cudaStream_t stream);

// --- class_moments.cu

constexpr int64_t SEGMENT = 64;  // rows of one class that a block sums, as class_moments.py has it

// Features with their rows sorted by class; all pointers lie on the device.
template <typename T>
struct Labelled {
  const T* rows;  // [n, d], `stride` apart
  int64_t stride, n, d, n_classes;
  const int64_t* order;   // [n]: rows, class by class
  const int64_t* starts;  // [n_classes + 1]: where each class begins in `order`
  const int64_t* firsts;  // [n_classes + 1]: the first segment of each class
};

// At least the number of segments, which only the device knows.
inline int64_t segments_of(int64_t n, int64_t n_classes) { return n / SEGMENT + n_classes; }

// centred [n, d]: rows less the pivot [d]; sums [n_classes, d] of those; partial [segments_of(n, n_classes), d] is scratch.
template <typename T>
void class_moments(const Labelled<T>& x, const double* pivot, double* centred, double* partial, double* sums,
                   cudaStream_t stream);

// --- kd_rows.cu: T is float or double

template <typename T>
struct KdInput {
  const T *student, *teacher;  // [n_rows, n_classes], rows `..._stride` apart
  int64_t student_stride, teacher_stride, n_rows, n_classes;
  const int64_t* labels;  // [n_rows]; unused on the way back
};

// loss [n_rows], kept [n_rows, 6], targets [n_rows]; sums [n_rows] is scratch.
template <typename T>
void kd_rows(const KdInput<T>& in, const KdTerms& terms, KdSums<double>* sums, T* loss, T* kept, int64_t* targets,
             cudaStream_t stream);

// d (upstream . loss) / d student: out [n_rows, n_classes].
template <typename T>
void kd_rows_backward(const KdInput<T>& in, const T* upstream, int64_t upstream_stride, const int64_t* targets, const T* kept,
                      double temperature, T* out, cudaStream_t stream);

// --- rkd_triplet.cu: T is float or double

// squares [n, n] of the distances between the rows of x [n, d], which are `stride` apart.
template <typename T>
void rkd_squares(const T* x, int64_t stride, int n, int d, T* squares, cudaStream_t stream);

// loss [n] of each vertex.
template <typename T>
void rkd_losses(const T* student_squares, const T* teacher_squares, int n, T* loss, cudaStream_t stream);

template <typename T>
struct RkdInput {
  const T* upstream;  // [n], `upstream_stride` apart
  const T* student;   // [n, d], rows `stride` apart
  const T *student_squares, *teacher_squares;
  int64_t upstream_stride, stride;
  int n, d;
};

// d (upstream . loss) / d student [n, d]; slopes [n, n] is scratch.
template <typename T>
void rkd_gradient(const RkdInput<T>& in, T* slopes, T* gradient, cudaStream_t stream);

}  // namespace hdx::cuda
