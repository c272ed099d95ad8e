// Nearest class means of few-shot episodes: one pass over the rows of each episode, prototypes in the first cache.
#include <algorithm>
#include <limits>
#include <vector>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "math.h"

namespace {

using torch::stable::Tensor;

constexpr int64_t AHEAD = 4;   // rows lie anywhere in a table larger than the caches: they are fetched in time to arrive
constexpr int64_t LANES = 16;  // sums run in as many lanes on every machine and for every class: equal prototypes tie

struct Bank {
  const float* rows;
  int64_t stride, d;
};

struct Episode {
  const int64_t *support, *labels, *query;
  int64_t n_support, n_query, ways;
  bool last;  // of the array; else the support of the next one follows in memory

  // The row that is read AHEAD of these rows later; any row will do where there is none.
  int64_t after(int64_t k) const {
    k += AHEAD;
    if (k < n_support) return support[k];
    k -= n_support;
    if (k < n_query) return query[k];
    k -= n_query;
    return k < n_support && !last ? support[n_support + k] : support[0];
  }
};

// Of one thread: prototypes [ways, padded], their mean [padded], 1/2 |p|^2 [ways], samples of each [ways].
struct Scratch {
  int64_t padded;
  std::vector<float> points, centre, half, count;
  Scratch(int64_t d, int64_t ways)
      : padded((d + LANES - 1) / LANES * LANES), points(ways * padded), centre(padded), half(ways), count(ways) {}
};

// Scores of N classes, (x - centre) . p - 1/2 |p|^2.
template <int N>
HDX_MATH void score(const float* x, int64_t d, const Scratch& s, int64_t first, float* out) {
  float sums[N][LANES] = {};
  const float* points = s.points.data() + first * s.padded;
  const float* centre = s.centre.data();
  int64_t i = 0;
  for (; i + LANES <= d; i += LANES) {
    for (int w = 0; w < N; ++w) {
#pragma omp simd
      for (int64_t l = 0; l < LANES; ++l) sums[w][l] += (x[i + l] - centre[i + l]) * points[w * s.padded + i + l];
    }
  }
  for (int w = 0; w < N; ++w) {
    for (int64_t l = 0; i + l < d; ++l) sums[w][l] += (x[i + l] - centre[i + l]) * points[w * s.padded + i + l];
    for (int64_t width = LANES / 2; width > 0; width /= 2) {
      for (int64_t l = 0; l < width; ++l) sums[w][l] += sums[w][l + width];
    }
    out[w] = s.count[first + w] > 0 ? sums[w][0] - s.half[first + w] : -std::numeric_limits<float>::infinity();
  }
}

HDX_MATH float squared_length(const float* p, int64_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += p[i] * p[i];
  return sum;
}

HDX_MATH void learn(const Bank& bank, const Episode& e, bool cosine, Scratch& s) {
  const int64_t n = s.padded;
  std::fill(s.points.begin(), s.points.end(), 0.0f);
  std::fill(s.centre.begin(), s.centre.end(), 0.0f);
  std::fill(s.count.begin(), s.count.end(), 0.0f);
  for (int64_t k = 0; k < e.n_support; ++k) {
    const float* x = bank.rows + e.support[k] * bank.stride;
    const float* later = bank.rows + e.after(k) * bank.stride;
    float* p = s.points.data() + e.labels[k] * n;
    s.count[e.labels[k]] += 1;
    for (int64_t i = 0; i < bank.d; i += LANES) __builtin_prefetch(later + i, 0, 2);
#pragma omp simd
    for (int64_t i = 0; i < bank.d; ++i) p[i] += x[i];
  }
  int64_t present = 0;
  for (int64_t w = 0; w < e.ways; ++w) {
    float* p = s.points.data() + w * n;
    float scale = 1 / std::max(s.count[w], 1.0f);
    if (cosine) {
      const float length = std::sqrt(squared_length(p, n));
      scale = length > 0 ? 1 / length : 0;
    }
    present += s.count[w] > 0;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) {
      p[i] *= scale;
      s.centre[i] += p[i];
    }
  }
  const float share = cosine ? 0 : 1 / static_cast<float>(std::max<int64_t>(present, 1));
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) s.centre[i] *= share;
  for (int64_t w = 0; w < e.ways; ++w) {
    float* p = s.points.data() + w * n;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) p[i] -= s.centre[i];
    s.half[w] = cosine ? 0 : squared_length(p, n) / 2;
  }
}

HDX_CLONES void judge(const Bank& bank, const Episode& e, bool cosine, Scratch& s, int64_t* out) {
  learn(bank, e, cosine, s);
  for (int64_t k = 0; k < e.n_query; ++k) {
    const float* x = bank.rows + e.query[k] * bank.stride;
    const float* later = bank.rows + e.after(e.n_support + k) * bank.stride;
    for (int64_t i = 0; i < bank.d; i += LANES) __builtin_prefetch(later + i, 0, 2);
    float best = -std::numeric_limits<float>::infinity();
    int64_t found = 0;
    for (int64_t w = 0; w < e.ways;) {
      float scores[5];
      const int64_t n = std::min<int64_t>(5, e.ways - w);
      switch (n) {
        case 5: score<5>(x, bank.d, s, w, scores); break;
        case 4: score<4>(x, bank.d, s, w, scores); break;
        case 3: score<3>(x, bank.d, s, w, scores); break;
        case 2: score<2>(x, bank.d, s, w, scores); break;
        default: score<1>(x, bank.d, s, w, scores);
      }
      for (int64_t i = 0; i < n; ++i, ++w) {
        if (scores[i] > best) {
          best = scores[i];
          found = w;
        }
      }
    }
    out[k] = found;
  }
}

void check_range(const Tensor& values, int64_t end, const char* name) {
  const int64_t* value = values.const_data_ptr<int64_t>();
  int64_t least = 0, most = -1;
#pragma omp simd reduction(min : least) reduction(max : most)
  for (int64_t i = 0; i < values.numel(); ++i) {
    least = std::min(least, value[i]);
    most = std::max(most, value[i]);
  }
  STD_TORCH_CHECK(least >= 0 && most < end, "Expected ", name, " in [0, ", end, "), got ", least < 0 ? least : most);
}

// bank [N, D] with unit column stride; support, labels [E, S], query [E, Q] contiguous. Returns [E, Q] int64.
Tensor episode_ncm(const Tensor& bank, const Tensor& support, const Tensor& labels, const Tensor& query, int64_t ways, bool cosine) {
  const int64_t n_episodes = query.size(0), n_support = support.size(1), n_query = query.size(1);
  check_range(support, bank.size(0), "support rows");
  check_range(query, bank.size(0), "query rows");
  check_range(labels, ways, "labels");
  Tensor out = torch::stable::empty_like(query);
  const Bank rows{bank.const_data_ptr<float>(), bank.stride(0), bank.size(1)};
  const int64_t *s = support.const_data_ptr<int64_t>(), *y = labels.const_data_ptr<int64_t>();
  const int64_t* q = query.const_data_ptr<int64_t>();
  int64_t* found = out.mutable_data_ptr<int64_t>();
  torch::stable::parallel_for(0, n_episodes, 4, [&](int64_t begin, int64_t end) {
    Scratch scratch(rows.d, ways);
    for (int64_t e = begin; e < end; ++e) {
      const Episode episode{s + e * n_support, y + e * n_support, q + e * n_query, n_support, n_query, ways, e + 1 == n_episodes};
      judge(rows, episode, cosine, scratch, found + e * n_query);
    }
  });
  return out;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(hdx, CPU, m) { m.impl("episode_ncm", TORCH_BOX(&episode_ncm)); }
