// 3x3 depthwise convolution on AVX-512 VNNI, 64 channels at a time.
//
// Three neighbours of one image column and a zero become the quad that vpdpbusd sums, channel by channel:
//
//   row 0   a0 a1 a2 ...                     quad of channel 0   a0 b0 c0 0
//   row 1   b0 b1 b2 ...    unpack twice     quad of channel 1   a1 b1 c1 0
//   row 2   c0 c1 c2 ...                     ...
//
// The unpacks work within 128-bit lanes: register q holds channels 16 * lane + 4 * q + (0..3). Weights, bias and scale
// are stored in that order, and the packs of the epilogue undo it, so nothing is ever permuted:
//
//   weights [64 channels][3 columns][4 registers q][16 channels][4: rows 0..2, 0]    bias, scale [64 channels][q][16]
//
// With stride 1 the next output reuses two of its three columns.

#include <immintrin.h>

#include "depthwise.h"

namespace frugal {
namespace {

constexpr int kChannels = 64, kParts = 4;

struct Column {
  __m512i part[kParts];
};

inline Column interleave(const uint8_t* const* rows, size_t offset, __mmask64 live, __m512i flip) {
  const __m512i a = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, rows[0] + offset), flip);
  const __m512i b = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, rows[1] + offset), flip);
  const __m512i c = _mm512_xor_si512(_mm512_maskz_loadu_epi8(live, rows[2] + offset), flip);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i c0_low = _mm512_unpacklo_epi8(c, zero), c0_high = _mm512_unpackhi_epi8(c, zero);
  return {{_mm512_unpacklo_epi16(ab_low, c0_low), _mm512_unpackhi_epi16(ab_low, c0_low),
           _mm512_unpacklo_epi16(ab_high, c0_high), _mm512_unpackhi_epi16(ab_high, c0_high)}};
}

struct Constants {
  __m512i weights[3][kParts], bias[kParts], zero_point, flip;
  __m512 scale[kParts], low, high;
};

Constants load(const Depthwise& d, int group) {
  const Epilogue& e = d.epilogue;
  Constants k;
  const int8_t* w = d.weights + size_t(group) * 3 * kParts * kChannels;
  for (int column = 0; column < 3; ++column) {
    for (int q = 0; q < kParts; ++q) k.weights[column][q] = _mm512_loadu_si512(w + (column * kParts + q) * kChannels);
  }
  for (int q = 0; q < kParts; ++q) {
    k.bias[q] = _mm512_loadu_si512(e.bias + group * kChannels + q * 16);
    k.scale[q] = _mm512_loadu_ps(e.scale + group * kChannels + q * 16);
  }
  k.zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  k.low = _mm512_set1_ps(static_cast<float>(e.low - e.zero_point));
  k.high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  k.flip = _mm512_set1_epi8(d.a_signed ? static_cast<char>(0x80) : 0);
  return k;
}

inline __m512i output(const Column* columns, const Constants& k, bool is_signed) {
  __m512i codes[kParts];
  for (int q = 0; q < kParts; ++q) {
    __m512i acc = k.bias[q];
    for (int column = 0; column < 3; ++column) {
      acc = _mm512_dpbusd_epi32(acc, columns[column].part[q], k.weights[column][q]);
    }
    const __m512 real = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), k.scale[q]);
    codes[q] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(real, k.low), k.high));  // halves to even
  }
  const __m512i words0 = _mm512_add_epi16(_mm512_packs_epi32(codes[0], codes[1]), k.zero_point);
  const __m512i words1 = _mm512_add_epi16(_mm512_packs_epi32(codes[2], codes[3]), k.zero_point);
  return is_signed ? _mm512_packs_epi16(words0, words1) : _mm512_packus_epi16(words0, words1);
}

}  // namespace

void depthwise_avx512_vnni(const Depthwise& d, int first, int last, int32_t*) {
  const FrugalConv& c = d.c;
  const int height = out_h(c), width = out_w(c);
  const bool is_signed = d.epilogue.output == Output::kS8;
  const size_t channels = c.channels;
  for (int group = 0; group * kChannels < c.channels; ++group) {
    const int left = c.channels - group * kChannels;
    const __mmask64 live = left >= kChannels ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const Constants k = load(d, group);
    const size_t offset = size_t(group) * kChannels;
    for (int line = first; line < last; ++line) {
      const uint8_t* image = d.x + size_t(line / height) * c.h * c.w * channels;
      const int top = line % height * c.stride_h - c.pad_h;
      const auto column_at = [&](int x) {
        const uint8_t* rows[3];
        for (int i = 0; i < 3; ++i) {
          const bool inside = x >= 0 && x < c.w && top + i >= 0 && top + i < c.h;
          rows[i] = inside ? image + (size_t(top + i) * c.w + x) * channels : d.border;
        }
        return interleave(rows, offset, live, k.flip);
      };
      uint8_t* y = d.y + size_t(line) * width * channels + offset;
      Column columns[3] = {column_at(-c.pad_w), column_at(1 - c.pad_w), column_at(2 - c.pad_w)};
      for (int x = 0; x < width; ++x, y += channels) {
        _mm512_mask_storeu_epi8(y, live, output(columns, k, is_signed));
        if (x + 1 == width) break;
        const int next = (x + 1) * c.stride_w - c.pad_w;
        const int keep = c.stride_w < 3 ? 3 - c.stride_w : 0;  // columns that the next output shares
        for (int j = 0; j < keep; ++j) columns[j] = columns[j + 3 - keep];
        for (int j = keep; j < 3; ++j) columns[j] = column_at(next + j);
      }
    }
  }
  _mm256_zeroupper();
}

}  // namespace frugal
