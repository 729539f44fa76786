// The loops around a kernel: blocks of rows and columns, spread over threads.

#ifndef FRUGAL_ENGINE_H
#define FRUGAL_ENGINE_H

#include <stdint.h>

#include <vector>

#include "format.h"
#include "kernels.h"

namespace frugal {

// All rows of activations that meet one set of weights. A matrix is one image; see conv.cpp for the others.
struct Rows {
  const uint8_t* a = nullptr;
  bool a_signed = false;
  ptrdiff_t row_stride = 0;
  const ptrdiff_t* tap = nullptr;
  int images = 1, rows_per_image = 0;
  const ptrdiff_t* image_offset = nullptr;  // where image i starts; null: at 0
  const int32_t* y_rows = nullptr;          // output row of each row of an image, -1 drops it; null: the same row
  ptrdiff_t y_rows_per_image = 0;
  const uint8_t* end = nullptr;  // reads must stay below this address; null: the memory behind the last row is ours
};

struct Weights {
  const int8_t* data = nullptr;          // packed, 64-byte aligned
  const int32_t* column_sums = nullptr;  // [n] sum of all weights of a channel
  int n = 0, taps = 1, depth = 0;

  ptrdiff_t panel_stride() const { return ptrdiff_t{taps} * round_up(depth, kDepth) * kPanel; }
};

void multiply(const Kernel& kernel, const Rows& rows, const Weights& weights, void* y, ptrdiff_t y_stride,
              const Epilogue& epilogue, int threads);

// 64-byte aligned memory, kept from call to call.
class Scratch {
 public:
  static constexpr size_t kAlign = 64;

  uint8_t* get(size_t bytes) {
    if (memory_.size() < bytes + kAlign) memory_.assign(bytes + kAlign, 0);
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (kAlign - address % kAlign) % kAlign;
  }

 private:
  std::vector<uint8_t> memory_;
};

// Runs work for a C caller, which no exception may reach.
template <typename Work>
int guarded(const Work& work) {
  try {
    work();
    return 0;
  } catch (...) {
    return FRUGAL_NO_MEMORY;
  }
}

}  // namespace frugal

#endif
