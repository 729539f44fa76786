// From sums to outputs, one panel of 16 at a time, in 256-bit registers.

#ifndef FRUGAL_EPILOGUE_AVX2_H
#define FRUGAL_EPILOGUE_AVX2_H

#include <immintrin.h>

#include "epilogue_scalar.h"

namespace frugal {
namespace {  // each file that includes this gets a copy of its own: their compiler flags differ

template <bool kSigned>
inline __m256 residual_of(const uint8_t* bytes, __m256i zero_point, __m256 scale) {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
  const __m256i code = kSigned ? _mm256_cvtepi8_epi32(eight) : _mm256_cvtepu8_epi32(eight);
  return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(code, zero_point)), scale);
}

template <bool kSigned, bool kResidual>
inline void write_panel(const int32_t* acc, int acc_stride, const Block& block) {
  const Epilogue& e = block.epilogue;
  const __m256 low = _mm256_set1_ps(static_cast<float>(e.low - e.zero_point));
  const __m256 high = _mm256_set1_ps(static_cast<float>(e.high - e.zero_point));
  const __m256i zero_point = _mm256_set1_epi16(static_cast<short>(e.zero_point));
  const __m256i residual_zero_point = _mm256_set1_epi32(e.residual_zero_point);
  const __m256 residual_scale = _mm256_set1_ps(e.residual_scale);
  uint8_t* y = static_cast<uint8_t*>(block.y);
  for (int i = 0; i < block.m; ++i) {
    const ptrdiff_t row = output_row(block, i);
    if (row < 0) continue;
    __m256i codes[2];
    for (int half = 0; half < 2; ++half) {
      const __m256i sums = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(acc + i * acc_stride + 8 * half));
      __m256 real = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(e.scale + 8 * half));
      if (kResidual) {
        const uint8_t* residual = e.residual + row * e.residual_stride + 8 * half;
        real = _mm256_add_ps(real, residual_of<kSigned>(residual, residual_zero_point, residual_scale));
      }
      codes[half] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(real, low), high));  // halves to even
    }
    // The packs work within 128-bit lanes; one permutation of 64-bit words puts the 16 values in order.
    const __m256i words = _mm256_add_epi16(_mm256_packs_epi32(codes[0], codes[1]), zero_point);
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    const __m128i lower = _mm256_castsi256_si128(ordered), upper = _mm256_extracti128_si256(ordered, 1);
    const __m128i bytes = kSigned ? _mm_packs_epi16(lower, upper) : _mm_packus_epi16(lower, upper);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + row * block.y_stride), bytes);
  }
}

// acc: the sums of at most 16 columns, bias included. Narrow blocks and rare outputs take the scalar definition.
inline void epilogue_avx2(const int32_t* acc, int acc_stride, const Block& block) {
  const Epilogue& e = block.epilogue;
  const bool codes = e.output == Output::kU8 || e.output == Output::kS8;
  if (block.n < kPanel || !codes || e.multiplier) return epilogue_scalar(acc, acc_stride, block);
  const bool is_signed = e.output == Output::kS8;
  if (e.residual) {
    is_signed ? write_panel<true, true>(acc, acc_stride, block) : write_panel<false, true>(acc, acc_stride, block);
  } else {
    is_signed ? write_panel<true, false>(acc, acc_stride, block) : write_panel<false, false>(acc, acc_stride, block);
  }
}

inline __m256i bias_of(const Block& block, int n) {
  alignas(32) int32_t eight[8] = {};
  if (block.epilogue.bias) {
    for (int i = 0; i < 8 && n + i < block.n; ++i) eight[i] = block.epilogue.bias[n + i];
  }
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(eight));
}

}  // namespace
}  // namespace frugal

#endif
