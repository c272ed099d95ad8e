// Nearest class means of few-shot episodes: a block an episode, its prototypes in shared memory where they fit.
#include "kernels.h"
#include "math.h"

namespace hdx::cuda {
namespace {

constexpr int WARP = 32, THREADS = 256, WARPS = THREADS / WARP;
constexpr int TILE = 5;    // classes that share a read of the query
constexpr int AHEAD = 4;   // support rows in flight
constexpr int64_t SHARED = 96 * 1024;  // bytes of a block at most, so that two fit where there is room for it
constexpr unsigned ALL = 0xffffffffu;

// Of one episode: prototypes about their mean [ways, d], the mean [d], 1/2 |p|^2 [ways], samples [ways].
struct Points {
  float *rows, *centre, *half, *count;
};

HDX_MATH int64_t floats_of(const Episodes& e) { return (e.ways + int64_t{1}) * e.d + 2 * e.ways; }

__device__ Points points_at(float* memory, const Episodes& e) {
  float* centre = memory + e.ways * e.d;
  return {memory, centre, centre + e.d, centre + e.d + e.ways};
}

// A row of the bank; one out of range ends the program, as indexing in torch does.
__device__ const float* row(const Episodes& e, int64_t index) {
  if (index < 0 || index >= e.n_bank) __trap();
  return e.bank + index * e.stride;
}

__device__ float over_warp(float sum) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) sum += __shfl_xor_sync(ALL, sum, lane);
  return sum;
}

__device__ float squared_length(const float* p, int d) {
  float sum = 0;
  for (int i = threadIdx.x % WARP; i < d; i += WARP) sum += p[i] * p[i];
  return over_warp(sum);
}

// Sums of the support: a thread owns its columns.
__device__ void add_support(const Episodes& e, const int64_t* support, const int64_t* labels, const Points& p) {
  for (int w = threadIdx.x; w < e.ways; w += THREADS) {
    float count = 0;
    for (int k = 0; k < e.n_support; ++k) count += labels[k] == w ? 1.0f : 0.0f;
    p.count[w] = count;
  }
  for (int k = threadIdx.x; k < e.n_support; k += THREADS) {
    if (labels[k] < 0 || labels[k] >= e.ways) __trap();
  }
  __syncthreads();
  for (int i = threadIdx.x; i < e.d; i += THREADS) {
    for (int w = 0; w < e.ways; ++w) p.rows[w * e.d + i] = 0;
    for (int first = 0; first < e.n_support; first += AHEAD) {
      float values[AHEAD];
#pragma unroll
      for (int k = 0; k < AHEAD; ++k) values[k] = first + k < e.n_support ? row(e, support[first + k])[i] : 0.0f;
#pragma unroll
      for (int k = 0; k < AHEAD; ++k) {
        if (first + k < e.n_support) p.rows[labels[first + k] * e.d + i] += values[k];
      }
    }
  }
  __syncthreads();
}

__device__ void learn(const Episodes& e, const int64_t* support, const int64_t* labels, const Points& p) {
  const int warp = threadIdx.x / WARP;
  add_support(e, support, labels, p);
  for (int w = warp; w < e.ways; w += WARPS) {  // the scale of a prototype, for now in `half`
    const float length = e.cosine ? sqrtf(squared_length(p.rows + w * e.d, e.d)) : fmaxf(p.count[w], 1.0f);
    if (threadIdx.x % WARP == 0) p.half[w] = length > 0.0f ? 1.0f / length : 0.0f;
  }
  __syncthreads();
  float present = 0;
  for (int w = 0; w < e.ways; ++w) present += p.count[w] > 0.0f ? 1.0f : 0.0f;
  const float share = e.cosine ? 0.0f : 1.0f / fmaxf(present, 1.0f);
  for (int i = threadIdx.x; i < e.d; i += THREADS) {
    float sum = 0;
    for (int w = 0; w < e.ways; ++w) sum += p.rows[w * e.d + i] *= p.half[w];
    p.centre[i] = sum * share;
    for (int w = 0; w < e.ways; ++w) p.rows[w * e.d + i] -= p.centre[i];
  }
  __syncthreads();
  for (int w = warp; w < e.ways; w += WARPS) {
    const float squared = e.cosine ? 0.0f : squared_length(p.rows + w * e.d, e.d);
    if (threadIdx.x % WARP == 0) p.half[w] = squared / 2;
  }
  __syncthreads();
}

// The class of a query x, by one warp; of equal scores the first. Every class is summed alike, so that equal prototypes tie.
__device__ int judge(const Episodes& e, const float* x, const Points& p) {
  float best = -INFINITY;
  int found = 0;
  for (int first = 0; first < e.ways; first += TILE) {
    float sums[TILE] = {};
    for (int i = threadIdx.x % WARP; i < e.d; i += WARP) {
      const float value = x[i] - p.centre[i];
#pragma unroll
      for (int w = 0; w < TILE; ++w) {
        if (first + w < e.ways) sums[w] += value * p.rows[(first + w) * e.d + i];
      }
    }
#pragma unroll
    for (int w = 0; w < TILE; ++w) {
      if (first + w >= e.ways) break;
      const float score = over_warp(sums[w]) - p.half[first + w];
      if (p.count[first + w] > 0.0f && score > best) {
        best = score;
        found = first + w;
      }
    }
  }
  return found;
}

__global__ void __launch_bounds__(THREADS, 4) judge_all(const __grid_constant__ Episodes e, float* scratch, int64_t* found) {
  extern __shared__ float shared[];
  const Points p = points_at(scratch ? scratch + blockIdx.x * floats_of(e) : shared, e);
  for (int64_t episode = blockIdx.x; episode < e.n; episode += gridDim.x) {
    learn(e, e.support + episode * e.n_support, e.labels + episode * e.n_support, p);
    const int64_t* query = e.query + episode * e.n_query;
    for (int k = threadIdx.x / WARP; k < e.n_query; k += WARPS) {
      const int w = judge(e, row(e, query[k]), p);
      if (threadIdx.x % WARP == 0) found[episode * e.n_query + k] = w;
    }
    __syncthreads();  // before the next episode takes the memory
  }
}

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  cudaDeviceGetAttribute(&value, name, device);
  return value;
}

bool fits(const Episodes& e, int device) {
  const int64_t room = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return floats_of(e) * static_cast<int64_t>(sizeof(float)) <= (room < SHARED ? room : SHARED);
}

// Blocks of a launch: all episodes at once, or as many as the device holds where each needs memory of its own.
int64_t blocks_of(const Episodes& e, int device) {
  if (fits(e, device)) return e.n;
  const int64_t resident = 4 * static_cast<int64_t>(attribute(cudaDevAttrMultiProcessorCount, device));
  return e.n < resident ? e.n : resident;
}

}  // namespace

int64_t episode_ncm_scratch(const Episodes& e, int device) {
  return fits(e, device) ? 0 : blocks_of(e, device) * floats_of(e) * static_cast<int64_t>(sizeof(float));
}

void episode_ncm(const Episodes& e, float* scratch, int64_t* found, int device, cudaStream_t stream) {
  if (e.n == 0 || e.n_query == 0) return;
  const int bytes = scratch ? 0 : static_cast<int>(floats_of(e) * sizeof(float));
  if (bytes > 48 * 1024) cudaFuncSetAttribute(judge_all, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  judge_all<<<static_cast<unsigned>(blocks_of(e, device)), THREADS, bytes, stream>>>(e, scratch, found);
}

}  // namespace hdx::cuda
