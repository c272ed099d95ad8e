// Per-element maths of the ops, shared by the CPU and the CUDA sources: what CI runs on a CPU is what a GPU runs.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define HDX_MATH __host__ __device__ __forceinline__
#else
#define HDX_MATH inline __attribute__((always_inline))
#endif

// A CPU kernel is compiled for several instruction sets, and the best that the machine has is taken at load time.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define HDX_X86 1
#define HDX_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define HDX_X86 0
#define HDX_CLONES
#endif
