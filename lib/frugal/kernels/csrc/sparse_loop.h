// The loops of sparse products, for any width of register. Included by one file per instruction set, which says what a
// register can do:
//
//   struct Lanes {
//     using Register = ...;
//     static constexpr int kLanes;        floats in a register
//     static constexpr bool kManyRegisters;   32 rather than 16
//     static Register zero(), all(float), load(const float*), add(a, b), fma(a, b, sum);  static void store(float*, a);
//     static void transpose(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch);   kLanes x kLanes
//     static float dot(const float* values, const int16_t* columns, int count, const float* x);
//     static float dot_two_four(const float* values, const uint32_t* places, int words, const float* x);
//     static void done();                 called before control returns to code for narrower registers
//   };

#include <string.h>

#include "sparse.h"

namespace frugal {
namespace {

inline int outputs_of(const FrugalSparse& w, int panel) {
  const int left = w.out - panel * kSparsePanel;
  return left < kSparsePanel ? left : kSparsePanel;
}

inline int tiles_of(const FrugalSparse& w) { return (w.in + w.tile - 1) / w.tile; }

// ---- single rows of x ------------------------------------------------------------------------------------------------

template <class L>
void row_by_blocks(const FrugalSparse& w, const float* bias, int panel, const float* x, float* sums) {
  using R = typename L::Register;
  constexpr int kParts = kSparsePanel / L::kLanes, kChains = kParts > 2 ? 2 : 4;
  R acc[kChains][kParts];
  for (int p = 0; p < kParts; ++p) acc[0][p] = L::load(bias + panel * kSparsePanel + p * L::kLanes);
  for (int c = 1; c < kChains; ++c) {
    for (int p = 0; p < kParts; ++p) acc[c][p] = L::zero();
  }
  const auto add = [&](int chain, int block) {
    const R input = L::all(x[w.columns[block]]);
    const float* values = w.values + ptrdiff_t{block} * kSparsePanel;
    for (int p = 0; p < kParts; ++p) acc[chain][p] = L::fma(input, L::load(values + p * L::kLanes), acc[chain][p]);
  };
  int block = w.starts[panel];
  for (; block + kChains <= w.starts[panel + 1]; block += kChains) {
    for (int c = 0; c < kChains; ++c) add(c, block + c);
  }
  for (; block < w.starts[panel + 1]; ++block) add(0, block);
  for (int p = 0; p < kParts; ++p) {
    for (int c = 1; c < kChains; ++c) acc[0][p] = L::add(acc[0][p], acc[c][p]);
    L::store(sums + p * L::kLanes, acc[0][p]);
  }
}

template <class L>
float row_two_four(const FrugalSparse& w, int output, const float* x) {
  const int whole = w.in / kSparseWord, words = filled_up(w.in, kSparseWord) / kSparseWord;
  const float* values = w.values + ptrdiff_t{output} * words * kSparseWord / 2;
  const uint32_t* places = w.places + ptrdiff_t{output} * words;
  float sum = L::dot_two_four(values, places, whole, x);
  if (whole < words) {  // the last word reads 32 columns: from a copy, as x ends before
    float rest[kSparseWord] = {};
    memcpy(rest, x + whole * kSparseWord, sizeof(float) * static_cast<size_t>(w.in - whole * kSparseWord));
    sum += L::dot_two_four(values + whole * (kSparseWord / 2), places + whole, 1, rest);
  }
  return sum;
}

template <class L>
void multiply_row(const FrugalSparse& w, const float* bias, int panel, const float* x, float* y) {
  float sums[kSparsePanel];
  const int outputs = outputs_of(w, panel), first = panel * kSparsePanel;
  if (w.kind == FRUGAL_SPARSE_BLOCKS) {
    row_by_blocks<L>(w, bias, panel, x, sums);
  } else {
    const int tiles = tiles_of(w);
    for (int j = 0; j < outputs; ++j) {
      float dot;
      if (w.kind == FRUGAL_SPARSE_CSR) {
        const int32_t* row = w.starts + ptrdiff_t{first + j} * tiles;
        dot = L::dot(w.values + row[0], w.columns + row[0], row[tiles] - row[0], x);
      } else {
        dot = row_two_four<L>(w, first + j, x);
      }
      sums[j] = bias[first + j] + dot;
    }
  }
  memcpy(y, sums, sizeof(float) * static_cast<size_t>(outputs));
  L::done();
}

// ---- strips: many rows of x ------------------------------------------------------------------------------------------

template <class L>
void pack(const float* x, ptrdiff_t stride, int rows, int in, float* strip) {
  const int pitch = filled_up(rows, L::kLanes);
  for (int first = 0; first < rows; first += L::kLanes) {
    const int live = rows - first < L::kLanes ? rows - first : L::kLanes;
    const float* from = x + first * stride;
    int k = 0;
    if (live == L::kLanes) {
      for (; k + L::kLanes <= in; k += L::kLanes) {
        L::transpose(from + k, stride, strip + ptrdiff_t{k} * pitch + first, pitch);
      }
    }
    for (; k < in; ++k) {
      float* to = strip + ptrdiff_t{k} * pitch + first;
      for (int i = 0; i < live; ++i) to[i] = from[i * stride + k];
      for (int i = live; i < L::kLanes; ++i) to[i] = 0;
    }
  }
  memset(strip + ptrdiff_t{in} * pitch, 0, sizeof(float) * static_cast<size_t>(filled_up(in, kSparseWord) - in) * pitch);
  L::done();
}

// Adds up `count` values of one output for all rows of the strip. A chain is kV sums; several chains hide how long a sum
// takes.
template <class L, int kV>
void strip_csr(const float* values, const int16_t* columns, int count, const float* strip, float* sums) {
  using R = typename L::Register;
  constexpr int kPitch = kV * L::kLanes, kChains = kV == 1 ? 8 : 12 / kV;
  R acc[kChains][kV];
  for (int v = 0; v < kV; ++v) acc[0][v] = L::load(sums + v * L::kLanes);
  for (int c = 1; c < kChains; ++c) {
    for (int v = 0; v < kV; ++v) acc[c][v] = L::zero();
  }
  const auto add = [&](int chain, int i) {
    const R value = L::all(values[i]);
    const float* x = strip + ptrdiff_t{columns[i]} * kPitch;
    for (int v = 0; v < kV; ++v) acc[chain][v] = L::fma(value, L::load(x + v * L::kLanes), acc[chain][v]);
  };
  int i = 0;
  for (; i + kChains <= count; i += kChains) {
    for (int c = 0; c < kChains; ++c) add(c, i + c);
  }
  for (; i < count; ++i) add(0, i);
  for (int v = 0; v < kV; ++v) {
    for (int c = 1; c < kChains; ++c) acc[0][v] = L::add(acc[0][v], acc[c][v]);
    L::store(sums + v * L::kLanes, acc[0][v]);
  }
}

// Adds up some words of 2:4 of one output for all rows of the strip.
template <class L, int kV>
void strip_two_four(const float* values, const uint32_t* places, int words, const float* strip, float* sums) {
  using R = typename L::Register;
  constexpr int kPitch = kV * L::kLanes, kChains = 4, kKept = kSparseWord / 2;
  R acc[kChains][kV];
  for (int v = 0; v < kV; ++v) acc[0][v] = L::load(sums + v * L::kLanes);
  for (int c = 1; c < kChains; ++c) {
    for (int v = 0; v < kV; ++v) acc[c][v] = L::zero();
  }
  for (int word = 0; word < words; ++word, values += kKept, strip += kSparseWord * kPitch) {
    uint32_t bits = places[word];
    for (int first = 0; first < kKept; first += kChains, bits >>= 2 * kChains) {
      for (int c = 0; c < kChains; ++c) {
        const R value = L::all(values[first + c]);
        const int column = (first + c) / 2 * 4 + static_cast<int>(bits >> 2 * c & 3);
        const float* x = strip + column * kPitch;
        for (int v = 0; v < kV; ++v) acc[c][v] = L::fma(value, L::load(x + v * L::kLanes), acc[c][v]);
      }
    }
  }
  for (int v = 0; v < kV; ++v) {
    for (int c = 1; c < kChains; ++c) acc[0][v] = L::add(acc[0][v], acc[c][v]);
    L::store(sums + v * L::kLanes, acc[0][v]);
  }
}

// Some outputs of a panel together: a column of x is loaded once for all of them, as in a dense product.
template <class L, int kV, int kOutputs>
void strip_blocks(const FrugalSparse& w, const float* bias, int panel, int first, const float* strip, float* sums) {
  using R = typename L::Register;
  constexpr int kPitch = kV * L::kLanes;
  R acc[kOutputs][kV];
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kV; ++v) acc[o][v] = L::all(bias[panel * kSparsePanel + first + o]);
  }
  const int32_t last = w.starts[panel + 1];
  for (int32_t block = w.starts[panel]; block < last; ++block) {
    const float* column = strip + ptrdiff_t{w.columns[block]} * kPitch;
    const float* values = w.values + ptrdiff_t{block} * kSparsePanel + first;
    R x[kV];
    for (int v = 0; v < kV; ++v) x[v] = L::load(column + v * L::kLanes);
    for (int o = 0; o < kOutputs; ++o) {
      const R value = L::all(values[o]);
      for (int v = 0; v < kV; ++v) acc[o][v] = L::fma(value, x[v], acc[o][v]);
    }
  }
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kV; ++v) L::store(sums + (first + o) * kPitch + v * L::kLanes, acc[o][v]);
  }
}

// sums [16 outputs][rows] -> y [rows][outputs]
template <class L, int kV>
void write_rows(const float* sums, int outputs, const SparseOutput& out) {
  constexpr int kPitch = kV * L::kLanes;
  float turned[L::kLanes * kSparsePanel];
  for (int v = 0; v < kV; ++v) {
    for (int o = 0; o < kSparsePanel; o += L::kLanes) {
      L::transpose(sums + o * kPitch + v * L::kLanes, kPitch, turned + o, kSparsePanel);
    }
    const int left = out.rows - v * L::kLanes, rows = left < L::kLanes ? left : L::kLanes;
    float* y = out.y + v * L::kLanes * out.stride;
    for (int i = 0; i < rows; ++i, y += out.stride) {
      if (outputs == kSparsePanel) {
        memcpy(y, turned + i * kSparsePanel, sizeof(float) * kSparsePanel);
      } else {
        memcpy(y, turned + i * kSparsePanel, sizeof(float) * static_cast<size_t>(outputs));
      }
    }
  }
}

template <class L, int kV>
void multiply_wide(const FrugalSparse& w, const float* bias, int panel, const float* strip, const SparseOutput& out) {
  constexpr int kPitch = kV * L::kLanes, kTogether = (L::kManyRegisters ? 8 : 4) * (kV == 1 ? 2 : 1);
  alignas(64) float sums[kSparsePanel * kPitch];
  const int outputs = outputs_of(w, panel), first = panel * kSparsePanel;
  if (w.kind == FRUGAL_SPARSE_BLOCKS) {
    for (int o = 0; o < kSparsePanel; o += kTogether) strip_blocks<L, kV, kTogether>(w, bias, panel, o, strip, sums);
    write_rows<L, kV>(sums, outputs, out);
    return;
  }
  for (int o = 0; o < kSparsePanel; ++o) {
    for (int v = 0; v < kV; ++v) L::store(sums + o * kPitch + v * L::kLanes, L::all(bias[first + o]));
  }
  // Tile by tile: these columns of the strip stay in the nearest cache while all outputs of the panel read them.
  if (w.kind == FRUGAL_SPARSE_CSR) {
    const int tiles = tiles_of(w);
    for (int tile = 0; tile < tiles; ++tile) {
      for (int o = 0; o < outputs; ++o) {
        const int32_t* start = w.starts + ptrdiff_t{first + o} * tiles + tile;
        strip_csr<L, kV>(w.values + start[0], w.columns + start[0], start[1] - start[0], strip, sums + o * kPitch);
      }
    }
  } else {
    const int words = filled_up(w.in, kSparseWord) / kSparseWord, together = w.tile / kSparseWord;
    for (int word = 0; word < words; word += together) {
      const int count = words - word < together ? words - word : together;
      for (int o = 0; o < outputs; ++o) {
        const ptrdiff_t at = ptrdiff_t{first + o} * words + word;
        strip_two_four<L, kV>(w.values + at * (kSparseWord / 2), w.places + at, count,
                              strip + ptrdiff_t{word} * kSparseWord * kPitch, sums + o * kPitch);
      }
    }
  }
  write_rows<L, kV>(sums, outputs, out);
}

template <class L>
void multiply_strip(const FrugalSparse& w, const float* bias, int panel, const float* strip, SparseOutput out) {
  switch ((out.rows + L::kLanes - 1) / L::kLanes) {
    case 3: multiply_wide<L, 3>(w, bias, panel, strip, out); break;
    case 2: multiply_wide<L, 2>(w, bias, panel, strip, out); break;
    default: multiply_wide<L, 1>(w, bias, panel, strip, out);
  }
  L::done();
}

// What has no instruction of its own: the definition.

template <int kLanes>
void transpose_plain(const float* from, ptrdiff_t pitch, float* to, ptrdiff_t to_pitch) {
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) to[j * to_pitch + i] = from[i * pitch + j];
  }
}

[[maybe_unused]] inline float dot_plain(const float* values, const int16_t* columns, int count, const float* x) {
  float sums[4] = {};
  for (int i = 0; i < count; ++i) sums[i % 4] += values[i] * x[columns[i]];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

[[maybe_unused]] inline float dot_two_four_plain(const float* values, const uint32_t* places, int words,
                                                 const float* x) {
  float sums[4] = {};
  for (int word = 0; word < words; ++word) {
    for (int i = 0; i < kSparseWord / 2; ++i) {
      const int column = kSparseWord * word + i / 2 * 4 + static_cast<int>(places[word] >> 2 * i & 3);
      sums[i % 4] += values[kSparseWord / 2 * word + i] * x[column];
    }
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

}  // namespace
}  // namespace frugal
