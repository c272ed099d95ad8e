// The CUDA ops as torch sees them, through the stable ABI. What they compute is documented in the Python file of each op.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <climits>
#include <tuple>
#include <type_traits>

#include "kernels.h"

namespace {

namespace cuda = hdx::cuda;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The device of a tensor for as long as this lives, and its current stream.
class On {
 public:
  explicit On(const Tensor& x) : device(x.get_device_index()), guard_(device) {
    void* found = nullptr;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &found));
    stream = static_cast<cudaStream_t>(found);
  }

  int device;
  cudaStream_t stream;

 private:
  torch::stable::accelerator::DeviceGuard guard_;
};

template <typename T>
const T* read(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

template <typename T>
T* write(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

int small(int64_t size, const char* name) {
  STD_TORCH_CHECK(size <= INT_MAX, "Expected ", name, " below 2^31, got ", size);
  return static_cast<int>(size);
}

// --- act_quant8

std::tuple<Tensor, Tensor> act_quant8(const Tensor& x, int64_t seed) {
  STD_TORCH_CHECK(x.dim() == 1 && x.is_contiguous(), "act_quant8: expected a contiguous vector");
  const On on(x);
  const int64_t n = x.numel();
  Tensor codes = torch::stable::new_empty(x, {n}, ScalarType::Byte);
  Tensor ranges = torch::stable::new_empty(x, {(n + 255) / 256, 2}, ScalarType::Float);
  const auto run = [&](const auto* values) {
    cuda::act_quant8(values, n, seed, write<uint8_t>(codes), write<float>(ranges), on.stream);
  };
  switch (x.scalar_type()) {
    case ScalarType::Float: run(read<float>(x)); break;
    case ScalarType::Half: run(read<__half>(x)); break;
    case ScalarType::BFloat16: run(read<__nv_bfloat16>(x)); break;
    default: STD_TORCH_CHECK(false, "act_quant8: expected float32, float16 or bfloat16");
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {codes, ranges};
}

Tensor act_dequant8(const Tensor& codes, const Tensor& ranges, ScalarType dtype) {
  const int64_t n = codes.numel();
  STD_TORCH_CHECK(codes.is_contiguous() && ranges.is_contiguous(), "act_dequant8: expected contiguous codes and ranges");
  STD_TORCH_CHECK(ranges.numel() == 2 * ((n + 255) / 256), "act_dequant8: expected a range for every 256 codes");
  const On on(codes);
  Tensor out = torch::stable::new_empty(codes, {n}, dtype);
  const auto run = [&](auto* values) {
    cuda::act_dequant8(read<uint8_t>(codes), read<float>(ranges), n, values, on.stream);
  };
  switch (dtype) {
    case ScalarType::Float: run(write<float>(out)); break;
    case ScalarType::Half: run(write<__half>(out)); break;
    case ScalarType::BFloat16: run(write<__nv_bfloat16>(out)); break;
    default: STD_TORCH_CHECK(false, "act_dequant8: expected float32, float16 or bfloat16");
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

// --- episode_ncm

Tensor episode_ncm(
    const Tensor& bank, const Tensor& support, const Tensor& labels, const Tensor& query, int64_t ways, bool cosine) {
  const On on(bank);
  const int64_t d = bank.size(1);
  small(ways * d, "ways * D");
  const cuda::Episodes episodes{
      read<float>(bank), bank.size(0), bank.stride(0),
      read<int64_t>(support), read<int64_t>(labels), read<int64_t>(query), small(query.size(0), "E"),
      small(support.size(1), "S"), small(query.size(1), "Q"), small(ways, "ways"), small(d, "D"), cosine};
  Tensor found = torch::stable::empty_like(query);
  const int64_t bytes = cuda::episode_ncm_scratch(episodes, on.device);
  Tensor scratch = torch::stable::new_empty(bank, {bytes / 4}, ScalarType::Float);
  cuda::episode_ncm(episodes, bytes ? write<float>(scratch) : nullptr, write<int64_t>(found), on.device, on.stream);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return found;
}

// --- class_moments

std::tuple<Tensor, Tensor> class_moments(
    const Tensor& x, const Tensor& order, const Tensor& starts, const Tensor& firsts, const Tensor& pivot) {
  STD_TORCH_CHECK(x.stride(1) == 1 || x.size(1) == 1, "class_moments: expected features with a unit stride of columns");
  const On on(x);
  const int64_t n = x.size(0), d = x.size(1), n_classes = starts.numel() - 1;
  Tensor centred = torch::stable::new_empty(x, {n, d}, ScalarType::Double);
  Tensor sums = torch::stable::new_empty(x, {n_classes, d}, ScalarType::Double);
  Tensor partial = torch::stable::new_empty(x, {cuda::segments_of(n, n_classes), d}, ScalarType::Double);
  const auto run = [&](const auto* rows) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(rows)>>;
    const cuda::Labelled<T> labelled{rows, x.stride(0), n, d, n_classes, read<int64_t>(order), read<int64_t>(starts),
                                     read<int64_t>(firsts)};
    cuda::class_moments(
        labelled, read<double>(pivot), write<double>(centred), write<double>(partial), write<double>(sums), on.stream);
  };
  switch (x.scalar_type()) {
    case ScalarType::Float: run(read<float>(x)); break;
    case ScalarType::Half: run(read<__half>(x)); break;
    case ScalarType::BFloat16: run(read<__nv_bfloat16>(x)); break;
    case ScalarType::Double: run(read<double>(x)); break;
    default: STD_TORCH_CHECK(false, "class_moments: expected float features");
  }
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {centred, sums};
}

// --- kd_rows

// The same logits with the classes of a row next to each other; rows may be further apart.
Tensor in_rows(const Tensor& logits) {
  return logits.size(1) > 1 && logits.stride(1) != 1 ? torch::stable::contiguous(logits) : logits;
}

template <typename T>
cuda::KdInput<T> kd_input(const Tensor& student, const Tensor& teacher, const int64_t* labels) {
  small(student.size(0), "rows");
  return {read<T>(student), read<T>(teacher), student.stride(0), teacher.stride(0), student.size(0), student.size(1), labels};
}

std::tuple<Tensor, Tensor, Tensor> kd_rows(
    const Tensor& student, const Tensor& teacher, const Tensor& labels, double temperature, double ce, double teacher_ce,
    double kd, double target, double non_target, double non_target_ce) {
  const On on(student);
  const hdx::KdTerms terms{temperature, ce, teacher_ce, kd, target, non_target, non_target_ce};
  const Tensor s = in_rows(student), t = in_rows(teacher), y = torch::stable::contiguous(labels);
  Tensor loss = torch::stable::new_empty(s, {s.size(0)}), kept = torch::stable::new_empty(s, {s.size(0), 6});
  Tensor targets = torch::stable::new_empty(y, {s.size(0)});
  Tensor sums = torch::stable::new_empty(s, {s.size(0), sizeof(hdx::KdSums<double>) / sizeof(double)}, ScalarType::Double);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const auto in = kd_input<T>(s, t, read<int64_t>(y));
    auto* scratch = write<hdx::KdSums<double>>(sums);
    cuda::kd_rows(in, terms, scratch, write<T>(loss), write<T>(kept), write<int64_t>(targets), on.stream);
  };
  s.scalar_type() == ScalarType::Double ? run(0.0) : run(0.0f);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {loss, kept, targets};
}

Tensor kd_rows_backward(
    const Tensor& upstream, const Tensor& student, const Tensor& teacher, const Tensor& targets, const Tensor& rows,
    double temperature) {
  const On on(student);
  const Tensor s = in_rows(student), t = in_rows(teacher);
  Tensor out = torch::stable::new_empty(s, {s.size(0), s.size(1)});
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const auto in = kd_input<T>(s, t, nullptr);
    cuda::kd_rows_backward(
        in, read<T>(upstream), upstream.stride(0), read<int64_t>(targets), read<T>(rows), temperature, write<T>(out), on.stream);
  };
  s.scalar_type() == ScalarType::Double ? run(0.0) : run(0.0f);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

// --- rkd_triplet

std::tuple<Tensor, Tensor, Tensor> rkd_triplet(const Tensor& student, const Tensor& teacher) {
  const On on(student);
  const Tensor s = in_rows(student), t = in_rows(teacher);
  const int n = small(s.size(0), "B");
  Tensor loss = torch::stable::new_empty(s, {n});
  Tensor of_student = torch::stable::new_empty(s, {n, n}), of_teacher = torch::stable::new_empty(s, {n, n});
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    cuda::rkd_squares(read<T>(s), s.stride(0), n, small(s.size(1), "D"), write<T>(of_student), on.stream);
    cuda::rkd_squares(read<T>(t), t.stride(0), n, small(t.size(1), "D"), write<T>(of_teacher), on.stream);
    cuda::rkd_losses(read<T>(of_student), read<T>(of_teacher), n, write<T>(loss), on.stream);
  };
  s.scalar_type() == ScalarType::Double ? run(0.0) : run(0.0f);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return {loss, of_student, of_teacher};
}

Tensor rkd_triplet_backward(
    const Tensor& upstream, const Tensor& student, const Tensor& student_squares, const Tensor& teacher_squares) {
  const On on(student);
  const Tensor s = in_rows(student);
  const int n = small(s.size(0), "B"), d = small(s.size(1), "D");
  Tensor slopes = torch::stable::new_empty(s, {n, n}), gradient = torch::stable::new_empty(s, {n, d});
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const cuda::RkdInput<T> in{read<T>(upstream), read<T>(s), read<T>(student_squares), read<T>(teacher_squares),
                               upstream.stride(0), s.stride(0), n, d};
    cuda::rkd_gradient(in, write<T>(slopes), write<T>(gradient), on.stream);
  };
  s.scalar_type() == ScalarType::Double ? run(0.0) : run(0.0f);
  STD_CUDA_KERNEL_LAUNCH_CHECK();
  return gradient;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CUDA, m) {
  m.impl("act_quant8", TORCH_BOX(&act_quant8));
  m.impl("act_dequant8", TORCH_BOX(&act_dequant8));
  m.impl("class_moments", TORCH_BOX(&class_moments));
  m.impl("kd_rows", TORCH_BOX(&kd_rows));
  m.impl("kd_rows_backward", TORCH_BOX(&kd_rows_backward));
  m.impl("rkd_triplet", TORCH_BOX(&rkd_triplet));
  m.impl("rkd_triplet_backward", TORCH_BOX(&rkd_triplet_backward));
  m.impl("episode_ncm", TORCH_BOX(&episode_ncm));
}
