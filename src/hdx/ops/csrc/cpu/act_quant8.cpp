// Activations in eight bits and back (hdx.ops.act_quant8): what the CUDA kernels compute, with the same random numbers.
#if defined(__clang__)
#pragma clang fp contract(off)
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off")
#endif

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch_v2.h>

#include <algorithm>
#include <tuple>

#include "quant_math.h"

namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t GRAIN = 64;  // groups a thread takes at least

template <typename T>
void quantise(const T* x, int64_t n, int64_t seed, int64_t group, uint8_t* codes, hdx::Range* ranges) {
  const int64_t begin = group * hdx::GROUP, size = std::min<int64_t>(hdx::GROUP, n - begin);
  const hdx::Key key = hdx::key_of(seed);
  float values[hdx::GROUP];
  hdx::Extent extent;
  for (int64_t i = 0; i < size; ++i) {
    values[i] = static_cast<float>(x[begin + i]);
    hdx::include(extent, values[i]);
  }
  const hdx::Range range = ranges[group] = hdx::range_of(extent);
  for (int64_t i = 0; i < size; ++i) codes[begin + i] = hdx::encode(values[i], range, hdx::draw(key, begin + i));
}

template <typename T>
void dequantise(const uint8_t* codes, int64_t n, const hdx::Range* ranges, int64_t group, T* out) {
  const int64_t begin = group * hdx::GROUP, size = std::min<int64_t>(hdx::GROUP, n - begin);
  const hdx::Range range = ranges[group];
  for (int64_t i = 0; i < size; ++i) out[begin + i] = static_cast<T>(hdx::decode(codes[begin + i], range));
}

int64_t groups_of(int64_t n) { return (n + hdx::GROUP - 1) / hdx::GROUP; }

std::tuple<Tensor, Tensor> act_quant8(const Tensor& x, int64_t seed) {
  STD_TORCH_CHECK(x.dim() == 1 && x.is_contiguous(), "act_quant8: expected a contiguous vector");
  const int64_t n = x.numel(), groups = groups_of(n);
  Tensor codes = torch::stable::new_empty(x, {n}, ScalarType::Byte);
  Tensor ranges = torch::stable::new_empty(x, {groups, 2}, ScalarType::Float);
  THO_DISPATCH_V2(x.scalar_type(), "act_quant8", AT_WRAP([&] {
    const auto* from = static_cast<const scalar_t*>(x.const_data_ptr());
    auto* to = codes.mutable_data_ptr<uint8_t>();
    auto* bounds = static_cast<hdx::Range*>(ranges.mutable_data_ptr());
    torch::stable::parallel_for(0, groups, GRAIN, [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) quantise(from, n, seed, group, to, bounds);
    });
  }), ScalarType::Float, ScalarType::Half, ScalarType::BFloat16);
  return {codes, ranges};
}

Tensor act_dequant8(const Tensor& codes, const Tensor& ranges, ScalarType dtype) {
  STD_TORCH_CHECK(codes.is_contiguous() && ranges.is_contiguous(), "act_dequant8: expected contiguous codes and ranges");
  const int64_t n = codes.numel(), groups = groups_of(n);
  STD_TORCH_CHECK(ranges.numel() == 2 * groups, "act_dequant8: expected ", groups, " ranges, got ", ranges.numel() / 2);
  Tensor out = torch::stable::new_empty(codes, {n}, dtype);
  THO_DISPATCH_V2(dtype, "act_dequant8", AT_WRAP([&] {
    const auto* from = codes.const_data_ptr<uint8_t>();
    const auto* bounds = static_cast<const hdx::Range*>(ranges.const_data_ptr());
    auto* to = static_cast<scalar_t*>(out.mutable_data_ptr());
    torch::stable::parallel_for(0, groups, GRAIN, [&](int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) dequantise(from, n, bounds, group, to);
    });
  }), ScalarType::Float, ScalarType::Half, ScalarType::BFloat16);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) {
  m.impl("act_quant8", TORCH_BOX(&act_quant8));
  m.impl("act_dequant8", TORCH_BOX(&act_dequant8));
}
