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

HDX_CLONES hdx::Range encode_group(const float* x, int size, int64_t index, const hdx::Key& key, uint8_t* codes) {
  hdx::Extent extent;
  for (int i = 0; i < size; ++i) hdx::include(extent, x[i]);
  const hdx::Range range = hdx::range_of(extent);
  for (int i = 0; i < size; ++i) codes[i] = hdx::encode(x[i], range, hdx::draw(key, index + i));
  return range;
}

HDX_CLONES void decode_group(const uint8_t* codes, int size, const hdx::Range& range, float* out) {
  for (int i = 0; i < size; ++i) out[i] = hdx::decode(codes[i], range);
}

int64_t groups_of(int64_t n) { return (n + hdx::GROUP - 1) / hdx::GROUP; }

int size_of(int64_t group, int64_t n) { return static_cast<int>(std::min<int64_t>(hdx::GROUP, n - group * hdx::GROUP)); }

std::tuple<Tensor, Tensor> act_quant8(const Tensor& x, int64_t seed) {
  STD_TORCH_CHECK(x.dim() == 1 && x.is_contiguous(), "act_quant8: expected a contiguous vector");
  const int64_t n = x.numel(), groups = groups_of(n);
  const hdx::Key key = hdx::key_of(seed);
  Tensor codes = torch::stable::new_empty(x, {n}, ScalarType::Byte);
  Tensor ranges = torch::stable::new_empty(x, {groups, 2}, ScalarType::Float);
  THO_DISPATCH_V2(x.scalar_type(), "act_quant8", AT_WRAP([&] {
    const auto* from = static_cast<const scalar_t*>(x.const_data_ptr());
    auto* to = codes.mutable_data_ptr<uint8_t>();
    auto* bounds = static_cast<hdx::Range*>(ranges.mutable_data_ptr());
    torch::stable::parallel_for(0, groups, GRAIN, [&](int64_t begin, int64_t end) {
      float values[hdx::GROUP];
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * hdx::GROUP;
        const int size = size_of(group, n);
        std::copy_n(from + first, size, values);
        bounds[group] = encode_group(values, size, first, key, to + first);
      }
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
      float values[hdx::GROUP];
      for (int64_t group = begin; group < end; ++group) {
        const int64_t first = group * hdx::GROUP;
        const int size = size_of(group, n);
        decode_group(from + first, size, bounds[group], values);
        std::copy_n(values, size, to + first);
      }
    });
  }), ScalarType::Float, ScalarType::Half, ScalarType::BFloat16);
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) {
  m.impl("act_quant8", TORCH_BOX(&act_quant8));
  m.impl("act_dequant8", TORCH_BOX(&act_dequant8));
}
