// AVX-VNNI (Alder Lake 2021): vpdpbusd for processors without AVX-512, 32 products and 8 sums in one instruction.
//
//   vpdpbusd   lane 0                   ...  lane 7
//     a (u8)   a0 a1 a2 a3                   a0 a1 a2 a3        four values of one row, broadcast
//     w (s8)   c0: k0 k1 k2 k3               c7: k0..k3         half a quad row of a panel
//   acc (s32)  += a0k0+a1k1+a2k2+a3k3        += ...
//
// A block is 6 rows x 1 panel: 12 sums, 2 weights and the activation fill 15 of the 16 registers.

#include <string.h>

#include "epilogue_avx2.h"

namespace frugal {
namespace {

constexpr int kRows = 6, kHalves = 2;

template <int kM, bool kFlip>
void run_rows(const Block& block) {
  __m256i acc[kM][kHalves];
  for (int half = 0; half < kHalves; ++half) {
    const __m256i bias = bias_of(block, 8 * half);
    for (int i = 0; i < kM; ++i) acc[i][half] = bias;
  }
  const __m256i top_bit = _mm256_set1_epi8(static_cast<char>(0x80));
  const int8_t* tap_weights = block.weights;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + block.tap[t];
    const int8_t* w = tap_weights;
    for (int k = 0; k < block.depth; k += kQuad, a += kQuad, w += kQuad * kPanel) {
      const __m256i low = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
      const __m256i high = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32));
      for (int i = 0; i < kM; ++i) {
        int32_t four;
        memcpy(&four, a + i * block.row_stride, sizeof four);
        __m256i quad = _mm256_set1_epi32(four);
        if (kFlip) quad = _mm256_xor_si256(quad, top_bit);
        acc[i][0] = _mm256_dpbusd_avx_epi32(acc[i][0], quad, low);
        acc[i][1] = _mm256_dpbusd_avx_epi32(acc[i][1], quad, high);
      }
    }
  }
  alignas(32) int32_t sums[kM * kPanel];
  for (int i = 0; i < kM; ++i) {
    for (int half = 0; half < kHalves; ++half) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(sums + i * kPanel + 8 * half), acc[i][half]);
    }
  }
  epilogue_avx2(sums, kPanel, block);
}

template <bool kFlip>
void run_block(const Block& block) {
  switch (block.m) {
    case 6: return run_rows<6, kFlip>(block);
    case 5: return run_rows<5, kFlip>(block);
    case 4: return run_rows<4, kFlip>(block);
    case 3: return run_rows<3, kFlip>(block);
    case 2: return run_rows<2, kFlip>(block);
    default: return run_rows<1, kFlip>(block);
  }
}

void run(const Block& block) {
  by_columns(block, kPanel, block.a_signed ? run_block<true> : run_block<false>);
  _mm256_zeroupper();  // the caller is compiled without AVX
}

}  // namespace

const Kernel kGemmAvxVnni = {"avx_vnni", kRows, kPanel, false, true, kQuad, run};

}  // namespace frugal
