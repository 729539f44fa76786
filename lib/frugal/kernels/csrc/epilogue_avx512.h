// From sums to outputs, 64 at a time.
//
//   two rows of 32 sums     q00 q01   q10 q11        4 registers of 16 int32
//   packs_epi32                 \ /       \ /        int16, mixed within each 128-bit lane
//   packus_epi16                  \_______/          64 bytes, mixed
//   permutexvar                      |               32 bytes of row 0, 32 bytes of row 1: one permutation undoes both
//
// The clamp. Rounding keeps order and the ends are whole numbers, so rounding first and clamping the codes gives what
// format.h says, for less: both packs saturate, and bytes are clamped 64 at a time. Only a real beyond int32 would be
// lost on the way, which scales above 1/2 make possible; then the reals are clamped first.

#ifndef FRUGAL_EPILOGUE_AVX512_H
#define FRUGAL_EPILOGUE_AVX512_H

#include <immintrin.h>

#include "epilogue_scalar.h"

#if defined(_MSC_VER)
#define FRUGAL_ALWAYS_INLINE __forceinline
#else
#define FRUGAL_ALWAYS_INLINE inline __attribute__((always_inline))
#endif

namespace frugal {
namespace {  // each file that includes this gets a copy of its own: their compiler flags differ

constexpr int kWide = 32;  // columns that one call writes

// The constants of 32 columns, in registers.
struct Quantizer {
  __m512 scale[2], low, high, residual_scale;
  __m512i zero_point, residual_zero_point, low_code, high_code;
  __mmask32 live;  // which of the 32 columns exist
};

inline __mmask16 first(int n) { return n >= 16 ? 0xffff : n > 0 ? static_cast<__mmask16>((1u << n) - 1) : 0; }

// Where the sums of at most 32 columns of a block go.
struct Outputs {
  const Epilogue* epilogue;
  const float* scale;
  const uint8_t* residual;
  uint8_t* y;  // of codes
  ptrdiff_t y_stride;
  const int32_t* y_rows;
  int m, n;

  ptrdiff_t row(int i) const { return y_rows ? y_rows[i] : i; }
  bool whole() const { return n == kWide && !y_rows; }  // no column is missing, and rows follow each other
};

// Those of a block from a row and a column on. Field by field: a struct that is copied in one wide load right after its
// fields were stored one by one waits until they have left for the cache.
FRUGAL_ALWAYS_INLINE void set_outputs(Outputs& to, const Block& block, int row, int m, int n) {
  const Epilogue& e = block.epilogue;
  const ptrdiff_t y_row = block.y_rows ? 0 : row;
  to.epilogue = &e;
  to.scale = e.scale + n;
  to.residual = e.residual ? e.residual + y_row * e.residual_stride + n : nullptr;
  to.y = static_cast<uint8_t*>(block.y) + y_row * block.y_stride + n;
  to.y_stride = block.y_stride;
  to.y_rows = block.y_rows ? block.y_rows + row : nullptr;
  to.m = m;
  to.n = block.n - n < kWide ? block.n - n : kWide;
}

// The constants of the columns from `column` on.
FRUGAL_ALWAYS_INLINE Quantizer prepare(const Outputs& to, int column = 0) {
  const Epilogue& e = *to.epilogue;
  Quantizer q;
  q.live = first(to.n) | static_cast<__mmask32>(first(to.n - 16)) << 16;
  for (int half = 0; half < 2; ++half) {
    q.scale[half] = _mm512_maskz_loadu_ps(first(to.n - 16 * half), to.scale + column + 16 * half);
  }
  q.low = _mm512_set1_ps(static_cast<float>(e.low - e.zero_point));
  q.high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  q.zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  q.low_code = _mm512_set1_epi8(static_cast<char>(e.low));
  q.high_code = _mm512_set1_epi8(static_cast<char>(e.high));
  q.residual_scale = _mm512_set1_ps(e.residual_scale);
  q.residual_zero_point = _mm512_set1_epi32(e.residual_zero_point);
  return q;
}

// Whether every real of these columns fits int32: 2^31 / 2 from the sum, 255 * 2^20 from the residual.
inline bool fits_int32(const Outputs& to) {
  const __m512 left = _mm512_maskz_loadu_ps(first(to.n), to.scale);
  const __m512 right = _mm512_maskz_loadu_ps(first(to.n - 16), to.scale + 16);
  return _mm512_cmp_ps_mask(_mm512_max_ps(left, right), _mm512_set1_ps(0.5f), _CMP_NLE_UQ) == 0 &&
         to.epilogue->residual_scale <= 1048576.0f;
}

template <bool kSigned>
inline __m512i widen(__m128i bytes) {
  return kSigned ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
}

// How an instance of the code below works: the type of the codes, whether there is a residual, which clamp.
template <bool kSignedCodes, bool kWithResidual, bool kAnyScale>
struct Codes {
  static constexpr bool kSigned = kSignedCodes, kResidual = kWithResidual, kClampReals = kAnyScale;
};

// 32 sums of one output row, and as many codes of the residual -> two registers of codes without their zero-point.
template <class Kind>
FRUGAL_ALWAYS_INLINE void quantize_row(const int32_t* acc, __m256i residual, const Quantizer& q, __m512i* codes) {
  for (int half = 0; half < 2; ++half) {
    __m512 real = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_load_si512(acc + 16 * half)), q.scale[half]);
    if (Kind::kResidual) {
      const __m128i bytes = half ? _mm256_extracti128_si256(residual, 1) : _mm256_castsi256_si128(residual);
      const __m512i code = _mm512_sub_epi32(widen<Kind::kSigned>(bytes), q.residual_zero_point);
      real = _mm512_add_ps(real, _mm512_mul_ps(_mm512_cvtepi32_ps(code), q.residual_scale));
    }
    if (Kind::kClampReals) real = _mm512_min_ps(_mm512_max_ps(real, q.low), q.high);
    codes[half] = _mm512_cvtps_epi32(real);  // halves to even
  }
}

template <class Kind>
FRUGAL_ALWAYS_INLINE __m512i to_bytes(const __m512i* row0, const __m512i* row1, const Quantizer& q) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i words0 = _mm512_adds_epi16(_mm512_packs_epi32(row0[0], row0[1]), q.zero_point);
  const __m512i words1 = _mm512_adds_epi16(_mm512_packs_epi32(row1[0], row1[1]), q.zero_point);
  __m512i bytes;
  if (Kind::kSigned) {
    bytes = _mm512_packs_epi16(words0, words1);
    if (!Kind::kClampReals) bytes = _mm512_min_epi8(_mm512_max_epi8(bytes, q.low_code), q.high_code);
  } else {
    bytes = _mm512_packus_epi16(words0, words1);
    if (!Kind::kClampReals) bytes = _mm512_min_epu8(_mm512_max_epu8(bytes, q.low_code), q.high_code);
  }
  return _mm512_permutexvar_epi32(order, bytes);
}

// Two rows of which some columns may be missing, or a whole row: output row -1 is none.
template <class Kind>
inline void write_ragged(const int32_t* acc, int acc_stride, const Outputs& to, const Quantizer& q, int i) {
  __m512i codes[2][2] = {{q.zero_point, q.zero_point}, {q.zero_point, q.zero_point}};
  const ptrdiff_t rows[2] = {to.row(i), i + 1 < to.m ? to.row(i + 1) : -1};
  for (int each = 0; each < 2; ++each) {
    if (rows[each] < 0) continue;
    __m256i residual = _mm256_setzero_si256();
    if (Kind::kResidual) {
      residual = _mm256_maskz_loadu_epi8(q.live, to.residual + rows[each] * to.epilogue->residual_stride);
    }
    quantize_row<Kind>(acc + (i + each) * acc_stride, residual, q, codes[each]);
  }
  const __m512i bytes = to_bytes<Kind>(codes[0], codes[1], q);
  if (rows[0] >= 0) _mm256_mask_storeu_epi8(to.y + rows[0] * to.y_stride, q.live, _mm512_castsi512_si256(bytes));
  if (rows[1] >= 0) _mm256_mask_storeu_epi8(to.y + rows[1] * to.y_stride, q.live, _mm512_extracti64x4_epi64(bytes, 1));
}

// The codes of a block, rows first to last - 1; first is even, and so is last, or the end of the block.
template <class Kind>
FRUGAL_ALWAYS_INLINE void write_rows(const int32_t* acc, int acc_stride, const Outputs& to, const Quantizer& q,
                                     int first, int last) {
  int i = first;
  if (to.whole()) {
    const ptrdiff_t y_stride = to.y_stride, residual_stride = Kind::kResidual ? to.epilogue->residual_stride : 0;
    uint8_t* y = to.y + i * y_stride;
    const uint8_t* residual = Kind::kResidual ? to.residual + i * residual_stride : nullptr;
    acc += i * acc_stride;
    for (; i + 2 <= last; i += 2) {
      __m512i codes[2][2];
      for (int each = 0; each < 2; ++each, acc += acc_stride) {
        __m256i bytes = _mm256_setzero_si256();
        if (Kind::kResidual) bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(residual));
        quantize_row<Kind>(acc, bytes, q, codes[each]);
        if (Kind::kResidual) residual += residual_stride;
      }
      const __m512i bytes = to_bytes<Kind>(codes[0], codes[1], q);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y), _mm512_castsi512_si256(bytes));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + y_stride), _mm512_extracti64x4_epi64(bytes, 1));
      y += 2 * y_stride;
    }
    acc -= i * acc_stride;
  }
  for (; i < last; i += 2) write_ragged<Kind>(acc, acc_stride, to, q, i);
}

// The codes of 64 whole columns of one row, a cache line: packed as above, the halves of a row in place of two rows.
template <class Kind>
FRUGAL_ALWAYS_INLINE void write_line(const int32_t* acc, uint8_t* y, const uint8_t* residual, const Quantizer& left,
                                     const Quantizer& right) {
  __m256i bytes[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  if (Kind::kResidual) {
    bytes[0] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(residual));
    bytes[1] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(residual + kWide));
  }
  __m512i codes[2][2];
  quantize_row<Kind>(acc, bytes[0], left, codes[0]);
  quantize_row<Kind>(acc + kWide, bytes[1], right, codes[1]);
  _mm512_storeu_si512(y, to_bytes<Kind>(codes[0], codes[1], left));
}

// Those of rows first to last - 1.
template <class Kind>
FRUGAL_ALWAYS_INLINE void write_lines(const int32_t* acc, int acc_stride, const Outputs& to, const Quantizer& left,
                                      const Quantizer& right, int first, int last) {
  const ptrdiff_t y_stride = to.y_stride, residual_stride = Kind::kResidual ? to.epilogue->residual_stride : 0;
  acc += first * acc_stride;
  if (to.y_rows) {
    for (int i = first; i < last; ++i, acc += acc_stride) {
      const ptrdiff_t row = to.y_rows[i];
      if (row >= 0) write_line<Kind>(acc, to.y + row * y_stride, to.residual + row * residual_stride, left, right);
    }
    return;
  }
  uint8_t* y = to.y + first * y_stride;
  const uint8_t* residual = Kind::kResidual ? to.residual + first * residual_stride : nullptr;
  for (int i = first; i < last; ++i, acc += acc_stride, y += y_stride, residual += residual_stride) {
    write_line<Kind>(acc, y, residual, left, right);
  }
}

template <class Kind>
inline void write_codes(const int32_t* acc, int acc_stride, const Outputs& to) {
  const Quantizer q = prepare(to);
  write_rows<Kind>(acc, acc_stride, to, q, 0, to.m);
}

template <bool kClampReals>
inline void write_any_codes(const int32_t* acc, int acc_stride, const Outputs& to) {
  const bool is_signed = to.epilogue->output == Output::kS8;
  if (to.residual) {
    is_signed ? write_codes<Codes<true, true, kClampReals>>(acc, acc_stride, to)
              : write_codes<Codes<false, true, kClampReals>>(acc, acc_stride, to);
  } else {
    is_signed ? write_codes<Codes<true, false, kClampReals>>(acc, acc_stride, to)
              : write_codes<Codes<false, false, kClampReals>>(acc, acc_stride, to);
  }
}

// int32 sums, or their product with the scale.
template <bool kReal>
inline void write_words(const int32_t* acc, int acc_stride, const Block& block, int first_row, int m, int n) {
  for (int i = 0; i < m; ++i) {
    const ptrdiff_t row = output_row(block, first_row + i);
    if (row < 0) continue;
    for (int j = n; j < block.n && j < n + kWide; j += kPanel) {
      const __mmask16 live = first(block.n - j);
      const __m512i sums = _mm512_load_si512(acc + i * acc_stride + j - n);
      void* to = static_cast<int32_t*>(block.y) + row * block.y_stride + j;
      if (kReal) {
        const __m512 scale = _mm512_maskz_loadu_ps(live, block.epilogue.scale + j);
        _mm512_mask_storeu_ps(to, live, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), scale));
      } else {
        _mm512_mask_storeu_epi32(to, live, sums);
      }
    }
  }
}

// acc: the sums of a part of a block, bias included: m rows from `row` on, at most 32 columns from n on. Each row of
// acc is 64-byte aligned and readable to 32 columns.
inline void epilogue_avx512(const int32_t* acc, int acc_stride, const Block& block, int row, int m, int n) {
  const Epilogue& e = block.epilogue;
  if (e.output == Output::kS32) return write_words<false>(acc, acc_stride, block, row, m, n);
  if (e.output == Output::kF32) return write_words<true>(acc, acc_stride, block, row, m, n);
  if (e.multiplier) return epilogue_scalar(acc, acc_stride, block_rows(block_from(block, n, kWide), row, m));
  Outputs to;
  set_outputs(to, block, row, m, n);
  fits_int32(to) ? write_any_codes<false>(acc, acc_stride, to) : write_any_codes<true>(acc, acc_stride, to);
}

}  // namespace
}  // namespace frugal

#endif
