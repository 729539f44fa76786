// Products with a sparse matrix, float32: y = x Wᵀ + bias, where only some values of W are stored.
//
//   CSR       single values         row after row: values, and the column of each
//   2:4       2 of every 4 columns  all rows alike: values, and 2 bits for the place of each
//   blocks    16 outputs x 1 input  panel after panel of 16 outputs: 16 values, and their column
//
// Rows of x are what lanes are: a value of W, broadcast, meets the same column of 16 rows of x. No pattern of zeros then
// leaves a lane idle. For this the rows are laid out anew, once for all outputs, as strips:
//
//   x       [m][in]                              row after row
//   strip   [in][rows of the strip]              a column of x is a few registers that lie side by side
//
// One to three rows do not fill lanes; there the lanes are values (CSR, 2:4) or outputs (blocks).
//
// A plain C interface; kernels/sparse.py, which alone calls it, checks sizes, types and columns first.

#ifndef FRUGAL_SPARSE_H
#define FRUGAL_SPARSE_H

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FRUGAL_SPARSE_CSR, FRUGAL_SPARSE_TWO_FOUR, FRUGAL_SPARSE_BLOCKS };

// W [out, in].
//   tile     columns that are read together, so that the nearest cache holds them for 16 outputs; a multiple of 32
//   CSR      values, columns [kept], columns rising in each row; tile t of row o from starts[o * tiles + t] to before the
//            next of starts [out * tiles + 1], tiles = ceil(in / tile)
//   2:4      values [out][words][16], places [out][words], words = ceil(in / 32): value i of a word stands in column
//            4 * (i / 2) + (places >> 2 * i & 3) of its 32; what lies past `in` is 0
//   blocks   values [starts[panels]][16], columns [starts[panels]]; panel p from starts[p] to before starts[p + 1]
typedef struct {
  int kind, out, in, tile;
  const float* values;
  const int16_t* columns;
  const uint32_t* places;
  const int32_t* starts;
} FrugalSparse;

// The ways to multiply that this library was built with, from the widest on; null past the last.
FRUGAL_API const char* frugal_sparse_path_name(int path);

// 1: the processor and the operating system allow it; 0: not; -1: no such path.
FRUGAL_API int frugal_sparse_path_available(int path);

// Floats of scratch that a product of m rows with `in` columns needs on so many threads.
FRUGAL_API int64_t frugal_sparse_scratch(int threads, int m, int in);

// y [m, out] = x [m, in] Wᵀ + bias; rows of x and y so many values apart, bias [ceil(out / 16) * 16].
FRUGAL_API void frugal_sparse_multiply(int path, int threads, const FrugalSparse* w, const float* bias, const float* x,
                                       ptrdiff_t x_stride, float* scratch, float* y, ptrdiff_t y_stride, int m);

#ifdef __cplusplus
}

namespace frugal {

constexpr int kSparsePanel = 16;    // outputs that are computed together
constexpr int kSparseWord = 32;     // columns that a word of places speaks of
constexpr int kSparseVectors = 3;   // registers that a strip is wide, at most
constexpr int kMostSparseLanes = 16;

// Part of y: a panel of outputs for some rows.
struct SparseOutput {
  float* y;
  ptrdiff_t stride;
  int rows;
};

struct SparseKernel {
  const char* name;
  int lanes;
  // strip [in, filled up to whole words][rows, filled up to whole registers] from 1 to lanes * kSparseVectors rows.
  void (*pack)(const float* x, ptrdiff_t stride, int rows, int in, float* strip);
  void (*multiply_strip)(const FrugalSparse& w, const float* bias, int panel, const float* strip, SparseOutput out);
  void (*multiply_row)(const FrugalSparse& w, const float* bias, int panel, const float* x, float* y);
};

// static: every file has its own, and none is compiled for instructions that some processors lack.
static inline constexpr int filled_up(int count, int unit) { return (count + unit - 1) / unit * unit; }

extern const SparseKernel kSparseAvx512, kSparseAvx2, kSparseNeon, kSparseScalar;

}  // namespace frugal
#endif

#endif
