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

// Part of a block: m rows from `row` on, the panel from column n on.
struct Panel {
  const Block& block;
  int row, m, n;
};

template <bool kSigned, bool kResidual>
inline void write_panel(const int32_t* acc, const Panel& panel) {
  const Block& block = panel.block;
  const Epilogue& e = block.epilogue;
  const __m256 scale[2] = {_mm256_loadu_ps(e.scale + panel.n), _mm256_loadu_ps(e.scale + panel.n + 8)};
  const __m256 low = _mm256_set1_ps(static_cast<float>(e.low - e.zero_point));
  const __m256 high = _mm256_set1_ps(static_cast<float>(e.high - e.zero_point));
  const __m256i zero_point = _mm256_set1_epi16(static_cast<short>(e.zero_point));
  const __m256i residual_zero_point = _mm256_set1_epi32(e.residual_zero_point);
  const __m256 residual_scale = _mm256_set1_ps(e.residual_scale);
  uint8_t* y = static_cast<uint8_t*>(block.y) + panel.n;
  const ptrdiff_t y_stride = block.y_stride;
  for (int i = 0; i < panel.m; ++i, acc += kPanel) {
    const ptrdiff_t row = output_row(block, panel.row + i);
    if (row < 0) continue;
    __m256i codes[2];
    for (int half = 0; half < 2; ++half) {
      const __m256i sums = _mm256_load_si256(reinterpret_cast<const __m256i*>(acc + 8 * half));
      __m256 real = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scale[half]);
      if (kResidual) {
        const uint8_t* residual = e.residual + row * e.residual_stride + panel.n + 8 * half;
        real = _mm256_add_ps(real, residual_of<kSigned>(residual, residual_zero_point, residual_scale));
      }
      codes[half] = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(real, low), high));  // halves to even
    }
    // The packs work within 128-bit lanes; one permutation of 64-bit words puts the 16 values in order.
    const __m256i words = _mm256_add_epi16(_mm256_packs_epi32(codes[0], codes[1]), zero_point);
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    const __m128i lower = _mm256_castsi256_si128(ordered), upper = _mm256_extracti128_si256(ordered, 1);
    const __m128i bytes = kSigned ? _mm_packs_epi16(lower, upper) : _mm_packus_epi16(lower, upper);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + row * y_stride), bytes);
  }
}

inline void write_sums(const int32_t* acc, const Panel& panel) {
  for (int i = 0; i < panel.m; ++i, acc += kPanel) {
    const ptrdiff_t row = output_row(panel.block, panel.row + i);
    if (row < 0) continue;
    int32_t* y = static_cast<int32_t*>(panel.block.y) + row * panel.block.y_stride + panel.n;
    for (int half = 0; half < 2; ++half) {
      const __m256i sums = _mm256_load_si256(reinterpret_cast<const __m256i*>(acc + 8 * half));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + 8 * half), sums);
    }
  }
}

// acc: the sums of a panel, bias included, in rows of 16. Narrow panels and rare outputs take the scalar definition.
inline void epilogue_avx2(const int32_t* acc, const Panel& panel) {
  const Block& block = panel.block;
  const Epilogue& e = block.epilogue;
  const bool whole = block.n - panel.n >= kPanel;
  if (whole && e.output == Output::kS32) return write_sums(acc, panel);
  const bool codes = e.output == Output::kU8 || e.output == Output::kS8;
  if (!whole || !codes || e.multiplier) {
    return epilogue_scalar(acc, kPanel, block_rows(block_from(block, panel.n, kPanel), panel.row, panel.m));
  }
  const bool is_signed = e.output == Output::kS8;
  if (e.residual) {
    is_signed ? write_panel<true, true>(acc, panel) : write_panel<false, true>(acc, panel);
  } else {
    is_signed ? write_panel<true, false>(acc, panel) : write_panel<false, false>(acc, panel);
  }
}

// The bias of the panel from column n on, filled up with zeros.
inline void load_bias(const Block& block, int n, int32_t* bias) {
  for (int i = 0; i < kPanel; ++i) bias[i] = block.epilogue.bias && n + i < block.n ? block.epilogue.bias[n + i] : 0;
}

}  // namespace
}  // namespace frugal

#endif
