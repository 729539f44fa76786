// The loops around a kernel: blocks of rows and columns, spread over threads.
//
//            columns (panels of weights)
//          +---------+---------+
//   rows   | block   | block   |   a chunk of columns whose weights fit the second-level cache,
//          +---------+---------+   all rows against it, then the next chunk
//          | block   | block   |
//          +---------+---------+
//
// Threads split the rows, and split columns only where there are too few rows: two threads that write neighbouring
// columns of a row fight over the cache line that holds both.

#include "engine.h"

#include <algorithm>
#include <cstring>

#include "pool.h"

namespace frugal {
namespace {

constexpr size_t kWeightsInCache = 768 << 10;  // bytes: a chunk of weights, in an L2 cache of 1 to 2 MiB
constexpr int kChunksPerThread = 4;            // so that a late thread costs a quarter of its share

struct Split {
  int rows, columns;  // how many chunks of each
};

// Prefer rows; take columns where that shortens the longest share.
Split split(int64_t row_blocks, int column_blocks, int threads) {
  Split best{1, threads};
  double best_cost = 1e300;
  for (int rows = 1; rows <= threads; ++rows) {
    if (threads % rows) continue;
    const int columns = threads / rows;
    const double cost = static_cast<double>((row_blocks + rows - 1) / rows) * ((column_blocks + columns - 1) / columns);
    if (cost <= best_cost) best_cost = cost, best = {rows, columns};
  }
  if (threads > 1) {
    const int64_t finer = std::min<int64_t>(int64_t{best.rows} * kChunksPerThread, row_blocks / 2);
    best.rows = static_cast<int>(std::max<int64_t>(best.rows, finer));
  }
  best.columns = std::min(best.columns, column_blocks);
  return best;
}

// Activations whose top bit a kernel flips are off by 128: (a + 128) * w summed is 128 * (sum of w) too much.
// Unsigned arithmetic, because it may wrap on the way to a sum that fits.
const int32_t* corrected_bias(const Epilogue& e, const Weights& weights, int flip, std::vector<int32_t>& memory) {
  if (flip == 0) return e.bias;
  memory.resize(weights.n);
  for (int n = 0; n < weights.n; ++n) {
    const uint32_t bias = e.bias ? static_cast<uint32_t>(e.bias[n]) : 0;
    const uint32_t sum = static_cast<uint32_t>(weights.column_sums[n]);
    memory[n] = static_cast<int32_t>(bias - static_cast<uint32_t>(flip * 128) * sum);
  }
  return memory.data();
}

struct Job {
  const Kernel& kernel;
  const Rows& rows;
  const Weights& weights;
  void* y;
  ptrdiff_t y_stride;
  Epilogue epilogue;
  int blocks_per_image;

  // A block that meets the columns from `first` on, n of them; place() says with which rows.
  Block columns(int first, int n) const {
    Block block;
    block.tap = rows.tap;
    block.taps = weights.taps;
    block.depth = weights.depth;
    block.a_signed = rows.a_signed;
    block.weights = weights.data + first / kPanel * weights.panel_stride();
    block.panel_stride = weights.panel_stride();
    block.y_stride = y_stride;
    block.n = n;
    block.epilogue = epilogue_from(epilogue, first);
    return block;
  }

  // Where block row t of the whole job reads and writes.
  void place(Block& block, int64_t t, int first_column) const {
    const int64_t image = rows.images == 1 ? 0 : t / blocks_per_image;
    const int row = static_cast<int>(t - image * blocks_per_image) * kernel.rows;
    block.m = std::min(kernel.rows, rows.rows_per_image - row);
    block.a = rows.a + (rows.image_offset ? rows.image_offset[image] : 0) + row * rows.row_stride;
    block.row_stride = rows.row_stride;
    block.tap = rows.tap;
    block.y_rows = rows.y_rows ? rows.y_rows + row : nullptr;
    const ptrdiff_t y_row = image * rows.y_rows_per_image + (rows.y_rows ? 0 : row);
    block.y = static_cast<char*>(y) + (y_row * y_stride + first_column) * bytes_of(epilogue.output);
    if (epilogue.residual) {
      block.epilogue.residual = epilogue.residual + y_row * epilogue.residual_stride + first_column;
    }
  }

  // How much memory bring_near() needs.
  size_t near_bytes() const {
    const size_t depth = round_up(weights.depth, kDepth);
    if (kernel.copy_rows) return size_t(kernel.rows) * weights.taps * depth * kernel.bytes_per_value;
    return rows.end ? kernel.rows * depth : 0;
  }

  // Copy the rows of a block: into the form that the kernel asks for, or because it would read past our memory.
  void bring_near(Block& block, uint8_t* near) const {
    static constexpr ptrdiff_t kNoTap = 0;
    if (kernel.copy_rows) {
      kernel.copy_rows(block, near);
      block.a = near;
      return;
    }
    const uint8_t* last = block.a + (block.m - 1) * block.row_stride;
    if (!rows.end || rows.end - last >= round_up(weights.depth, kernel.overread)) return;
    const size_t depth = round_up(weights.depth, kDepth);
    for (int i = 0; i < block.m; ++i) std::memcpy(near + i * depth, block.a + i * block.row_stride, weights.depth);
    block.a = near;
    block.row_stride = static_cast<ptrdiff_t>(depth);
    block.tap = &kNoTap;
  }
};

const Kernel& choose(const Kernel& kernel, int64_t rows) {
  return kernel.for_few_rows && rows < kernel.few_rows ? *kernel.for_few_rows : kernel;
}

}  // namespace

void multiply(const Kernel& wanted, const Rows& rows, const Weights& weights, void* y, ptrdiff_t y_stride,
              const Epilogue& epilogue, int threads) {
  static thread_local std::vector<int32_t> bias;
  static thread_local Scratch scratch;
  const Kernel& kernel = choose(wanted, int64_t{rows.images} * rows.rows_per_image);
  threads = std::clamp(threads, 1, int{Pool::kMostThreads});
  Job job{kernel, rows, weights, y, y_stride, epilogue, (rows.rows_per_image + kernel.rows - 1) / kernel.rows};
  const int flip = rows.a_signed && !kernel.takes_signed ? 1 : !rows.a_signed && !kernel.takes_unsigned ? -1 : 0;
  job.epilogue.bias = corrected_bias(epilogue, weights, flip, bias);

  const int64_t row_blocks = int64_t{rows.images} * job.blocks_per_image;
  const int column_blocks = (weights.n + kernel.columns - 1) / kernel.columns;
  const size_t block_weights = size_t(weights.panel_stride()) * kernel.columns / kPanel;
  const int chunk = static_cast<int>(std::max<size_t>(1, kWeightsInCache / block_weights));
  const Split parts = split(row_blocks, column_blocks, threads);
  const size_t near_bytes = (job.near_bytes() + Scratch::kAlign - 1) / Scratch::kAlign * Scratch::kAlign;
  uint8_t* near = scratch.get(near_bytes * threads);

  Pool::shared().run(parts.rows * parts.columns, threads, [&](int task, int thread) {
    const int i = task / parts.columns, j = task % parts.columns;
    const int64_t first_row = row_blocks * i / parts.rows, last_row = row_blocks * (i + 1) / parts.rows;
    const int first_column = share(column_blocks, j, parts.columns);
    const int last_column = share(column_blocks, j + 1, parts.columns);
    if (kernel.begin) kernel.begin();
    Block block;
    for (int c = first_column; c < last_column; c += chunk) {
      const int first = c * kernel.columns;
      const int last = std::min(std::min(c + chunk, last_column) * kernel.columns, weights.n);
      block = job.columns(first, last - first);
      for (int64_t t = first_row; t < last_row; ++t) {
        job.place(block, t, first);
        block.weights_far = t == first_row;
        job.bring_near(block, near + near_bytes * thread);
        kernel.run(block);
      }
    }
    if (kernel.end) kernel.end();
  });
}

}  // namespace frugal
