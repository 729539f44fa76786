// Sparse products for AVX-512 (Skylake-X 2017, Zen 4 2022): sixteen floats in a register, 32 registers.
//
//   2:4, one row of x:   32 columns in two registers, 16 kept values, 32 bits of places
//
//     shift     a lane takes its 2 bits of the word
//     permute   vpermt2ps: each lane picks any of the 32 columns, here one of its group's 4

#include <immintrin.h>

#include "sparse_loop.h"

namespace frugal {
namespace {

struct Lanes {
  using Register = __m512;
  static constexpr int kLanes = 16;
  static constexpr bool kManyRegisters = true;

  static Register zero() { return _mm512_setzero_ps(); }
  static Register all(float value) { return _mm512_set1_ps(value); }
  static Register load(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* y, Register a) { _mm512_storeu_ps(y, a); }
  static Register add(Register a, Register b) { return _mm512_add_ps(a, b); }
  static Register fma(Register a, Register b, Register sum) { return _mm512_fmadd_ps(a, b, sum); }

  // Pairs, then fours inside the quarters of a register; then quarters change places.
  static void transpose(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch) {
    __m512 a[16], b[16];
    for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_ps(from + i * pitch);
    for (int i = 0; i < 16; i += 2) {
      b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
      a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
      a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
      a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int j = 0; j < 4; ++j) {  // quarter q of a[4 i + j] holds rows 4 i to 4 i + 3 of column 4 q + j
      const __m512 even_low = _mm512_shuffle_f32x4(a[j], a[4 + j], 0x88);
      const __m512 even_high = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0x88);
      const __m512 odd_low = _mm512_shuffle_f32x4(a[j], a[4 + j], 0xdd);
      const __m512 odd_high = _mm512_shuffle_f32x4(a[8 + j], a[12 + j], 0xdd);
      _mm512_storeu_ps(to + j * to_pitch, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
      _mm512_storeu_ps(to + (4 + j) * to_pitch, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
      _mm512_storeu_ps(to + (8 + j) * to_pitch, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
      _mm512_storeu_ps(to + (12 + j) * to_pitch, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
  }

  static float dot(const float* values, const int16_t* columns, int count, const float* x) {
    __m512 acc[2] = {zero(), zero()};
    int i = 0;
    for (; i + 16 <= count; i += 16) {
      const __m512i at = _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns + i)));
      __m512& sum = acc[i / 16 % 2];
      sum = _mm512_fmadd_ps(load(values + i), _mm512_i32gather_ps(at, x, 4), sum);
    }
    if (i < count) {  // dead lanes load nothing
      const __mmask16 live = static_cast<__mmask16>((1u << (count - i)) - 1);
      const __m512i at = _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(live, columns + i));
      const __m512 inputs = _mm512_mask_i32gather_ps(zero(), live, at, x, 4);
      acc[0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(live, values + i), inputs, acc[0]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(acc[0], acc[1]));
  }

  static float dot_two_four(const float* values, const uint32_t* places, int words, const float* x) {
    const __m512i shifts = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i groups = _mm512_setr_epi32(0, 0, 4, 4, 8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 28, 28);
    const __m512i three = _mm512_set1_epi32(3);
    __m512 acc[2] = {zero(), zero()};
    for (int word = 0; word < words; ++word, x += 32, values += 16) {
      const __m512i bits = _mm512_set1_epi32(static_cast<int>(places[word]));
      const __m512i at = _mm512_or_si512(_mm512_and_si512(_mm512_srlv_epi32(bits, shifts), three), groups);
      const __m512 inputs = _mm512_permutex2var_ps(load(x), at, load(x + 16));
      acc[word % 2] = _mm512_fmadd_ps(load(values), inputs, acc[word % 2]);
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(acc[0], acc[1]));
  }

  static void done() { _mm256_zeroupper(); }  // the caller is compiled without AVX
};

}  // namespace

const SparseKernel kSparseAvx512 = {"avx512", Lanes::kLanes, pack<Lanes>, multiply_strip<Lanes>, multiply_row<Lanes>};

}  // namespace frugal
