// What every kernel agrees on: how weights are packed, where a row of activations is found, what happens to a sum.
//
// Weights, one layout for all instruction sets. Panels of 16 output channels; inside a panel k runs in quads:
//
//   panel 0                                              panel 1 ...
//   k = 0..3                        k = 4..7
//   [c0: k0 k1 k2 k3][c1: k0..k3]...[c15: k0..k3]        one quad row is 64 bytes:
//                                                        one vpdpbusd operand, four SDOT operands;
//   16 quad rows are 64 x 16 weights, 1 KiB: one AMX tile.
//
// k is padded with zero weights to a multiple of 64 (per tap), channels to a multiple of 16. So a kernel may read
// activations past the end of k: they meet a zero weight.
//
// Activations, one view for matrices and convolutions. A convolution is a sum over taps, and each tap is a matrix
// whose rows lie at a constant distance (see conv.cpp):
//
//   row m of tap t starts at  a + tap[t] + m * row_stride        a matrix has the one tap 0
//
// Functions in this header are static, and files for wide instructions use no templates of the standard library: the
// linker keeps one copy of a shared inline function, and it must not be one that only some processors can run.

#ifndef FRUGAL_FORMAT_H
#define FRUGAL_FORMAT_H

#include <stddef.h>
#include <stdint.h>

namespace frugal {

constexpr int kPanel = 16;   // output channels in a panel
constexpr int kDepth = 64;   // k is padded to a multiple of this
constexpr int kQuad = 4;     // neighbours in k that one instruction sums

static constexpr int round_up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }

enum class Output : int { kS32 = 0, kU8 = 1, kS8 = 2, kF32 = 3 };

static constexpr int bytes_of(Output output) { return output == Output::kS32 || output == Output::kF32 ? 4 : 1; }

// What happens to the sum of an output channel n, in this order and with these roundings on every path:
//
//   acc = sum + bias[n]                                                    int32
//   s32                      y = acc
//   f32                      y = float(acc) * scale[n]                     one rounding each
//   u8, s8 with scale        r = float(acc) * scale[n]                     then, where there is a residual:
//                            r = r + float(residual - residual_zero_point) * residual_scale
//                            y = round_half_to_even(clamp(r, low - zero_point, high - zero_point)) + zero_point
//   u8, s8 with multiplier   y = clamp(round_half_up(acc * multiplier[n] / 2^(31 + shift[n])) + zero_point, low, high)
//                            in 64-bit integers: [19] equation (6)
//
// float(acc) rounds once above 2^24. No fused multiply-add: two roundings are what torch does, and every path repeats.
struct Epilogue {
  const int32_t* bias = nullptr;  // [n]; null: zeros
  const float* scale = nullptr;   // [n]
  const int32_t* multiplier = nullptr;
  const int32_t* shift = nullptr;
  int32_t zero_point = 0, low = 0, high = 0;
  Output output = Output::kS32;
  const uint8_t* residual = nullptr;  // of the output's type and shape, or null
  ptrdiff_t residual_stride = 0;
  float residual_scale = 0;
  int32_t residual_zero_point = 0;
};

// The epilogue of the channels from n on.
static inline Epilogue epilogue_from(Epilogue e, int n) {
  if (e.bias) e.bias += n;
  if (e.scale) e.scale += n;
  if (e.multiplier) e.multiplier += n, e.shift += n;
  if (e.residual) e.residual += n;
  return e;
}

// The work of one kernel call: at most Kernel::rows rows of outputs, any number of columns. The caller keeps a block in
// one place until it calls Kernel::end.
struct Block {
  const uint8_t* a = nullptr;  // s8 or u8
  ptrdiff_t row_stride = 0;
  const ptrdiff_t* tap = nullptr;
  int taps = 1;
  int depth = 0;  // k of one tap
  bool a_signed = false;

  const int8_t* weights = nullptr;  // the first panel
  ptrdiff_t panel_stride = 0;
  bool weights_far = false;  // no block has read them in this call: they may come from memory

  void* y = nullptr;
  ptrdiff_t y_stride = 0;           // in elements
  const int32_t* y_rows = nullptr;  // output row of block row i is y_rows[i], -1 drops it; null: i
  int m = 0, n = 0;
  Epilogue epilogue;
};

static inline ptrdiff_t output_row(const Block& block, int i) { return block.y_rows ? block.y_rows[i] : i; }

// The part of a block from column n on, at most `columns` wide.
static inline Block block_from(Block block, int n, int columns) {
  block.n = block.n - n < columns ? block.n - n : columns;
  block.weights += n / kPanel * block.panel_stride;
  block.y = static_cast<char*>(block.y) + ptrdiff_t{n} * bytes_of(block.epilogue.output);
  block.epilogue = epilogue_from(block.epilogue, n);
  return block;
}

// Some rows of a block.
static inline Block block_rows(Block block, int first, int m) {
  block.m = m;
  block.a += first * block.row_stride;
  if (block.y_rows) {
    block.y_rows += first;
  } else {
    block.y = static_cast<char*>(block.y) + first * block.y_stride * bytes_of(block.epilogue.output);
    if (block.epilogue.residual) block.epilogue.residual += first * block.epilogue.residual_stride;
  }
  return block;
}

// Runs a block in parts of at most `columns`, a multiple of 16.
template <class Run>
static inline void by_columns(const Block& block, int columns, const Run& run) {
  if (block.n <= columns) return run(block);
  for (int n = 0; n < block.n; n += columns) run(block_from(block, n, columns));
}

// One instruction set's way to fill a block.
struct Kernel {
  const char* name;
  int rows, columns;  // that it fills best at once
  // Which activations the instructions take as they are. The others get their top bit flipped in registers, which
  // moves them by 128; the driver takes 128 * (sum of weights) out of the bias.
  bool takes_signed, takes_unsigned;
  int overread;  // it reads rows in steps of this many bytes
  void (*run)(const Block&);
  // Optional: copy the rows of a block into the form the kernel wants, bytes_per_value each, in order
  // [tap][depth / 4][rows][4]. Then Block::a points there.
  void (*copy_rows)(const Block&, void* out) = nullptr;
  int bytes_per_value = 0;
  // Optional: called by a thread before its first and after its last block.
  void (*begin)() = nullptr;
  void (*end)() = nullptr;
  // Optional: the kernel that does fewer rows than few_rows faster.
  const Kernel* for_few_rows = nullptr;
  int few_rows = 0;
};

extern const Kernel kGemmScalar;
extern const Kernel kGemmAvx2;
extern const Kernel kGemmAvxVnni;
extern const Kernel kGemmAvx512Vnni;
extern const Kernel kGemmAmx;
extern const Kernel kGemmI8mm;
extern const Kernel kGemmDotprod;

}  // namespace frugal

#endif
