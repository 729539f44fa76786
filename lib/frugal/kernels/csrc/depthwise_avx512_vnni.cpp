// 3x3 depthwise convolution on AVX-512 VNNI, 64 channels at a time.
//
// Four neighbours of one image column become the quad that vpdpbusd sums, channel by channel:
//
//   row 0   a0 a1 a2 ...                     quad of channel 0   a0 b0 c0 d0
//   row 1   b0 b1 b2 ...    unpack twice     quad of channel 1   a1 b1 c1 d1
//   row 2   c0 c1 c2 ...                     ...
//   row 3   d0 d1 d2 ...
//
// The unpacks work within 128-bit lanes: register q holds channels 16 * lane + 4 * q + (0..3). Weights, bias and scale
// are stored in that order, and the packs of the epilogue undo it, so nothing is ever permuted:
//
//   weights [64 channels][3 columns][4 registers q][16 channels][4: rows 0..2, 0]    bias, scale [64 channels][q][16]
//
// With stride 1 the next output reuses two of its three columns, and two lines share their quads: the fourth byte, which
// meets a zero weight above, is the last row of the line below.
//
//   line 0   w0 w1 w2 0        line 1   0 w0 w1 w2        of the quad   a0 b0 c0 d0

#include <immintrin.h>

#include "depthwise.h"

namespace frugal {
namespace {

constexpr int kChannels = 64, kParts = 4;

struct Column {
  __m512i part[kParts];
};

inline Column interleave(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(ab_low, cd_low), _mm512_unpackhi_epi16(ab_low, cd_low),
           _mm512_unpacklo_epi16(ab_high, cd_high), _mm512_unpackhi_epi16(ab_high, cd_high)}};
}

struct Constants {
  __m512i weights[2][3][kParts];  // of a line, and of the line below
  __m512i bias[kParts], zero_point, low, flip;
  __m512 scale[kParts], high;
  __mmask64 live;  // which of the 64 channels exist
};

Constants load(const Depthwise& d, int group) {
  const Epilogue& e = d.epilogue;
  Constants k;
  const int8_t* w = d.weights + size_t(group) * 3 * kParts * kChannels;
  for (int column = 0; column < 3; ++column) {
    for (int q = 0; q < kParts; ++q) {
      k.weights[0][column][q] = _mm512_loadu_si512(w + (column * kParts + q) * kChannels);
      k.weights[1][column][q] = _mm512_slli_epi32(k.weights[0][column][q], 8);
    }
  }
  for (int q = 0; q < kParts; ++q) {
    k.bias[q] = _mm512_loadu_si512(e.bias + group * kChannels + q * 16);
    k.scale[q] = _mm512_loadu_ps(e.scale + group * kChannels + q * 16);
  }
  const int left = d.c.channels - group * kChannels;
  k.live = left >= kChannels ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
  k.zero_point = _mm512_set1_epi16(static_cast<short>(e.zero_point));
  k.low = _mm512_set1_epi8(static_cast<char>(e.low));
  k.high = _mm512_set1_ps(static_cast<float>(e.high - e.zero_point));
  k.flip = _mm512_set1_epi8(d.a_signed ? static_cast<char>(0x80) : 0);
  return k;
}

// The upper end is taken before the conversion, which knows no infinity; below, the packs saturate as the clamp would.
template <bool kSigned>
inline __m512i output(const Column& c0, const Column& c1, const Column& c2, const __m512i (*w)[kParts],
                      const Constants& k) {
  __m512i codes[kParts];
  for (int q = 0; q < kParts; ++q) {
    __m512i acc = _mm512_dpbusd_epi32(k.bias[q], c0.part[q], w[0][q]);
    acc = _mm512_dpbusd_epi32(acc, c1.part[q], w[1][q]);
    acc = _mm512_dpbusd_epi32(acc, c2.part[q], w[2][q]);
    const __m512 real = _mm512_mul_ps(_mm512_cvtepi32_ps(acc), k.scale[q]);
    codes[q] = _mm512_cvtps_epi32(_mm512_min_ps(real, k.high));  // halves to even
  }
  const __m512i words0 = _mm512_adds_epi16(_mm512_packs_epi32(codes[0], codes[1]), k.zero_point);
  const __m512i words1 = _mm512_adds_epi16(_mm512_packs_epi32(codes[2], codes[3]), k.zero_point);
  return kSigned ? _mm512_max_epi8(_mm512_packs_epi16(words0, words1), k.low)
                 : _mm512_max_epu8(_mm512_packus_epi16(words0, words1), k.low);
}

// The input rows under one or two output lines. A row outside the image is the border, which stays where it is.
struct Picture {
  const uint8_t* row[4];
  ptrdiff_t step[4];
  int width;

  Column column(int x, const Constants& k, const Column& outside) const {
    if (x < 0 || x >= width) return outside;
    const auto pixel = [&](int i) {
      return _mm512_xor_si512(_mm512_maskz_loadu_epi8(k.live, row[i] + x * step[i]), k.flip);
    };
    return interleave(pixel(0), pixel(1), pixel(2), pixel(3));
  }
};

Picture picture_at(const Depthwise& d, const uint8_t* image, int top, size_t offset) {
  const FrugalConv& c = d.c;
  Picture picture;
  picture.width = c.w;
  for (int i = 0; i < 4; ++i) {
    const bool inside = top + i >= 0 && top + i < c.h;
    picture.row[i] = (inside ? image + size_t(top + i) * c.w * c.channels : d.border) + offset;
    picture.step[i] = inside ? c.channels : 0;
  }
  return picture;
}

Column border_column(const Depthwise& d, size_t offset, const Constants& k) {
  const __m512i code = _mm512_xor_si512(_mm512_maskz_loadu_epi8(k.live, d.border + offset), k.flip);
  return interleave(code, code, code, code);
}

// One output line at y, or, with stride 1, that and the next.
template <bool kSigned, bool kTwoLines>
void run_line(const Depthwise& d, const Picture& picture, const Constants& k, const Column& outside, uint8_t* y) {
  const FrugalConv& c = d.c;
  const int width = out_w(c), stride = c.stride_w;
  const size_t channels = c.channels, line_bytes = width * channels;
  const auto write = [&](const Column& c0, const Column& c1, const Column& c2) {
    _mm512_mask_storeu_epi8(y, k.live, output<kSigned>(c0, c1, c2, k.weights[0], k));
    if (kTwoLines) _mm512_mask_storeu_epi8(y + line_bytes, k.live, output<kSigned>(c0, c1, c2, k.weights[1], k));
    y += channels;
  };
  const auto at = [&](int x) { return picture.column(x - c.pad_w, k, outside); };
  if (stride == 1) {
    Column c0 = at(0), c1 = at(1);
    for (int x = 0; x < width; ++x) {
      const Column c2 = at(x + 2);
      write(c0, c1, c2);
      c0 = c1, c1 = c2;
    }
  } else if (stride == 2) {
    Column c0 = at(0);
    for (int x = 0; x < width; ++x) {
      const Column c1 = at(2 * x + 1), c2 = at(2 * x + 2);
      write(c0, c1, c2);
      c0 = c2;
    }
  } else {
    for (int x = 0; x < width; ++x) write(at(x * stride), at(x * stride + 1), at(x * stride + 2));
  }
}

template <bool kSigned>
void run_lines(const Depthwise& d, int first, int last) {
  const FrugalConv& c = d.c;
  const int height = out_h(c);
  const size_t channels = c.channels, line_bytes = out_w(c) * channels;
  for (int group = 0; group * kChannels < c.channels; ++group) {
    const size_t offset = size_t(group) * kChannels;
    const Constants k = load(d, group);
    const Column outside = border_column(d, offset, k);
    for (int line = first; line < last;) {
      const uint8_t* image = d.x + size_t(line / height) * c.h * c.w * channels;
      const int y = line % height;
      const Picture picture = picture_at(d, image, y * c.stride_h - c.pad_h, offset);
      uint8_t* to = d.y + line * line_bytes + offset;
      const bool two_lines = c.stride_h == 1 && line + 1 < last && y + 1 < height;
      two_lines ? run_line<kSigned, true>(d, picture, k, outside, to)
                : run_line<kSigned, false>(d, picture, k, outside, to);
      line += two_lines ? 2 : 1;
    }
  }
}

}  // namespace

void depthwise_avx512_vnni(const Depthwise& d, int first, int last, int32_t*) {
  d.epilogue.output == Output::kS8 ? run_lines<true>(d, first, last) : run_lines<false>(d, first, last);
  _mm256_zeroupper();
}

}  // namespace frugal
