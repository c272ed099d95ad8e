// Stochastic rounding of floats to eight bits, a group of 256 at a time; shared by the CPU and the CUDA sources.
//
// A group with a least value of exactly 0 (what a ReLU leaves) keeps code 0 for 0 and spreads the other 255 over its positive
// values, so that which values are 0 survives. Such a group is marked by the sign of its step. Products and sums are rounded
// one by one, never fused, so that a GPU, a CPU and torch give the same bits: a .cpp that includes this turns contraction off.
#pragma once

#include "math.h"

namespace hdx {

constexpr int GROUP = 256;

struct Range {
  float low;   // the value of the least code; NaN where a value of the group is not finite
  float step;  // between codes; the sign bit marks a group that keeps its zeros
};

// What is known of a group, or of a part of it; parts add up in any order.
struct Extent {
  float low = INFINITY, positive = INFINITY, high = -INFINITY;  // least, least above 0, greatest
  bool finite = true;
};

HDX_MATH void include(Extent& extent, float x) {
  extent.low = x < extent.low ? x : extent.low;
  extent.high = x > extent.high ? x : extent.high;
  extent.positive = x > 0.0f && x < extent.positive ? x : extent.positive;
  extent.finite = extent.finite && x - x == 0.0f;  // infinity - infinity is NaN
}

HDX_MATH Range range_of(const Extent& extent) {
  const float spread = extent.high - extent.low;
  if (!extent.finite || spread - spread != 0.0f) return {NAN, NAN};
  if (extent.low == 0.0f && extent.high > 0.0f) return {extent.positive, -((extent.high - extent.positive) / 254.0f)};
  return {extent.low, fabsf(spread) / 255.0f};  // of zeros of both signs -0, which would be a mark
}

HDX_MATH bool keeps_zeros(const Range& range) { return copysignf(1.0f, range.step) < 0.0f; }

// --- the random numbers: a hash of a counter, so that element i of seed s draws the same wherever it is computed

HDX_MATH uint32_t mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

struct Key {
  uint32_t first, second;
};

HDX_MATH Key key_of(int64_t seed) {
  const uint32_t first = mix(static_cast<uint32_t>(seed));
  return {first, mix(first ^ static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32) ^ 0x9e3779b9u)};
}

// Uniform in [0, 1): a multiple of 2^-24.
HDX_MATH float draw(const Key& key, int64_t index) {
  const uint32_t low = static_cast<uint32_t>(index), high = static_cast<uint32_t>(static_cast<uint64_t>(index) >> 32);
  return static_cast<float>(mix(mix(low ^ key.first) ^ high ^ key.second) >> 8) * 0x1p-24f;
}

// --- codes

HDX_MATH float times(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

HDX_MATH float plus(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

// The code of x: up with a probability of its distance to the code below, in steps; u is a `draw`.
HDX_MATH uint8_t encode(float x, const Range& range, float u) {
  const bool zeros = keeps_zeros(range);
  const float step = fabsf(range.step), base = zeros ? 1.0f : 0.0f;
  const float steps = step > 0.0f ? (x - range.low) / step : 0.0f, whole = floorf(steps);
  const float up = base + whole + (u < steps - whole ? 1.0f : 0.0f), code = up > 255.0f ? 255.0f : up;
  return static_cast<uint8_t>(static_cast<int>(zeros && x == 0.0f ? 0.0f : code));
}

HDX_MATH float decode(uint8_t code, const Range& range) {
  const bool zeros = keeps_zeros(range);
  if (zeros && code == 0) return 0.0f;
  return plus(range.low, times(static_cast<float>(code) - (zeros ? 1.0f : 0.0f), fabsf(range.step)));
}

}  // namespace hdx
