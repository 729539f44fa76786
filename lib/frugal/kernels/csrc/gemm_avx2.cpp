// AVX2 (Haswell 2013, Zen 2017): no instruction sums four products of bytes without loss.
//
//   vpmaddubsw   u8 x s8 -> int16   a0*w0 + a1*w1 saturates: 255 * 127 + 255 * 127 = 64,770, but int16 ends at 32,767.
//                                   A library that uses it returns wrong sums unless weights stay within 7 bits.
//   vpmaddwd     s16 x s16 -> int32 a0*w0 + a1*w1 is exact: that is what this file uses, on bytes widened to 16 bits.
//
//     a (s16)   a0 a1 a2 a3   a0 a1 a2 a3   a0 a1 a2 a3   a0 a1 a2 a3     one quad of a row, broadcast
//     w (s16)   c0: k0 .. k3  c1: k0 .. k3  c2: k0 .. k3  c3: k0 .. k3    16 bytes of a quad row, widened
//   acc (s32)   01   23       01   23       01   23       01   23         two half sums per channel
//
// 3 rows x 1 panel at once; a block is 8 such strips, one below the other. Weights are widened on every load, the
// activations of a block once (copy_rows), strip by strip:
//
//   strip 0: quad 0 of rows 0, 1, 2; quad 1 of rows 0, 1, 2; ...     strip 1: quad 0 of rows 3, 4, 5; ...

#include "epilogue_avx2.h"

namespace frugal {
namespace {

constexpr int kRows = 3, kStrips = 8, kParts = 4;  // a panel is four registers of four channels

inline int quads_of(const Block& block) { return (block.depth + kQuad - 1) / kQuad; }

// One tap of one row, quads kRows apart. 16 bytes become four quads; what is left goes one by one.
inline void widen_row(const uint8_t* a, int depth, bool is_signed, int16_t* to) {
  constexpr int kApart = kRows * kQuad;
  int k = 0;
  for (; k + 16 <= depth; k += 16, to += 4 * kApart) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(a + k));
    const __m256i words = is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
    const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), low);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + kApart), _mm_unpackhi_epi64(low, low));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 2 * kApart), high);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 3 * kApart), _mm_unpackhi_epi64(high, high));
  }
  for (; k < depth; k += kQuad, to += kApart) {
    for (int i = 0; i < kQuad; ++i) {
      const uint8_t byte = k + i < depth ? a[k + i] : uint8_t{0};
      to[i] = is_signed ? static_cast<int8_t>(byte) : byte;
    }
  }
}

void copy_rows(const Block& block, void* out) {
  int16_t* to = static_cast<int16_t*>(out);
  const ptrdiff_t tap_size = ptrdiff_t{quads_of(block)} * kRows * kQuad;
  for (int row = 0; row < block.m; row += kRows, to += block.taps * tap_size) {
    for (int t = 0; t < block.taps; ++t) {
      for (int i = 0; i < kRows && row + i < block.m; ++i) {
        const uint8_t* a = block.a + block.tap[t] + (row + i) * block.row_stride;
        widen_row(a, block.depth, block.a_signed, to + t * tap_size + i * kQuad);
      }
    }
  }
  _mm256_zeroupper();
}

// The sums of kM rows, whose quads lie at a, in the panel from column n on, bias included.
template <int kM>
void sums(const Block& block, const int64_t* a, int n, const int32_t* bias, int32_t* out) {
  __m256i acc[kM][kParts];
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kParts; ++j) acc[i][j] = _mm256_setzero_si256();
  }
  const int depth = block.depth;
  const int8_t* tap_weights = block.weights + n / kPanel * block.panel_stride;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(depth, kDepth)} * kPanel) {
    const int8_t* w = tap_weights;
    for (int k = 0; k < depth; k += kQuad, a += kRows, w += kQuad * kPanel) {
      __m256i quad[kM];
#pragma GCC unroll 3
      for (int i = 0; i < kM; ++i) quad[i] = _mm256_set1_epi64x(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < kParts; ++j) {
        const __m256i weights = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * j)));
#pragma GCC unroll 3
        for (int i = 0; i < kM; ++i) acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(quad[i], weights));
      }
    }
  }
#pragma GCC unroll 3
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {  // hadd joins half sums and mixes the lanes; the permutation undoes that
      const __m256i joined = _mm256_hadd_epi32(acc[i][2 * half], acc[i][2 * half + 1]);
      const __m256i start = _mm256_load_si256(reinterpret_cast<const __m256i*>(bias + 8 * half));
      const __m256i sum = _mm256_add_epi32(_mm256_permute4x64_epi64(joined, 0xd8), start);
      _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * kPanel + 8 * half), sum);
    }
  }
}

void run(const Block& block) {
  alignas(32) int32_t acc[kRows * kPanel], bias[kPanel];
  const ptrdiff_t strip_size = ptrdiff_t{block.taps} * quads_of(block) * kRows;
  for (int n = 0; n < block.n; n += kPanel) {
    load_bias(block, n, bias);
    const int64_t* a = reinterpret_cast<const int64_t*>(block.a);  // a quad of int16
    for (int row = 0; row < block.m; row += kRows, a += strip_size) {
      const int m = block.m - row < kRows ? block.m - row : kRows;
      const auto strip = m == 3 ? sums<3> : m == 2 ? sums<2> : sums<1>;
      strip(block, a, n, bias, acc);
      epilogue_avx2(acc, {block, row, m, n});
    }
  }
  _mm256_zeroupper();  // the caller is compiled without AVX
}

}  // namespace

const Kernel kGemmAvx2 = {"avx2", kRows * kStrips, kPanel, true, true, 1, run, copy_rows, sizeof(int16_t)};

}  // namespace frugal
