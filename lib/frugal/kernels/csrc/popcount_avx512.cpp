// AVX-512 with VPOPCNTDQ (Ice Lake 2019, Zen 4 2022): one instruction counts the ones of 8 words.
//
//   vpopcntq     lane 0           lane 1           ...  lane 7
//     a          one word of a row, broadcast by the xor itself
//     panel      output 0         output 1              output 7
//   acc (u64)    += ones(a^p)     += ones(a^p)          += ones(a^p)
//
// A block is 8 rows x 1 panel: a word of the panel is loaded once for 8 rows, and 8 chains of sums hide the delay.

#include <immintrin.h>

#include "popcount.h"

namespace frugal {
namespace {

constexpr int kRows = 8;

template <int kM>
void count_rows(const BitBlock& block) {
  __m512i acc[kM];
  for (int i = 0; i < kM; ++i) acc[i] = _mm512_setzero_si512();
  for (int w = 0; w < block.words; ++w) {
    const __m512i panel = _mm512_loadu_si512(block.panel + w * kBitPanel);
    for (int i = 0; i < kM; ++i) {
      const __m512i a = _mm512_set1_epi64(static_cast<long long>(block.a[i * block.stride + w]));
      acc[i] = _mm512_add_epi64(acc[i], _mm512_popcnt_epi64(_mm512_xor_si512(a, panel)));
    }
  }
  for (int i = 0; i < kM; ++i) _mm512_storeu_si512(block.counts + i * kBitPanel, acc[i]);
}

void count(const BitBlock& block) {
  switch (block.rows) {
    case 8: return count_rows<8>(block);
    case 7: return count_rows<7>(block);
    case 6: return count_rows<6>(block);
    case 5: return count_rows<5>(block);
    case 4: return count_rows<4>(block);
    case 3: return count_rows<3>(block);
    case 2: return count_rows<2>(block);
    default: return count_rows<1>(block);
  }
}

// A comparison of 16 floats leaves 16 bits in a mask register: four of them are a word.
bool pack(const float* x, uint64_t* bits, int k) {
  const __m512 zero = _mm512_setzero_ps();
  unsigned nan = 0;
  int first = 0;
  for (; first + kWord <= k; first += kWord) {
    uint64_t word = 0;
    for (int part = 0; part < 4; ++part) {
      const __m512 v = _mm512_loadu_ps(x + first + 16 * part);
      word |= uint64_t{_mm512_cmp_ps_mask(v, zero, _CMP_GE_OQ)} << (16 * part);
      nan |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    }
    bits[first / kWord] = word;
  }
  const bool rest = first == k || pack_signs(x + first, bits + first / kWord, k - first);
  return rest && nan == 0;
}

}  // namespace

const BitKernel kBitsAvx512 = {"avx512_vpopcntdq", kRows, count, pack};

}  // namespace frugal
