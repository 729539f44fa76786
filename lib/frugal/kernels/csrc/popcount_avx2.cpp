// AVX2 (Haswell 2013, Zen 2017) counts no bits of its own: a table of 16 entries in a register does.
//
//   byte 1011 0010      low half 0010 -> table -> 1
//                       high half 1011 -> table -> 3      vpshufb looks up 32 halves at once
//                       sum of the byte                   4
//
// Sums of bytes fit a byte for 31 words (31 * 8 = 248); then vpsadbw adds the 8 bytes of each word into 64 bits.
// A block is 4 rows x 1 panel, a panel being two registers of 4 outputs.

#include <immintrin.h>

#include "popcount.h"

namespace frugal {
namespace {

constexpr int kRows = 4, kParts = 2, kLongest = 31;

inline __m256i ones_of_bytes(__m256i v, __m256i table, __m256i low_half) {
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, low_half));
  const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low_half));
  return _mm256_add_epi8(low, high);
}

template <int kM>
void count_rows(const BitBlock& block) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i low_half = _mm256_set1_epi8(0x0f), zero = _mm256_setzero_si256();
  __m256i sums[kM][kParts];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) sums[i][j] = zero;
  }
  for (int first = 0; first < block.words; first += kLongest) {
    const int last = block.words - first < kLongest ? block.words : first + kLongest;
    __m256i bytes[kM][kParts];
    for (int i = 0; i < kM; ++i) {
      for (int j = 0; j < kParts; ++j) bytes[i][j] = zero;
    }
    for (int w = first; w < last; ++w) {
      for (int j = 0; j < kParts; ++j) {
        const __m256i panel =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block.panel + w * kBitPanel + 4 * j));
        for (int i = 0; i < kM; ++i) {
          const __m256i a = _mm256_set1_epi64x(static_cast<long long>(block.a[i * block.stride + w]));
          const __m256i ones = ones_of_bytes(_mm256_xor_si256(a, panel), table, low_half);
          bytes[i][j] = _mm256_add_epi8(bytes[i][j], ones);
        }
      }
    }
    for (int i = 0; i < kM; ++i) {
      for (int j = 0; j < kParts; ++j) {
        sums[i][j] = _mm256_add_epi64(sums[i][j], _mm256_sad_epu8(bytes[i][j], zero));
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.counts + i * kBitPanel + 4 * j), sums[i][j]);
    }
  }
}

void count(const BitBlock& block) {
  switch (block.rows) {
    case 4: count_rows<4>(block); break;
    case 3: count_rows<3>(block); break;
    case 2: count_rows<2>(block); break;
    default: count_rows<1>(block);
  }
  _mm256_zeroupper();  // the caller is compiled without AVX
}

bool pack(const float* x, uint64_t* bits, int k) {
  const __m256 zero = _mm256_setzero_ps();
  int nan = 0, first = 0;
  for (; first + kWord <= k; first += kWord) {
    uint64_t word = 0;
    for (int part = 0; part < 8; ++part) {
      const __m256 v = _mm256_loadu_ps(x + first + 8 * part);
      word |= static_cast<uint64_t>(_mm256_movemask_ps(_mm256_cmp_ps(v, zero, _CMP_GE_OQ))) << (8 * part);
      nan |= _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    }
    bits[first / kWord] = word;
  }
  _mm256_zeroupper();
  const bool rest = first == k || pack_signs(x + first, bits + first / kWord, k - first);
  return rest && nan == 0;
}

}  // namespace

const BitKernel kBitsAvx2 = {"avx2", kRows, count, pack};

}  // namespace frugal
