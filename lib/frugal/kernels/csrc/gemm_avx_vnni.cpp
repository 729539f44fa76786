// AVX-VNNI (Alder Lake 2021): vpdpbusd for processors without AVX-512, 32 products and 8 sums in one instruction.
//
//   vpdpbusd   lane 0                   ...  lane 7
//     a (u8)   a0 a1 a2 a3                   a0 a1 a2 a3        four values of one row, broadcast
//     w (s8)   c0: k0 k1 k2 k3               c7: k0..k3         half a quad row of a panel
//   acc (s32)  += a0k0+a1k1+a2k2+a3k3        += ...
//
// 6 rows x 1 panel at once: 12 sums, 2 weights and the activation fill 15 of the 16 registers. A block is 8 such
// strips, one below the other: the weights of a panel, read for the first, are near for the other seven.

#include <string.h>

#include "epilogue_avx2.h"

namespace frugal {
namespace {

constexpr int kRows = 6, kHalves = 2, kStrips = 8;

inline __m256i broadcast_quad(const uint8_t* a) {
  int32_t quad;
  memcpy(&quad, a, sizeof quad);
  return _mm256_set1_epi32(quad);
}

// The sums of kM rows of a block from `row` on, in the panel from column n on; they start as its bias.
template <int kM, bool kFlip>
void sums(const Block& block, int row, int n, const int32_t* bias, int32_t* out) {
  __m256i acc[kM][kHalves];
#pragma GCC unroll 6
  for (int i = 0; i < kM; ++i) {
    acc[i][0] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bias));
    acc[i][1] = _mm256_load_si256(reinterpret_cast<const __m256i*>(bias + 8));
  }
  const __m256i top_bit = _mm256_set1_epi8(static_cast<char>(0x80));
  const ptrdiff_t stride = block.row_stride;
  const int depth = block.depth;
  const int8_t* tap_weights = block.weights + n / kPanel * block.panel_stride;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + row * stride + block.tap[t];
    const uint8_t* a3 = a + 3 * stride;  // two pointers reach six rows with one multiplied index
    const int8_t* w = tap_weights;
    for (int k = 0; k < depth; k += kQuad, a += kQuad, a3 += kQuad, w += kQuad * kPanel) {
      const __m256i low = _mm256_load_si256(reinterpret_cast<const __m256i*>(w));
      const __m256i high = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32));
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        __m256i quad = broadcast_quad(i < 3 ? a + i * stride : a3 + (i - 3) * stride);
        if (kFlip) quad = _mm256_xor_si256(quad, top_bit);
        acc[i][0] = _mm256_dpbusd_avx_epi32(acc[i][0], quad, low);
        acc[i][1] = _mm256_dpbusd_avx_epi32(acc[i][1], quad, high);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kM; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * kPanel), acc[i][0]);
    _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * kPanel + 8), acc[i][1]);
  }
}

using Sums = void (*)(const Block& block, int row, int n, const int32_t* bias, int32_t* out);

template <bool kFlip>
constexpr Sums kSums[kRows] = {sums<1, kFlip>, sums<2, kFlip>, sums<3, kFlip>,
                               sums<4, kFlip>, sums<5, kFlip>, sums<6, kFlip>};

void run(const Block& block) {
  alignas(32) int32_t acc[kRows * kPanel], bias[kPanel];
  const Sums* sums = block.a_signed ? kSums<true> : kSums<false>;
  for (int n = 0; n < block.n; n += kPanel) {
    load_bias(block, n, bias);
    for (int row = 0; row < block.m; row += kRows) {
      const int m = block.m - row < kRows ? block.m - row : kRows;
      sums[m - 1](block, row, n, bias, acc);
      epilogue_avx2(acc, {block, row, m, n});
    }
  }
  _mm256_zeroupper();  // the caller is compiled without AVX
}

}  // namespace

const Kernel kGemmAvxVnni = {"avx_vnni", kRows * kStrips, kPanel, false, true, kQuad, run};

}  // namespace frugal
