// NEON i8mm (Neoverse V1 2020, Cortex-A710 2021, Apple M2 2022): SMMLA multiplies two small matrices, 32 products and
// their sums.
//
//   a: 2 rows x 8 values of k         w: 8 values of k x 2 channels        acc: 2 x 2, int32
//   r0: k0 .. k7                      c0: k0 .. k7                         r0c0  r0c1
//   r1: k0 .. k7                      c1: k0 .. k7                         r1c0  r1c1
//
// Two quad rows of a panel hold c0..c3 with k0..k3 and with k4..k7; zipping their words joins the eight of a channel.
// USMMLA is the same for unsigned activations, so nothing is flipped. A block is 4 rows x 1 panel: 16 sums, 8 weights
// and 2 activations of the 32 registers.

#include <arm_neon.h>

#include "epilogue_scalar.h"

namespace frugal {
namespace {

constexpr int kRows = 4, kPairs = kPanel / 2, kStep = 8;

template <bool kSigned>
inline int32x4_t multiply(int32x4_t acc, uint8x16_t a, int8x16_t w) {
  return kSigned ? vmmlaq_s32(acc, vreinterpretq_s8_u8(a), w) : vusmmlaq_s32(acc, a, w);
}

// Eight values of k for each of the sixteen channels, two channels in a register.
inline void load_weights(const int8_t* w, int8x16_t* pairs) {
  for (int j = 0; j < kPairs / 2; ++j) {
    const int32x4_t first = vreinterpretq_s32_s8(vld1q_s8(w + 16 * j));
    const int32x4_t second = vreinterpretq_s32_s8(vld1q_s8(w + kQuad * kPanel + 16 * j));
    pairs[2 * j] = vreinterpretq_s8_s32(vzip1q_s32(first, second));
    pairs[2 * j + 1] = vreinterpretq_s8_s32(vzip2q_s32(first, second));
  }
}

inline void store(const int32x4_t* acc, const Block& block, int32_t* sums) {
  for (int n = 0; n < kPanel; n += 2) {
    vst1_s32(sums + n, vget_low_s32(acc[n / 2]));
    vst1_s32(sums + kPanel + n, vget_high_s32(acc[n / 2]));
  }
  for (int n = 0; block.epilogue.bias && n < block.n; ++n) {
    sums[n] += block.epilogue.bias[n];
    sums[kPanel + n] += block.epilogue.bias[n];
  }
}

template <int kRowPairs, bool kSigned>
void run_rows(const Block& block) {
  int32x4_t acc[kRowPairs][kPairs];
  for (int i = 0; i < kRowPairs; ++i) {
    for (int j = 0; j < kPairs; ++j) acc[i][j] = vdupq_n_s32(0);
  }
  const int8_t* tap_weights = block.weights;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + block.tap[t];
    const int8_t* w = tap_weights;
    for (int k = 0; k < block.depth; k += kStep, a += kStep, w += kStep * kPanel) {
      int8x16_t weights[kPairs];
      load_weights(w, weights);
      for (int i = 0; i < kRowPairs; ++i) {
        const ptrdiff_t top = 2 * i, bottom = top + 1 < block.m ? top + 1 : top;  // a last row alone stands in twice
        const uint8_t* row = a + top * block.row_stride;
        const uint8x16_t rows = vcombine_u8(vld1_u8(row), vld1_u8(a + bottom * block.row_stride));
        for (int j = 0; j < kPairs; ++j) acc[i][j] = multiply<kSigned>(acc[i][j], rows, weights[j]);
      }
    }
  }
  int32_t sums[2 * kRowPairs * kPanel];
  for (int i = 0; i < kRowPairs; ++i) store(acc[i], block, sums + 2 * i * kPanel);
  epilogue_scalar(sums, kPanel, block);
}

void run_block(const Block& block) {
  if (block.m > 2) {
    block.a_signed ? run_rows<2, true>(block) : run_rows<2, false>(block);
  } else {
    block.a_signed ? run_rows<1, true>(block) : run_rows<1, false>(block);
  }
}

void run(const Block& block) { by_columns(block, kPanel, run_block); }

}  // namespace

const Kernel kGemmI8mm = {"i8mm", kRows, kPanel, true, true, kStep, run};

}  // namespace frugal
