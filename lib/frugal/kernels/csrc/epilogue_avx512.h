// From sums to outputs, 64 at a time.
//
//   two rows of 32 sums     q00 q01   q10 q11        4 registers of 16 int32
//   packs_epi32                 \ /       \ /        int16, mixed within each 128-bit lane
//   packus_epi16                  \_______/          64 bytes, mixed
//   permutexvar                      |               32 bytes of row 0, 32 bytes of row 1: one permutation undoes both

#ifndef FRUGAL_EPILOGUE_AVX512_H
#define FRUGAL_EPILOGUE_AVX512_H

#include <immintrin.h>

#include "epilogue_scalar.h"

namespace frugal {
namespace {  // each file that includes this gets a copy of its own: their compiler flags differ

constexpr int kWide = 32;  // columns that one call writes

struct Quantizer {
  __m512 scale[2], low, high, residual_scale;
  __m512i zero_point, residual_zero_point;
  __mmask32 live;  // which of the 32 columns exist
};

inline __mmask16 first(int n) { return n >= 16 ? 0xffff : n > 0 ? static_cast<__mmask16>((1u << n) - 1) : 0; }

inline Quantizer prepare(const Block& block) {
  const Epilogue& e = block.epilogue;
  Quantizer q;
  q.live = first(block.n) | static_cast<__mmask32>(first(block.n - 16)) << 16;
  for (int half = 0; half < 2; ++half) {
    q.scale[half] = _mm512_maskz_loadu_ps(first(block.n - 16 * half), e.scale + 16 * half);
  }
  q.low = _mm512_set1_ps(static_cast<float>(e.low - e.zero_point));
  q.high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  q.zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  q.residual_scale = _mm512_set1_ps(e.residual_scale);
  q.residual_zero_point = _mm512_set1_epi32(e.residual_zero_point);
  return q;
}

template <bool kSigned>
inline __m512i widen(__m128i bytes) {
  return kSigned ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}

// 32 sums of one output row -> two registers of codes without their zero-point.
template <bool kSigned, bool kResidual>
inline void quantize_row(const int32_t* acc, ptrdiff_t row, const Epilogue& e, const Quantizer& q, __m512i* codes) {
  __m256i residual = _mm256_setzero_si256();
  if (kResidual) residual = _mm256_maskz_loadu_epi8(q.live, e.residual + row * e.residual_stride);
  for (int half = 0; half < 2; ++half) {
    __m512 real = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(acc + 16 * half)), q.scale[half]);
    if (kResidual) {
      const __m128i bytes = half ? _mm256_extracti128_si256(residual, 1) : _mm256_castsi256_si128(residual);
      const __m512i code = _mm512_sub_epi32(widen<kSigned>(bytes), q.residual_zero_point);
      real = _mm512_add_ps(real, _mm512_mul_ps(_mm512_cvtepi32_ps(code), q.residual_scale));
    }
    codes[half] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(real, q.low), q.high));  // halves to even
  }
}

template <bool kSigned>
inline __m512i to_bytes(const __m512i* row0, const __m512i* row1, const Quantizer& q) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i words0 = _mm512_add_epi16(_mm512_packs_epi32(row0[0], row0[1]), q.zero_point);
  const __m512i words1 = _mm512_add_epi16(_mm512_packs_epi32(row1[0], row1[1]), q.zero_point);
  const __m512i bytes = kSigned ? _mm512_packs_epi16(words0, words1) : _mm512_packus_epi16(words0, words1);
  return _mm512_permutexvar_epi32(order, bytes);
}

template <bool kSigned, bool kResidual>
inline void write_codes(const int32_t* acc, int acc_stride, const Block& block) {
  const Epilogue& e = block.epilogue;
  const Quantizer q = prepare(block);
  uint8_t* y = static_cast<uint8_t*>(block.y);
  __m512i codes[2][2] = {{q.zero_point, q.zero_point}, {q.zero_point, q.zero_point}};
  for (int i = 0; i < block.m; i += 2) {
    const ptrdiff_t row0 = output_row(block, i), row1 = i + 1 < block.m ? output_row(block, i + 1) : -1;
    if (row0 >= 0) quantize_row<kSigned, kResidual>(acc + i * acc_stride, row0, e, q, codes[0]);
    if (row1 >= 0) quantize_row<kSigned, kResidual>(acc + (i + 1) * acc_stride, row1, e, q, codes[1]);
    const __m512i bytes = to_bytes<kSigned>(codes[0], codes[1], q);
    if (row0 >= 0) _mm256_mask_storeu_epi8(y + row0 * block.y_stride, q.live, _mm512_castsi512_si256(bytes));
    if (row1 >= 0) _mm256_mask_storeu_epi8(y + row1 * block.y_stride, q.live, _mm512_extracti64x4_epi64(bytes, 1));
  }
}

template <bool kReal>
inline void write_words(const int32_t* acc, int acc_stride, const Block& block) {
  for (int i = 0; i < block.m; ++i) {
    const ptrdiff_t row = output_row(block, i);
    if (row < 0) continue;
    for (int n = 0; n < block.n; n += 16) {
      const __mmask16 live = first(block.n - n);
      const __m512i sums = _mm512_load_si512(acc + i * acc_stride + n);
      void* to = static_cast<int32_t*>(block.y) + row * block.y_stride + n;
      if (kReal) {
        const __m512 scale = _mm512_maskz_loadu_ps(live, block.epilogue.scale + n);
        _mm512_mask_storeu_ps(to, live, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
      } else {
        _mm512_mask_storeu_epi32(to, live, sums);
      }
    }
  }
}

// acc: the sums of at most 32 columns, bias included, each row 64-byte aligned and readable to 32 columns.
inline void epilogue_avx512(const int32_t* acc, int acc_stride, const Block& block) {
  const Epilogue& e = block.epilogue;
  if (e.output == Output::kS32) return write_words<false>(acc, acc_stride, block);
  if (e.output == Output::kF32) return write_words<true>(acc, acc_stride, block);
  if (e.multiplier) return epilogue_scalar(acc, acc_stride, block);
  const bool is_signed = e.output == Output::kS8;
  if (e.residual) {
    is_signed ? write_codes<true, true>(acc, acc_stride, block) : write_codes<false, true>(acc, acc_stride, block);
  } else {
    is_signed ? write_codes<true, false>(acc, acc_stride, block) : write_codes<false, false>(acc, acc_stride, block);
  }
}

}  // namespace
}  // namespace frugal

#endif
