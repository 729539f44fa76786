// NEON dot product (Cortex-A76 2018, Apple M1 2020): SDOT does 16 products and 4 sums.
//
//   sdot       lane 0                   lane 1    lane 2    lane 3
//     w (s8)   c0: k0 k1 k2 k3          c1        c2        c3             a quarter of a quad row
//     a (s8)   a0 a1 a2 a3 of one row, picked out of a register by lane: no broadcast needed
//   acc (s32)  += a0k0+a1k1+a2k2+a3k3   ...
//
// Both operands are signed: unsigned activations get their top bit flipped, a ^ 0x80 = a - 128. A block is 4 rows x
// 1 panel: 16 sums, 4 weights, 4 activations of the 32 registers.

#include <arm_neon.h>

#include <string.h>

#include "epilogue_scalar.h"

namespace frugal {
namespace {

constexpr int kRows = 4, kParts = 4;

inline int8x16_t broadcast_quad(const uint8_t* a) {
  int32_t four;
  memcpy(&four, a, sizeof four);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

template <int kM, bool kFlip>
void run_rows(const Block& block) {
  int32x4_t acc[kM][kParts];
  for (int j = 0; j < kParts; ++j) {
    int32_t bias[4] = {};
    for (int n = 0; block.epilogue.bias && n < 4 && 4 * j + n < block.n; ++n) bias[n] = block.epilogue.bias[4 * j + n];
    for (int i = 0; i < kM; ++i) acc[i][j] = vld1q_s32(bias);
  }
  const int8x16_t top_bit = vdupq_n_s8(static_cast<int8_t>(-128));
  const int8_t* tap_weights = block.weights;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + block.tap[t];
    const int8_t* w = tap_weights;
    for (int k = 0; k < block.depth; k += kQuad, a += kQuad, w += kQuad * kPanel) {
      int8x16_t weights[kParts];
      for (int j = 0; j < kParts; ++j) weights[j] = vld1q_s8(w + 16 * j);
      for (int i = 0; i < kM; ++i) {
        int8x16_t quad = broadcast_quad(a + i * block.row_stride);
        if (kFlip) quad = veorq_s8(quad, top_bit);
        for (int j = 0; j < kParts; ++j) acc[i][j] = vdotq_s32(acc[i][j], weights[j], quad);
      }
    }
  }
  int32_t sums[kM * kPanel];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) vst1q_s32(sums + i * kPanel + 4 * j, acc[i][j]);
  }
  epilogue_scalar(sums, kPanel, block);
}

template <bool kFlip>
void run_block(const Block& block) {
  switch (block.m) {
    case 4: return run_rows<4, kFlip>(block);
    case 3: return run_rows<3, kFlip>(block);
    case 2: return run_rows<2, kFlip>(block);
    default: return run_rows<1, kFlip>(block);
  }
}

void run(const Block& block) { by_columns(block, kPanel, block.a_signed ? run_block<false> : run_block<true>); }

}  // namespace

const Kernel kGemmDotprod = {"dotprod", kRows, kPanel, true, false, kQuad, run};

}  // namespace frugal
