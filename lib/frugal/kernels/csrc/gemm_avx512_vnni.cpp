// AVX-512 VNNI (Cascade Lake 2019, Zen 4 2022): one instruction does 64 products and 16 sums.
//
//   vpdpbusd   lane 0                   lane 1         ...  lane 15
//     a (u8)   a0 a1 a2 a3              a0 a1 a2 a3         a0 a1 a2 a3      four values of one row, broadcast
//     w (s8)   c0: k0 k1 k2 k3          c1: k0..k3          c15: k0..k3      one quad row of a panel
//   acc (s32)  += a0k0+a1k1+a2k2+a3k3   += ...              += ...
//
// A block is 6 rows x 4 panels: 24 sums, 4 weights and 2 activations fill the 32 registers. The first operand is
// unsigned: signed activations get their top bit flipped, a ^ 0x80 = a + 128.

#include <string.h>

#include "epilogue_avx512.h"

namespace frugal {
namespace {

constexpr int kRows = 6, kPanels = 4;

inline __m512i broadcast_quad(const uint8_t* a) {
  int32_t quad;
  memcpy(&quad, a, sizeof quad);
  return _mm512_set1_epi32(quad);
}

// A row of sums, filled up to whole pairs of panels: the epilogue reads 32 at a time.
constexpr int row_of_sums(int panels) { return (panels + panels % 2) * kPanel; }

template <int kM, int kN, bool kFlip>
void sums(const Block& block, int32_t* out) {
  __m512i acc[kM][kN];
  for (int j = 0; j < kN; ++j) {
    __m512i bias = _mm512_setzero_si512();
    if (block.epilogue.bias) {
      bias = _mm512_maskz_loadu_epi32(first(block.n - kPanel * j), block.epilogue.bias + kPanel * j);
    }
    for (int i = 0; i < kM; ++i) acc[i][j] = bias;
  }
  const __m512i top_bit = _mm512_set1_epi8(static_cast<char>(0x80));
  const ptrdiff_t stride = block.row_stride;
  const int8_t* tap_weights = block.weights;
  for (int t = 0; t < block.taps; ++t, tap_weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    const uint8_t* a = block.a + block.tap[t];
    const uint8_t* a3 = a + 3 * stride;  // two pointers reach six rows with one multiplied index
    const int8_t* w = tap_weights;
    for (int k = 0; k < block.depth; k += kQuad, a += kQuad, a3 += kQuad, w += kQuad * kPanel) {
      __m512i weights[kN];
      for (int j = 0; j < kN; ++j) weights[j] = _mm512_load_si512(w + j * block.panel_stride);
      for (int i = 0; i < kM; ++i) {
        __m512i quad = broadcast_quad(i < 3 ? a + i * stride : a3 + (i - 3) * stride);
        if (kFlip) quad = _mm512_xor_si512(quad, top_bit);
        for (int j = 0; j < kN; ++j) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], quad, weights[j]);
      }
    }
  }
  for (int i = 0; i < kM; ++i) {
    for (int j = 0; j < kN; ++j) _mm512_store_si512(out + i * row_of_sums(kN) + j * kPanel, acc[i][j]);
  }
}

template <int kM, int kN, bool kFlip>
void run_panels(const Block& block) {
  alignas(64) int32_t acc[(kM + kM % 2) * row_of_sums(kN)];  // and rows in pairs
  sums<kM, kN, kFlip>(block, acc);
  for (int n = 0; n < block.n; n += kWide) {
    epilogue_avx512(acc + n, row_of_sums(kN), block, n);
  }
}

template <int kM, bool kFlip>
void run_rows(const Block& block) {
  switch ((block.n + kPanel - 1) / kPanel) {
    case 4: return run_panels<kM, 4, kFlip>(block);
    case 3: return run_panels<kM, 3, kFlip>(block);
    case 2: return run_panels<kM, 2, kFlip>(block);
    default: return run_panels<kM, 1, kFlip>(block);
  }
}

template <bool kFlip>
void run_block(const Block& block) {
  switch (block.m) {
    case 6: return run_rows<6, kFlip>(block);
    case 5: return run_rows<5, kFlip>(block);
    case 4: return run_rows<4, kFlip>(block);
    case 3: return run_rows<3, kFlip>(block);
    case 2: return run_rows<2, kFlip>(block);
    default: return run_rows<1, kFlip>(block);
  }
}

void run(const Block& block) {
  by_columns(block, kPanels * kPanel, block.a_signed ? run_block<true> : run_block<false>);
  _mm256_zeroupper();  // the caller is compiled without AVX: dirty upper halves would slow its every move
}

}  // namespace

const Kernel kGemmAvx512Vnni = {"avx512_vnni", kRows, kPanels * kPanel, false, true, kQuad, run};

}  // namespace frugal
