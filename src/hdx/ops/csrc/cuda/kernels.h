// Launchers of the CUDA kernels. Pointers and a stream, no torch: the .cu files compile in seconds. Memory is the caller's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

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

}  // namespace hdx::cuda
