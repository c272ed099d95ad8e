// Activations in eight bits and back: a warp packs a group of 256, eight values a lane; reads and writes each value once.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels.h"
#include "quant_math.h"

namespace hdx::cuda {
namespace {

constexpr int WARP = 32, EACH = GROUP / WARP, THREADS = 256;
constexpr unsigned ALL = 0xffffffffu;

template <typename T>
struct alignas(16) Piece {
  T values[16 / sizeof(T)];
};

struct alignas(EACH) Codes {
  uint8_t values[EACH];
};

__device__ Extent over_warp(Extent extent) {
#pragma unroll
  for (int lane = WARP / 2; lane > 0; lane /= 2) {
    extent.low = fminf(extent.low, __shfl_xor_sync(ALL, extent.low, lane));
    extent.high = fmaxf(extent.high, __shfl_xor_sync(ALL, extent.high, lane));
    extent.positive = fminf(extent.positive, __shfl_xor_sync(ALL, extent.positive, lane));
  }
  extent.finite = __all_sync(ALL, extent.finite);
  return extent;
}

// Loads x[begin : begin + EACH]; `size` of them exist. Whole pieces at once where all exist and lie on 16 bytes.
template <typename T>
__device__ void load(const T* x, int64_t begin, int size, bool aligned, float (&values)[EACH]) {
  constexpr int PIECES = EACH * sizeof(T) / 16, N = 16 / sizeof(T);
  if (size == EACH && aligned) {
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
      const Piece<T> piece = reinterpret_cast<const Piece<T>*>(x + begin)[p];
#pragma unroll
      for (int i = 0; i < N; ++i) values[p * N + i] = static_cast<float>(piece.values[i]);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < EACH; ++i) values[i] = i < size ? static_cast<float>(x[begin + i]) : 0.0f;
}

__device__ int size_at(int64_t begin, int64_t n) {
  return static_cast<int>(max(int64_t{0}, min(int64_t{EACH}, n - begin)));
}

template <typename T>
__global__ void __launch_bounds__(THREADS) pack(const T* x, int64_t n, Key key, bool aligned, uint8_t* codes, float2* ranges) {
  const int64_t begin = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * EACH;
  const int64_t group = begin / GROUP;
  if (group * GROUP >= n) return;  // the whole warp
  const int size = size_at(begin, n);
  float values[EACH];
  load(x, begin, size, aligned, values);
  Extent extent;
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    if (i < size) include(extent, values[i]);
  }
  const Range range = range_of(over_warp(extent));
  if (threadIdx.x % WARP == 0) ranges[group] = make_float2(range.low, range.step);
  Codes out;
#pragma unroll
  for (int i = 0; i < EACH; ++i) out.values[i] = encode(values[i], range, draw(key, begin + i));
  if (size == EACH) {
    *reinterpret_cast<Codes*>(codes + begin) = out;
    return;
  }
#pragma unroll
  for (int i = 0; i < EACH; ++i) {
    if (i < size) codes[begin + i] = out.values[i];
  }
}

template <typename T>
__global__ void __launch_bounds__(THREADS) unpack(const uint8_t* codes, const float2* ranges, int64_t n, T* out) {
  constexpr int PIECES = EACH * sizeof(T) / 16, N = 16 / sizeof(T);
  const int64_t begin = (int64_t{blockIdx.x} * THREADS + threadIdx.x) * EACH;
  if (begin >= n) return;
  const int size = size_at(begin, n);
  const float2 pair = ranges[begin / GROUP];
  const Range range{pair.x, pair.y};
  if (size == EACH) {
    const Codes in = *reinterpret_cast<const Codes*>(codes + begin);
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
      Piece<T> piece;
#pragma unroll
      for (int i = 0; i < N; ++i) piece.values[i] = static_cast<T>(decode(in.values[p * N + i], range));
      reinterpret_cast<Piece<T>*>(out + begin)[p] = piece;
    }
    return;
  }
  for (int i = 0; i < size; ++i) out[begin + i] = static_cast<T>(decode(codes[begin + i], range));
}

unsigned blocks_of(int64_t n) { return static_cast<unsigned>((n + THREADS * EACH - 1) / (THREADS * EACH)); }

}  // namespace

template <typename T>
void act_quant8(const T* x, int64_t n, int64_t seed, uint8_t* codes, float* ranges, cudaStream_t stream) {
  if (n == 0) return;
  const bool aligned = reinterpret_cast<uintptr_t>(x) % 16 == 0;
  pack<<<blocks_of(n), THREADS, 0, stream>>>(x, n, key_of(seed), aligned, codes, reinterpret_cast<float2*>(ranges));
}

template <typename T>
void act_dequant8(const uint8_t* codes, const float* ranges, int64_t n, T* out, cudaStream_t stream) {
  if (n == 0) return;
  unpack<<<blocks_of(n), THREADS, 0, stream>>>(codes, reinterpret_cast<const float2*>(ranges), n, out);
}

template void act_quant8(const float*, int64_t, int64_t, uint8_t*, float*, cudaStream_t);
template void act_quant8(const __half*, int64_t, int64_t, uint8_t*, float*, cudaStream_t);
template void act_quant8(const __nv_bfloat16*, int64_t, int64_t, uint8_t*, float*, cudaStream_t);
template void act_dequant8(const uint8_t*, const float*, int64_t, float*, cudaStream_t);
template void act_dequant8(const uint8_t*, const float*, int64_t, __half*, cudaStream_t);
template void act_dequant8(const uint8_t*, const float*, int64_t, __nv_bfloat16*, cudaStream_t);

}  // namespace hdx::cuda
