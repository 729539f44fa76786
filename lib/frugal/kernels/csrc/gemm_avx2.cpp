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
// The activations of a block are widened once (copy_rows), the weights on every load. A block is 3 rows x 1 panel.

#include "epilogue_avx2.h"

namespace frugal {
namespace {

constexpr int kRows = 3, kParts = 4;  // a panel is four registers of four channels

void copy_rows(const Block& block, void* out) {
  const int quads = (block.depth + kQuad - 1) / kQuad;
  int16_t* to = static_cast<int16_t*>(out);
  for (int t = 0; t < block.taps; ++t, to += ptrdiff_t{quads} * kRows * kQuad) {
    for (int i = 0; i < kRows; ++i) {
      const uint8_t* a = block.a + block.tap[t] + (i < block.m ? i : 0) * block.row_stride;
      for (int k = 0; k < quads * kQuad; ++k) {
        const uint8_t byte = k < block.depth ? a[k] : uint8_t{0};
        to[(k / kQuad * kRows + i) * kQuad + k % kQuad] = block.a_signed ? static_cast<int8_t>(byte) : byte;
      }
    }
  }
}

template <int kM>
void run_rows(const Block& block) {
  __m256i acc[kM][kParts];
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kParts; ++j) acc[i][j] = _mm256_setzero_si256();
  }
  const int64_t* a = reinterpret_cast<const int64_t*>(block.a);  // a quad of int16
  const int8_t* tap_weights = block.weights;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    const int8_t* w = tap_weights;
    for (int k = 0; k < block.depth; k += kQuad, a += kRows, w += kQuad * kPanel) {
      __m256i quad[kM];
      for (int i = 0; i < kM; ++i) quad[i] = _mm256_set1_epi64x(a[i]);
      for (int j = 0; j < kParts; ++j) {
        const __m256i weights = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16 * j)));
        for (int i = 0; i < kM; ++i) acc[i][j] = _mm256_add_epi32(acc[i][j], _mm256_madd_epi16(quad[i], weights));
      }
    }
  }
  alignas(32) int32_t sums[kM * kPanel];
  for (int i = 0; i < kM; ++i) {
    for (int half = 0; half < 2; ++half) {  // hadd joins half sums and mixes the lanes; the permutation undoes that
      const __m256i joined = _mm256_hadd_epi32(acc[i][2 * half], acc[i][2 * half + 1]);
      const __m256i sum = _mm256_add_epi32(_mm256_permute4x64_epi64(joined, 0xd8), bias_of(block, 8 * half));
      _mm256_store_si256(reinterpret_cast<__m256i*>(sums + i * kPanel + 8 * half), sum);
    }
  }
  epilogue_avx2(sums, kPanel, block);
}

void run_block(const Block& block) {
  switch (block.m) {
    case 3: run_rows<3>(block); break;
    case 2: run_rows<2>(block); break;
    default: run_rows<1>(block);
  }
}

void run(const Block& block) {
  by_columns(block, kPanel, run_block);
  _mm256_zeroupper();  // the caller is compiled without AVX
}

}  // namespace

const Kernel kGemmAvx2 = {"avx2", kRows, kPanel, true, true, 1, run, copy_rows, sizeof(int16_t)};

}  // namespace frugal
