// AMX (Sapphire Rapids 2023): one instruction multiplies two tiles, 16,384 products and their sums.
//
//            w tile 6   w tile 7            a tile: 16 rows x 64 values of k        1 KiB
//   a tile 4   sum 0      sum 1             w tile: 64 values of k x 16 channels    1 KiB, as packed
//   a tile 5   sum 2      sum 3             sum:    16 rows x 16 channels, int32    1 KiB
//
// A block is 32 rows x 32 columns: four loads feed four multiplications. The bias enters as the first sum: a tile
// load with stride 0 repeats one row 16 times. Fewer rows are a matter of the tile configuration, no masks needed.

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "epilogue_avx512.h"

namespace frugal {
namespace {

constexpr int kRows = 32, kTileRows = 16, kTileBytes = 64;
constexpr int kFewRows = 4;  // below, most of a tile is empty, and VNNI is faster

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

thread_local int configured_rows = -1;

// GCC's tile intrinsics do not say that they read memory: without this, stores before them look useless to it.
inline void finish_stores() { __asm__ volatile("" ::: "memory"); }

void configure(int m) {
  if (m == configured_rows) return;
  TileConfig config;
  const uint8_t top = static_cast<uint8_t>(m < kTileRows ? m : kTileRows);
  const uint8_t bottom = static_cast<uint8_t>(m > kTileRows ? m - kTileRows : kTileRows);
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = kTileBytes;
    config.rows[tile] = kTileRows;
  }
  config.rows[0] = config.rows[1] = config.rows[4] = top;
  config.rows[2] = config.rows[3] = config.rows[5] = bottom;
  finish_stores();
  _tile_loadconfig(&config);
  configured_rows = m;
}

// Tile numbers are part of the instruction, so both kinds of activations are spelled out.
#define FRUGAL_MULTIPLY(sum, a, w) \
  do {                             \
    if (kSigned)                   \
      _tile_dpbssd(sum, a, w);     \
    else                           \
      _tile_dpbusd(sum, a, w);     \
  } while (0)

template <bool kSigned, bool kTwoRows, bool kTwoPanels>
void sums(const Block& block, int32_t* acc) {
  alignas(64) int32_t bias[2 * kPanel] = {};
  if (block.epilogue.bias) memcpy(bias, block.epilogue.bias, sizeof(int32_t) * block.n);
  finish_stores();
  _tile_loadd(0, bias, 0);
  if (kTwoPanels) _tile_loadd(1, bias + kPanel, 0);
  if (kTwoRows) _tile_loadd(2, bias, 0);
  if (kTwoRows && kTwoPanels) _tile_loadd(3, bias + kPanel, 0);

  const int8_t* w = block.weights;
  const ptrdiff_t stride = block.row_stride;
  for (int t = 0; t < block.taps; ++t) {
    const uint8_t* a = block.a + block.tap[t];
    for (int k = 0; k < block.depth; k += kDepth, a += kDepth, w += kDepth * kPanel) {
      _tile_loadd(4, a, stride);
      _tile_loadd(6, w, kTileBytes);
      FRUGAL_MULTIPLY(0, 4, 6);
      if (kTwoPanels) {
        _tile_loadd(7, w + block.panel_stride, kTileBytes);
        FRUGAL_MULTIPLY(1, 4, 7);
      }
      if (kTwoRows) {
        _tile_loadd(5, a + kTileRows * stride, stride);
        FRUGAL_MULTIPLY(2, 5, 6);
        if (kTwoPanels) FRUGAL_MULTIPLY(3, 5, 7);
      }
    }
  }
  constexpr int kRowBytes = kWide * sizeof(int32_t);
  _tile_stored(0, acc, kRowBytes);
  if (kTwoPanels) _tile_stored(1, acc + kPanel, kRowBytes);
  if (kTwoRows) _tile_stored(2, acc + kTileRows * kWide, kRowBytes);
  if (kTwoRows && kTwoPanels) _tile_stored(3, acc + kTileRows * kWide + kPanel, kRowBytes);
}

#undef FRUGAL_MULTIPLY

template <bool kSigned>
void run_block(const Block& block) {
  alignas(64) static thread_local int32_t acc[kRows * kWide];
  const bool two_rows = block.m > kTileRows, two_panels = block.n > kPanel;
  if (two_rows) {
    two_panels ? sums<kSigned, true, true>(block, acc) : sums<kSigned, true, false>(block, acc);
  } else {
    two_panels ? sums<kSigned, false, true>(block, acc) : sums<kSigned, false, false>(block, acc);
  }
  epilogue_avx512(acc, kWide, block);
}

void run(const Block& block) {
  configure(block.m);
  block.a_signed ? run_block<true>(block) : run_block<false>(block);
  _mm256_zeroupper();  // see gemm_avx512_vnni.cpp
}

void begin() { configured_rows = -1; }

void end() {
  _tile_release();  // tiles in use make every task switch save 8 KiB more
  configured_rows = -1;
}

}  // namespace

const Kernel kGemmAmx = {"amx_int8", kRows, kWide, true, true, kDepth, run, nullptr, 0, begin, end,
                         &kGemmAvx512Vnni, kFewRows};

// Linux hands out tile memory per process, on request. It may refuse (an old signal stack, a sandbox): then VNNI runs.
bool amx_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return granted;
}

}  // namespace frugal
