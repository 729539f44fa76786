// NEON (every arm64): CNT counts the ones of 16 bytes, two at a time are added up in 16 bits, at last in 64.
//
// A byte count is at most 8, so a byte holds the sum of 31 words (31 * 8 = 248). A block is 2 rows x 1 panel, a panel
// being four registers of 2 outputs.

#include <arm_neon.h>

#include "popcount.h"

namespace frugal {
namespace {

constexpr int kRows = 2, kParts = 4, kLongest = 31;

template <int kM>
void count_rows(const BitBlock& block) {
  uint64x2_t sums[kM][kParts];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) sums[i][j] = vdupq_n_u64(0);
  }
  for (int first = 0; first < block.words; first += kLongest) {
    const int last = block.words - first < kLongest ? block.words : first + kLongest;
    uint8x16_t bytes[kM][kParts];
    for (int i = 0; i < kM; ++i) {
      for (int j = 0; j < kParts; ++j) bytes[i][j] = vdupq_n_u8(0);
    }
    for (int w = first; w < last; ++w) {
      for (int j = 0; j < kParts; ++j) {
        const uint64x2_t panel = vld1q_u64(block.panel + w * kBitPanel + 2 * j);
        for (int i = 0; i < kM; ++i) {
          const uint64x2_t differ = veorq_u64(vdupq_n_u64(block.a[i * block.stride + w]), panel);
          bytes[i][j] = vaddq_u8(bytes[i][j], vcntq_u8(vreinterpretq_u8_u64(differ)));
        }
      }
    }
    for (int i = 0; i < kM; ++i) {
      for (int j = 0; j < kParts; ++j) {
        sums[i][j] = vaddq_u64(sums[i][j], vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(bytes[i][j]))));
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) vst1q_u64(block.counts + i * kBitPanel + 2 * j, sums[i][j]);
  }
}

void count(const BitBlock& block) { block.rows == 2 ? count_rows<2>(block) : count_rows<1>(block); }

}  // namespace

const BitKernel kBitsNeon = {"neon", kRows, count, pack_signs};

}  // namespace frugal
