// Matrices of signs: a bit per value, 64 values in a word, one count of bits for 64 products.
//
//   bit 1 is +1, bit 0 is -1:   a·b = +1 where the bits agree, -1 where they differ
//
//     a       +1 -1 -1 +1      1 0 0 1
//     b       +1 +1 -1 -1      1 1 0 0
//     a·b     +1 -1 +1 -1      0 1 0 1  = a xor b, its ones are the -1
//
//   sum of k products = k - 2 * (ones of a xor b)
//
// Weights come in panels of 8 outputs, so that a lane of the widest register is an output and nothing is summed across
// lanes. Bits past k are 0 in both operands: they never differ, so they never count.
//
//   a        [m][words]                 row after row, bit i of a row is bit i % 64 of word i / 64
//   panels   [outputs / 8][words][8]    the first word of 8 outputs, then their second word ...
//
// A plain C interface; kernels/bits.py, which alone calls it, checks sizes and types first.

#ifndef FRUGAL_POPCOUNT_H
#define FRUGAL_POPCOUNT_H

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

// The ways to count that this library was built with, from the widest on; null past the last.
FRUGAL_API const char* frugal_bits_path_name(int path);

// 1: the processor and the operating system allow it; 0: not; -1: no such path.
FRUGAL_API int frugal_bits_path_available(int path);

// y [m, n] = k - 2 * ones(a [m, words] xor panels); words = ceil(k / 64), n outputs in ceil(n / 8) panels.
FRUGAL_API void frugal_bits_gemm(int path, int threads, const uint64_t* a, const uint64_t* panels, int32_t* y, int m,
                                 int n, int k);

// bits [m, words] = (x [m, k] >= 0), rows of x `stride` values apart. 0; or 2 where x holds nan, which has no sign.
FRUGAL_API int frugal_bits_pack(int path, int threads, const float* x, ptrdiff_t stride, uint64_t* bits, int m, int k);

#ifdef __cplusplus
}

namespace frugal {

constexpr int kBitPanel = 8, kWord = 64;

// Counts of `rows` rows (1 to kRows) with one panel: counts[row * kBitPanel + output].
struct BitBlock {
  const uint64_t* a;
  ptrdiff_t stride;  // words from row to row
  const uint64_t* panel;
  int rows, words;
  uint64_t* counts;
};

struct BitKernel {
  const char* name;
  int rows;  // the most in a block
  void (*count)(const BitBlock& block);
  // Signs of k values to bits, the last word filled up with 0; false where one of them is nan.
  bool (*pack)(const float* x, uint64_t* bits, int k);
};

// The definition of pack, for the values that a wider loop leaves over, and where there is no wider loop.
bool pack_signs(const float* x, uint64_t* bits, int k);

extern const BitKernel kBitsAvx512, kBitsAvx2, kBitsNeon, kBitsScalar;

}  // namespace frugal
#endif

#endif
