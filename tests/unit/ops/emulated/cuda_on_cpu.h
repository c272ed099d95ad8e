// Runs CUDA kernels thread by thread on a CPU, so that their indices, barriers and shuffles are tested where there is no GPU.
//
// Blocks run one after the other; the threads of a block are fibres that switch at barriers and shuffles. A warp whose threads
// wait for different things, which a GPU would hang on or worse, is an error. The compiler is the host's: nothing here tells
// what nvcc makes of the sources, nor how fast.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <ucontext.h>
#include <vector_functions.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#undef __global__
#undef __device__
#undef __host__
#undef __forceinline__
#undef __shared__
#undef __launch_bounds__
#undef __grid_constant__
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (emulated::now->thread)
#define blockIdx (emulated::block)
#define gridDim (emulated::grid)
#define __syncthreads() emulated::wait(emulated::BLOCK)
#define __trap() emulated::trap()
#define cudaDeviceGetAttribute(value, name, device) emulated::attribute(value, name)
#define cudaFuncSetAttribute(function, name, value) (void)(value)

namespace emulated {

enum State { READY, WARP_WIDE, BLOCK, DONE };
constexpr unsigned WARP = 32;
constexpr std::size_t STACK = 96 * 1024;

struct Fibre {
  ucontext_t context;
  uint3 thread;
  unsigned number;
  State state;
  unsigned shuffles;
};

inline Fibre* now = nullptr;
inline uint3 block{};
inline dim3 grid;
inline bool trapped = false;
inline ucontext_t scheduler;
inline const std::function<void()>* kernel = nullptr;
inline std::vector<unsigned char> shared_memory;
inline std::vector<Fibre> fibres;
inline std::vector<std::vector<char>> stacks;
inline unsigned char slots[2][1024][16];

inline void wait(State state) {
  now->state = state;
  swapcontext(&now->context, &scheduler);
}

inline void trap() {
  trapped = true;
  wait(DONE);
}

inline void run() {
  (*kernel)();
  wait(DONE);
}

// What the whole warp wrote: one may be a shuffle ahead of its neighbours, so that two sets of slots suffice.
template <typename T>
auto exchange(T value) {
  static_assert(sizeof(T) <= 16);
  auto& set = slots[now->shuffles++ % 2];
  std::memcpy(set[now->number], &value, sizeof value);
  wait(WARP_WIDE);
  return [&set](unsigned number) {
    T found;
    std::memcpy(&found, set[number], sizeof found);
    return found;
  };
}

// Lets the threads of a warp run until all wait for the same. Returns: for what.
inline State advance(Fibre* first, Fibre* last) {
  for (;;) {
    State all = DONE;
    for (Fibre* fibre = first; fibre != last; ++fibre) {
      if (fibre->state == READY) {
        now = fibre;
        swapcontext(&scheduler, &fibre->context);
      }
      if (fibre->state == DONE) continue;
      if (all != DONE && all != fibre->state) throw std::runtime_error("threads of a warp wait for different things");
      all = fibre->state;
    }
    if (all != WARP_WIDE) return all;
    for (Fibre* fibre = first; fibre != last; ++fibre) {
      if (fibre->state == WARP_WIDE) fibre->state = READY;
    }
  }
}

inline void run_block(unsigned size) {
  for (unsigned i = 0; i < size; ++i) {
    Fibre& fibre = fibres[i];
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = stacks[i].data();
    fibre.context.uc_stack.ss_size = STACK;
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, run, 0);
    fibre.state = READY;
    fibre.shuffles = 0;
  }
  for (bool left = true; left;) {
    left = false;
    for (unsigned first = 0; first < size; first += WARP) {
      left |= advance(&fibres[first], fibres.data() + std::min(size, first + WARP)) == BLOCK;
    }
    for (unsigned i = 0; i < size; ++i) {
      if (fibres[i].state == BLOCK) fibres[i].state = READY;
    }
  }
}

inline void launch(dim3 blocks, dim3 threads, std::size_t bytes, const std::function<void()>& body) {
  const unsigned size = threads.x * threads.y * threads.z;
  kernel = &body;
  grid = blocks;
  trapped = false;
  fibres.resize(size);
  stacks.resize(std::max<std::size_t>(stacks.size(), size), std::vector<char>(STACK));
  for (unsigned i = 0; i < size; ++i) {
    fibres[i].number = i;
    fibres[i].thread = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
  }
  for (block.z = 0; block.z < blocks.z; ++block.z) {
    for (block.y = 0; block.y < blocks.y; ++block.y) {
      for (block.x = 0; block.x < blocks.x; ++block.x) {
        shared_memory.assign(bytes, 0xff);  // NaN, as floats
        run_block(size);
        if (trapped) throw std::runtime_error("a kernel trapped");
      }
    }
  }
}

inline void attribute(int* value, cudaDeviceAttr name) { *value = name == cudaDevAttrMultiProcessorCount ? 1 : 99 * 1024; }

}  // namespace emulated

template <typename T>
T __shfl_xor_sync(unsigned, T value, int lane) {
  return emulated::exchange(value)(emulated::now->number ^ static_cast<unsigned>(lane));
}

inline bool __all_sync(unsigned, bool value) {
  const auto found = emulated::exchange(value);
  const unsigned first = emulated::now->number / emulated::WARP * emulated::WARP;
  for (unsigned i = 0; i < emulated::WARP; ++i) {
    if (!found(first + i)) return false;
  }
  return true;
}

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}

template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}
