// AVX-512 VNNI (Cascade Lake 2019, Zen 4 2022): one instruction does 64 products and 16 sums.
//
//   vpdpbusd   lane 0                   lane 1         ...  lane 15
//     a (u8)   a0 a1 a2 a3              a0 a1 a2 a3         a0 a1 a2 a3      four values of one row, broadcast
//     w (s8)   c0: k0 k1 k2 k3          c1: k0..k3          c15: k0..k3      one quad row of a panel
//   acc (s32)  += a0k0+a1k1+a2k2+a3k3   += ...              += ...
//
// 6 rows x 4 panels at once: 24 sums, 4 weights and 2 activations fill the 32 registers. The first operand is unsigned:
// signed activations get their top bit flipped, a ^ 0x80 = a + 128.
//
// A block is 8 such strips, one below the other: the weights of 4 panels, read for the first strip from the
// second-level cache, are near for the other seven.

#include <string.h>

#include "epilogue_avx512.h"

namespace frugal {
namespace {

constexpr int kRows = 6, kPanels = 4, kStrips = 8;

inline __m512i broadcast_quad(const uint8_t* a) {
  int32_t quad;
  memcpy(&quad, a, sizeof quad);
  return _mm512_set1_epi32(quad);
}

// A row of sums, filled up to whole pairs of panels: the epilogue reads 32 at a time.
constexpr int row_of_sums(int panels) { return (panels + panels % 2) * kPanel; }

// The sums of kM rows of a block from `row` on, in the kN panels from column n on; sums starts as the bias of these
// columns.
template <int kM, int kN, bool kFlip>
void sums(const Block& block, int row, int n, const int32_t* bias, int32_t* out) {
  __m512i acc[kM][kN];
#pragma GCC unroll 6
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) acc[i][j] = _mm512_load_si512(bias + kPanel * j);
  }
  const __m512i top_bit = _mm512_set1_epi8(static_cast<char>(0x80));
  const ptrdiff_t stride = block.row_stride, panel_stride = block.panel_stride;
  const int depth = block.depth;
  const int8_t* tap_weights = block.weights + n / kPanel * panel_stride;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + row * stride + block.tap[t];
    const uint8_t* a3 = a + 3 * stride;  // two pointers reach six rows with one multiplied index
    const int8_t* w = tap_weights;
    for (int k = 0; k < depth; k += kQuad, a += kQuad, a3 += kQuad, w += kQuad * kPanel) {
      __m512i weights[kN];
#pragma GCC unroll 4
      for (int j = 0; j < kN; ++j) weights[j] = _mm512_load_si512(w + j * panel_stride);
#pragma GCC unroll 6
      for (int i = 0; i < kM; ++i) {
        __m512i quad = broadcast_quad(i < 3 ? a + i * stride : a3 + (i - 3) * stride);
        if (kFlip) quad = _mm512_xor_si512(quad, top_bit);
#pragma GCC unroll 4
        for (int j = 0; j < kN; ++j) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], quad, weights[j]);
      }
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kM; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < kN; ++j) _mm512_store_si512(out + i * row_of_sums(kN) + j * kPanel, acc[i][j]);
  }
}

using Sums = void (*)(const Block& block, int row, int n, const int32_t* bias, int32_t* out);

// By the number of panels and the number of rows, each less 1.
template <bool kFlip>
constexpr Sums kSums[kPanels][kRows] = {
    {sums<1, 1, kFlip>, sums<2, 1, kFlip>, sums<3, 1, kFlip>, sums<4, 1, kFlip>, sums<5, 1, kFlip>, sums<6, 1, kFlip>},
    {sums<1, 2, kFlip>, sums<2, 2, kFlip>, sums<3, 2, kFlip>, sums<4, 2, kFlip>, sums<5, 2, kFlip>, sums<6, 2, kFlip>},
    {sums<1, 3, kFlip>, sums<2, 3, kFlip>, sums<3, 3, kFlip>, sums<4, 3, kFlip>, sums<5, 3, kFlip>, sums<6, 3, kFlip>},
    {sums<1, 4, kFlip>, sums<2, 4, kFlip>, sums<3, 4, kFlip>, sums<4, 4, kFlip>, sums<5, 4, kFlip>, sums<6, 4, kFlip>},
};

// Calls finish(acc, row, m) with the sums of every strip of a block, in the panels from column n on.
template <class Finish>
inline void for_strips(const Block& block, int n, int panels, const Finish& finish) {
  alignas(64) int32_t acc[kRows * kPanels * kPanel], bias[kPanels * kPanel];
  for (int j = 0; j < panels; ++j) {
    const int32_t* given = block.epilogue.bias;
    const int at = n + kPanel * j;
    const __m512i panel = given ? _mm512_maskz_loadu_epi32(first(block.n - at), given + at) : _mm512_setzero_si512();
    _mm512_store_si512(bias + kPanel * j, panel);
  }
  const Sums* sums = block.a_signed ? kSums<true>[panels - 1] : kSums<false>[panels - 1];
  for (int row = 0; row < block.m; row += kRows) {
    const int m = block.m - row < kRows ? block.m - row : kRows;
    sums[m - 1](block, row, n, bias, acc);
    finish(acc, row, m);
  }
}

// Codes in four whole panels, the most frequent case: their constants stay at hand.
template <class Kind>
void run_lines(const Block& block, int n) {
  Outputs to;
  set_outputs(to, block, 0, block.m, n + kWide);
  const Quantizer right = prepare(to);
  set_outputs(to, block, 0, block.m, n);
  const Quantizer left = prepare(to);
  for_strips(block, n, kPanels, [&](const int32_t* acc, int row, int m) {
    set_outputs(to, block, row, m, n);
    write_lines<Kind>(acc, row_of_sums(kPanels), to, left, right, 0, m);
  });
}

void run_any(const Block& block, int n, int panels) {
  const int acc_stride = row_of_sums(panels);
  for_strips(block, n, panels, [&](const int32_t* acc, int row, int m) {
    epilogue_avx512(acc, acc_stride, block, row, m, n);
    if (panels > 2) epilogue_avx512(acc + kWide, acc_stride, block, row, m, n + kWide);
  });
}

bool are_lines(const Block& block, int n) {
  const Epilogue& e = block.epilogue;
  if (block.y_rows || e.multiplier || (e.output != Output::kU8 && e.output != Output::kS8)) return false;
  Outputs left, right;
  set_outputs(left, block, 0, block.m, n);
  set_outputs(right, block, 0, block.m, n + kWide);
  return fits_int32(left) && fits_int32(right);
}

void run(const Block& block) {
  const bool signed_codes = block.epilogue.output == Output::kS8;
  for (int n = 0; n < block.n; n += kPanels * kPanel) {
    const int left = (block.n - n + kPanel - 1) / kPanel, panels = left < kPanels ? left : kPanels;
    if (block.n - n < kPanels * kPanel || !are_lines(block, n)) {
      run_any(block, n, panels);
    } else if (block.epilogue.residual) {
      signed_codes ? run_lines<Codes<true, true, false>>(block, n) : run_lines<Codes<false, true, false>>(block, n);
    } else {
      signed_codes ? run_lines<Codes<true, false, false>>(block, n) : run_lines<Codes<false, false, false>>(block, n);
    }
  }
  _mm256_zeroupper();  // the caller is compiled without AVX: dirty upper halves would slow its every move
}

}  // namespace

const Kernel kGemmAvx512Vnni = {"avx512_vnni", kRows * kStrips, kPanels * kPanel, false, true, kQuad, run};

}  // namespace frugal
