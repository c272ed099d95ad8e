// rkd_triplet: what one triplet adds to the loss and to the slopes, from squared distances N and their inverse roots u = 1 / n.
#pragma once

#include "math.h"

namespace hdx {

// 1 / n of a squared distance, 0 where there is none: such a pair has no direction.
HDX_MATH float rkd_inverse(float squared) { return squared > 0.0f ? 1.0f / sqrtf(squared) : 0.0f; }
HDX_MATH double rkd_inverse(double squared) { return squared > 0.0 ? 1.0 / sqrt(squared) : 0.0; }

// The cosine at x_i between x_j and x_k, of N_ij, N_ik, N_jk and scale = u_ij u_ik.
template <typename T>
HDX_MATH T rkd_cosine(T ij, T ik, T jk, T scale) {
  return (ij + ik - jk) * scale * T(0.5);
}

// The distance that a cosine is from the one asked for (Huber, threshold 1).
template <typename T>
HDX_MATH T rkd_huber(T x) {
  const T size = x < 0 ? -x : x;
  return size <= 1 ? x * x * T(0.5) : size - T(0.5);
}

// Its derivative.
template <typename T>
HDX_MATH T rkd_pull(T x) {
  return x > 1 ? T(1) : (x < -1 ? T(-1) : x);
}

}  // namespace hdx
