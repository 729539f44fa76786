// Sparse products for NEON (every arm64): four floats in a register, 32 registers.

#include <arm_neon.h>

#include "sparse_loop.h"

namespace frugal {
namespace {

struct Lanes {
  using Register = float32x4_t;
  static constexpr int kLanes = 4;
  static constexpr bool kManyRegisters = true;

  static Register zero() { return vdupq_n_f32(0); }
  static Register all(float value) { return vdupq_n_f32(value); }
  static Register load(const float* x) { return vld1q_f32(x); }
  static void store(float* y, Register a) { vst1q_f32(y, a); }
  static Register add(Register a, Register b) { return vaddq_f32(a, b); }
  static Register fma(Register a, Register b, Register sum) { return vfmaq_f32(sum, a, b); }

  static void transpose(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch) {
    const float32x4x2_t low = vtrnq_f32(vld1q_f32(from), vld1q_f32(from + pitch));  // a0 b0 a2 b2, a1 b1 a3 b3
    const float32x4x2_t high = vtrnq_f32(vld1q_f32(from + 2 * pitch), vld1q_f32(from + 3 * pitch));
    vst1q_f32(to, vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0])));
    vst1q_f32(to + to_pitch, vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1])));
    vst1q_f32(to + 2 * to_pitch, vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0])));
    vst1q_f32(to + 3 * to_pitch, vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1])));
  }
  static float dot(const float* values, const int16_t* columns, int count, const float* x) {
    return dot_plain(values, columns, count, x);
  }
  static float dot_two_four(const float* values, const uint32_t* places, int words, const float* x) {
    return dot_two_four_plain(values, places, words, x);
  }
  static void done() {}
};

}  // namespace

const SparseKernel kSparseNeon = {"neon", Lanes::kLanes, pack<Lanes>, multiply_strip<Lanes>, multiply_row<Lanes>};

}  // namespace frugal
