// AMX (Sapphire Rapids 2023): one instruction multiplies two tiles, 16,384 products and their sums.
//
//            w tile 6   w tile 7            a tile: 16 rows x 64 values of k        1 KiB
//   a tile 4   sum 0      sum 1             w tile: 64 values of k x 16 channels    1 KiB, as packed
//   a tile 5   sum 2      sum 3             sum:    16 rows x 16 channels, int32    1 KiB
//
// A block is 32 rows x 32 columns: four loads feed four multiplications. The bias enters as the first sum: a tile
// load with stride 0 repeats one row 16 times. Fewer rows are a matter of the tile configuration, no masks needed.
//
// Two units take turns in vain. Sums leave tiles only through memory, and then 1,024 of them become codes: about 160
// cycles of vector instructions, while the tile unit would idle; a block with k = 64 keeps that one busy for 64.
// So the codes of a block are made while the next block is multiplied, a few rows after every step in k:
//
//   tiles     block 0   store  block 1   store  block 2   store
//   vectors                    codes 0          codes 1          codes 2
//
// Two blocks side by side wait for each other and fill whole cache lines with codes: writing half a line at a time
// costs much more where the output is not in a cache.
//
// Raw sums need no vectors at all: tiles are stored into the output.
//
// Four loads feed 64 cycles of multiplication: 64 bytes in each, where the second-level cache gives 48. So the rows of
// a block should stay in the first-level cache while weights stream past. Where the rows fill half of it, weights are
// loaded with a hint that keeps them out of it; where it is the weights that would fit, the rows are. Where rows do not
// fit, k is cut into spans, each of which meets all columns before the next, and the sums in between wait in memory;
// but not where weights come from afar: there one long read of each panel is what counts.

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "epilogue_avx512.h"

namespace frugal {
namespace {

constexpr int kRows = 32, kTileRows = 16, kTileBytes = 64;
constexpr int kFewRows = 4;  // below, most of a tile is empty, and VNNI is faster
constexpr int kLine = 2 * kWide;  // columns: a cache line of codes
constexpr int kRowBytes = kWide * sizeof(int32_t), kLineBytes = kLine * sizeof(int32_t);

constexpr int kRowsLarge = 24 << 10, kRowsFit = 48 << 10;  // bytes: half of the first-level cache, and all of it
constexpr int kRowsSpan = 40 << 10;                        // the most that a span of k should hold
constexpr int kWeightsFit = 40 << 10;                      // the same for all weights of a narrow layer
constexpr int kSameSet = 2048;  // bytes: rows so far apart meet in two sets of that cache, and few of them stay
constexpr int kAhead = 4096;  // bytes of weights that are asked for before they are needed
constexpr int kPartialColumns = 512;                       // of a block whose k is cut

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_per_row[16] = {};
  uint8_t rows[16] = {};
};

// A part whose sums are complete, in Thread::acc, and whose codes are not yet made.
struct Waiting {
  Outputs to;
  bool waits = false;
  bool lines = false;  // two parts side by side, 64 columns
};

// What a thread keeps from block to block.
struct alignas(64) Thread {
  int32_t acc[kRows * kLine];  // the last part's sums, or those of the last two side by side
  Waiting waiting;
  int configured_rows = -1, configured_depth = -1;
  int32_t partial[kRows * kPartialColumns];  // sums of the spans so far, part by part
};

thread_local Thread this_thread;

// GCC's tile intrinsics do not say that they read and write memory: without this, loads and stores move across them.
inline void memory_fence() { __asm__ volatile("" ::: "memory"); }

// Tiles for m rows and a step of `depth`. A depth below 64 leaves out what would only meet weights of zero: rows of
// activations that lie close together are then read once, not several times.
void configure(int m, int depth, Thread& thread) {
  const int step = depth < kDepth ? round_up(depth, kQuad) : kDepth;
  if (m == thread.configured_rows && step == thread.configured_depth) return;
  TileConfig config;
  const uint8_t top = static_cast<uint8_t>(m < kTileRows ? m : kTileRows);
  const uint8_t bottom = static_cast<uint8_t>(m > kTileRows ? m - kTileRows : kTileRows);
  for (int tile = 0; tile < 8; ++tile) {
    config.bytes_per_row[tile] = kTileBytes;
    config.rows[tile] = kTileRows;
  }
  config.rows[0] = config.rows[1] = config.rows[4] = top;
  config.rows[2] = config.rows[3] = config.rows[5] = bottom;
  config.bytes_per_row[4] = config.bytes_per_row[5] = static_cast<uint16_t>(step);
  config.rows[6] = config.rows[7] = static_cast<uint8_t>(step / kQuad);
  memory_fence();
  _tile_loadconfig(&config);
  thread.configured_rows = m;
  thread.configured_depth = step;
}

// Tile numbers are part of the instruction, so both kinds of activations and of loads are spelled out.
#define FRUGAL_MULTIPLY(sum, a, w) \
  do {                             \
    if (kSigned)                   \
      _tile_dpbssd(sum, a, w);     \
    else                           \
      _tile_dpbusd(sum, a, w);     \
  } while (0)

// One multiplication of a block: the columns from n on, over a span of k.
struct Part {
  const Block& block;
  bool two_rows, two_panels;
  bool stream_weights, stream_rows;  // keep these out of the first-level cache
  bool reuse_a;                      // the tiles of activations still hold all that there is
  int n;
  int k, k_end;  // of every tap
  bool lines;    // one of two parts whose codes fill lines
  int32_t* partial;  // null where k is whole

  int steps() const { return block.taps * ((k_end - k + kDepth - 1) / kDepth); }
  bool first_span() const { return k == 0; }
  bool last_span() const { return k_end == block.depth; }
};

// stream: leave the first-level cache to others.
#define FRUGAL_LOAD(tile, from, row_bytes, stream)  \
  do {                                              \
    if (stream)                                     \
      _tile_stream_loadd(tile, from, row_bytes);    \
    else                                            \
      _tile_loadd(tile, from, row_bytes);           \
  } while (0)

inline void load_bias(const Part& part) {
  alignas(64) int32_t padded[2 * kPanel];
  const int32_t* bias = part.block.epilogue.bias;
  const int left = part.block.n - part.n;
  if (bias && left >= 2 * kPanel) {
    bias += part.n;
  } else {
    memset(padded, 0, sizeof padded);
    if (bias) memcpy(padded, bias + part.n, sizeof(int32_t) * left);
    bias = padded;
  }
  memory_fence();
  _tile_loadd(0, bias, 0);
  if (part.two_panels) _tile_loadd(1, bias + kPanel, 0);
  if (part.two_rows) _tile_loadd(2, bias, 0);
  if (part.two_rows && part.two_panels) _tile_loadd(3, bias + kPanel, 0);
}

inline void load_partial(const Part& part) {
  _tile_loadd(0, part.partial, kRowBytes);
  if (part.two_panels) _tile_loadd(1, part.partial + kPanel, kRowBytes);
  if (part.two_rows) _tile_loadd(2, part.partial + kTileRows * kWide, kRowBytes);
  if (part.two_rows && part.two_panels) _tile_loadd(3, part.partial + kTileRows * kWide + kPanel, kRowBytes);
}

// Ask for the weights that come kAhead bytes later, of both panels: what fetches by itself stops at the end of a page.
inline void fetch_ahead(const int8_t* w, ptrdiff_t panel_stride) {
  for (int line = 0; line < kDepth * kPanel; line += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(w + kAhead + line), _MM_HINT_T1);
    if (panel_stride) _mm_prefetch(reinterpret_cast<const char*>(w + panel_stride + kAhead + line), _MM_HINT_T1);
  }
}

// The sums of a part, into tiles. After every step in k it calls between().
template <bool kSigned, class Between>
FRUGAL_ALWAYS_INLINE void multiply(const Part& part, Between between) {
  const Block& block = part.block;
  const bool two_rows = part.two_rows, two_panels = part.two_panels, reuse_a = part.reuse_a;
  const bool stream_weights = part.stream_weights, stream_rows = part.stream_rows;
  const int k_end = part.k_end, taps = block.taps;
  const ptrdiff_t stride = block.row_stride, panel_stride = block.panel_stride;
  const bool far = block.weights_far && panel_stride > kAhead;
  const int8_t* w = block.weights + part.n / kPanel * panel_stride + part.k * kPanel;
  part.first_span() ? load_bias(part) : load_partial(part);
  for (int t = 0; t < taps; ++t) {
    const uint8_t* a = block.a + block.tap[t] + part.k;
    for (int k = part.k; k < k_end; k += kDepth, a += kDepth, w += kDepth * kPanel) {
      if (far) fetch_ahead(w, two_panels ? panel_stride : 0);
      if (!reuse_a) FRUGAL_LOAD(4, a, stride, stream_rows);
      FRUGAL_LOAD(6, w, kTileBytes, stream_weights);
      FRUGAL_MULTIPLY(0, 4, 6);
      if (two_rows) {
        if (!reuse_a) FRUGAL_LOAD(5, a + kTileRows * stride, stride, stream_rows);
        FRUGAL_MULTIPLY(2, 5, 6);
      }
      if (two_panels) {
        FRUGAL_LOAD(7, w + panel_stride, kTileBytes, stream_weights);
        FRUGAL_MULTIPLY(1, 4, 7);
        if (two_rows) FRUGAL_MULTIPLY(3, 5, 7);
      }
      between();
    }
  }
}

// The same, and between its steps the codes of the part that waits.
template <bool kSigned, class Kind, bool kLines>
void multiply_and_write(const Part& part, const Thread& thread) {
  const Outputs& to = thread.waiting.to;
  const Quantizer q = prepare(to, 0), right = prepare(to, kLines ? kWide : 0);
  const int32_t* acc = thread.acc;
  const int m = to.m, steps = part.steps(), rows_per_step = ((m + 1) / 2 + steps - 1) / steps * 2;
  int row = 0;
  multiply<kSigned>(part, [&] {
    const int end = row + rows_per_step < m ? row + rows_per_step : m;
    if constexpr (kLines) {
      write_lines<Kind>(acc, kLine, to, q, right, row, end);
    } else {
      write_rows<Kind>(acc, kLine, to, q, row, end);
    }
    row = end;
  });
}

#undef FRUGAL_MULTIPLY
#undef FRUGAL_LOAD

// Tiles out to memory whose rows lie row_bytes apart.
inline void store(const Part& part, int32_t* to, ptrdiff_t row_bytes) {
  int32_t* below = reinterpret_cast<int32_t*>(reinterpret_cast<char*>(to) + kTileRows * row_bytes);
  _tile_stored(0, to, row_bytes);
  if (part.two_panels) _tile_stored(1, to + kPanel, row_bytes);
  if (part.two_rows) _tile_stored(2, below, row_bytes);
  if (part.two_rows && part.two_panels) _tile_stored(3, below + kPanel, row_bytes);
  memory_fence();
}

template <bool kSigned, class Kind>
void multiply_and_write(const Part& part, const Thread& thread) {
  thread.waiting.lines ? multiply_and_write<kSigned, Kind, true>(part, thread)
                       : multiply_and_write<kSigned, Kind, false>(part, thread);
}

template <bool kSigned>
void multiply_and_finish(const Part& part, const Thread& thread) {
  const Waiting& waiting = thread.waiting;
  if (!waiting.waits) return multiply<kSigned>(part, [] {});
  const bool signed_codes = waiting.to.epilogue->output == Output::kS8;
  if (waiting.to.residual) {
    signed_codes ? multiply_and_write<kSigned, Codes<true, true, false>>(part, thread)
                 : multiply_and_write<kSigned, Codes<false, true, false>>(part, thread);
  } else {
    signed_codes ? multiply_and_write<kSigned, Codes<true, false, false>>(part, thread)
                 : multiply_and_write<kSigned, Codes<false, false, false>>(part, thread);
  }
}

void run_part(const Part& part, Thread& thread) {
  const Block& block = part.block;
  const Epilogue& e = block.epilogue;
  block.a_signed ? multiply_and_finish<true>(part, thread) : multiply_and_finish<false>(part, thread);
  thread.waiting.waits = false;
  if (!part.last_span()) return store(part, part.partial, kRowBytes);
  const bool whole_panels = block.n - part.n >= kWide || block.n % kPanel == 0;
  if (e.output == Output::kS32 && !block.y_rows && whole_panels) {
    return store(part, static_cast<int32_t*>(block.y) + part.n, block.y_stride * ptrdiff_t{sizeof(int32_t)});
  }
  const bool right = part.lines && part.n % kLine != 0;
  store(part, thread.acc + (right ? kWide : 0), kLineBytes);
  if (part.lines && !right) return;  // its codes are made with those of its neighbour
  if ((e.output == Output::kU8 || e.output == Output::kS8) && !e.multiplier) {
    set_outputs(thread.waiting.to, block, 0, block.m, right ? part.n - kWide : part.n);
    thread.waiting.lines = right;
    thread.waiting.waits = right || fits_int32(thread.waiting.to);
  }
  if (!thread.waiting.waits) epilogue_avx512(thread.acc, kLine, block, 0, block.m, part.n);
}

// How many bytes of activations a block reads; the taps of a convolution mostly read the same.
int row_bytes_near(const Block& block) {
  const ptrdiff_t tap_bytes = ptrdiff_t{block.m} * round_up(block.depth, kDepth);
  ptrdiff_t bytes = tap_bytes;
  for (int t = 1; t < block.taps; ++t) {
    const ptrdiff_t step = block.tap[t] - block.tap[t - 1], apart = step < 0 ? -step : step;
    bytes += apart < tap_bytes ? apart : tap_bytes;
  }
  return bytes < (1 << 30) ? static_cast<int>(bytes) : 1 << 30;
}

// Whether the 64 columns from n on are there and become codes.
bool may_fill_lines(const Block& block, int n) {
  const Epilogue& e = block.epilogue;
  if (block.n - n < kLine || e.multiplier) return false;
  if (e.output != Output::kU8 && e.output != Output::kS8) return false;
  Outputs left, right;
  set_outputs(left, block, 0, block.m, n);
  set_outputs(right, block, 0, block.m, n + kWide);
  return fits_int32(left) && fits_int32(right);
}

void run(const Block& block) {
  Thread& thread = this_thread;
  configure(block.m, block.depth, thread);
  const int near = row_bytes_near(block);
  const bool collide = block.row_stride % kSameSet == 0;
  const bool cut = near > kRowsFit && block.taps == 1 && block.n <= kPartialColumns && !block.weights_far && !collide;
  const int spans = cut ? (near + kRowsSpan - 1) / kRowsSpan : 1;
  const int span = round_up((block.depth + spans - 1) / spans, kDepth);
  const ptrdiff_t weights = block.n * ptrdiff_t{round_up(block.depth, kDepth)} * block.taps;
  Part part{block, block.m > kTileRows, true, false, false, false, 0, 0, 0, false, nullptr};
  part.stream_weights = near / spans >= kRowsLarge && near / spans <= kRowsFit;
  part.stream_rows = block.taps == 1 && weights <= kWeightsFit && weights + near > kWeightsFit;
  for (; part.k < block.depth; part.k = part.k_end) {
    part.k_end = part.k + span < block.depth ? part.k + span : block.depth;
    for (part.n = 0; part.n < block.n; part.n += kWide) {
      part.two_panels = block.n - part.n > kPanel;
      if (part.n % kLine == 0) part.lines = may_fill_lines(block, part.n);
      part.partial = thread.partial + (cut ? part.n * kRows : 0);
      run_part(part, thread);
      part.reuse_a = block.taps == 1 && block.depth <= kDepth;
    }
  }
  _mm256_zeroupper();  // see gemm_avx512_vnni.cpp
}

void begin() {
  this_thread.configured_rows = -1;
  this_thread.waiting.waits = false;
}

void end() {
  Waiting& waiting = this_thread.waiting;
  if (waiting.waits) write_any_codes<false>(this_thread.acc, kLine, waiting.to);
  if (waiting.waits && waiting.lines) {
    Outputs& to = waiting.to;
    to.scale += kWide, to.y += kWide;
    if (to.residual) to.residual += kWide;
    write_any_codes<false>(this_thread.acc + kWide, kLine, to);
  }
  waiting.waits = false;
  _tile_release();  // tiles in use make every task switch save 8 KiB more
  _mm256_zeroupper();
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
