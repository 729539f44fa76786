// Sparse products for AVX2 with FMA (Haswell 2013, Zen 2017): eight floats in a register, 16 registers.
//
//   2:4, one row of x:   16 columns in two registers, 8 kept values, 16 bits of places
//
//     value     0 1 2 3   4 5 6 7      values 0 to 3 stand in columns 0 to 7, values 4 to 7 in columns 8 to 15
//     column    0..7      8..15        a permutation of each half, and a blend

#include <immintrin.h>

#include "sparse_loop.h"

namespace frugal {
namespace {

inline float sum_of(__m256 a) {
  __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
  return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

struct Lanes {
  using Register = __m256;
  static constexpr int kLanes = 8;
  static constexpr bool kManyRegisters = false;

  static Register zero() { return _mm256_setzero_ps(); }
  static Register all(float value) { return _mm256_set1_ps(value); }
  static Register load(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* y, Register a) { _mm256_storeu_ps(y, a); }
  static Register add(Register a, Register b) { return _mm256_add_ps(a, b); }
  static Register fma(Register a, Register b, Register sum) { return _mm256_fmadd_ps(a, b, sum); }

  // Pairs, then fours, then halves change places.
  static void transpose(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch) {
    __m256 a[8], b[8];
    for (int i = 0; i < 8; ++i) a[i] = _mm256_loadu_ps(from + i * pitch);
    for (int i = 0; i < 8; i += 2) {
      b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
      b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
      a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
      a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
      a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(to + i * to_pitch, _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
      _mm256_storeu_ps(to + (i + 4) * to_pitch, _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
  }

  static float dot(const float* values, const int16_t* columns, int count, const float* x) {
    __m256 acc[2] = {zero(), zero()};
    int i = 0;
    for (; i + 8 <= count; i += 8) {
      const __m256i at = _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(columns + i)));
      __m256& sum = acc[i / 8 % 2];
      sum = _mm256_fmadd_ps(load(values + i), _mm256_i32gather_ps(x, at, 4), sum);
    }
    return sum_of(_mm256_add_ps(acc[0], acc[1])) + dot_plain(values + i, columns + i, count - i, x);
  }

  static float dot_two_four(const float* values, const uint32_t* places, int words, const float* x) {
    const __m256i shifts = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), three = _mm256_set1_epi32(3);
    const __m256i groups = _mm256_setr_epi32(0, 0, 4, 4, 0, 0, 4, 4);
    __m256 acc[2] = {zero(), zero()};
    for (int half = 0; half < 2 * words; ++half, x += 16, values += 8) {
      const int bits = static_cast<int>(places[half / 2] >> 16 * (half % 2));
      const __m256i place = _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(bits), shifts), three);
      const __m256i at = _mm256_add_epi32(place, groups);
      const __m256 low = _mm256_permutevar8x32_ps(load(x), at), high = _mm256_permutevar8x32_ps(load(x + 8), at);
      acc[half % 2] = _mm256_fmadd_ps(load(values), _mm256_blend_ps(low, high, 0xf0), acc[half % 2]);
    }
    return sum_of(_mm256_add_ps(acc[0], acc[1]));
  }

  static void done() { _mm256_zeroupper(); }  // the caller is compiled without AVX
};

}  // namespace

const SparseKernel kSparseAvx2 = {"avx2", Lanes::kLanes, pack<Lanes>, multiply_strip<Lanes>, multiply_row<Lanes>};

}  // namespace frugal
