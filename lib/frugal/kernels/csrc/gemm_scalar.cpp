// The definition: one product at a time, in C++ that any compiler takes. Every other path equals it bit for bit.
//
//   acc[i][n] = bias[n] + sum over taps t and k of  a[t][i][k] * w[n][t][k]

#include "epilogue_scalar.h"

namespace frugal {
namespace {

constexpr int kRows = 4;

void run_block(const Block& block) {
  int32_t acc[kRows][kPanel];
  for (int i = 0; i < block.m; ++i) {
    for (int n = 0; n < kPanel; ++n) acc[i][n] = block.epilogue.bias && n < block.n ? block.epilogue.bias[n] : 0;
  }
  const int8_t* weights = block.weights;
  for (int t = 0; t < block.taps; ++t, weights += ptrdiff_t{round_up(block.depth, kDepth)} * kPanel) {
    for (int k = 0; k < block.depth; ++k) {
      const int8_t* w = weights + k / kQuad * kQuad * kPanel + k % kQuad;  // channel n: w[n * kQuad]
      for (int i = 0; i < block.m; ++i) {
        const uint8_t byte = block.a[block.tap[t] + i * block.row_stride + k];
        const int a = block.a_signed ? static_cast<int8_t>(byte) : byte;
        for (int n = 0; n < kPanel; ++n) acc[i][n] += a * w[n * kQuad];
      }
    }
  }
  epilogue_scalar(&acc[0][0], kPanel, block);
}

void run(const Block& block) { by_columns(block, kPanel, run_block); }

}  // namespace

const Kernel kGemmScalar = {"scalar", kRows, kPanel, true, true, 1, run};

}  // namespace frugal
