// Convolution as matrices, without im2col.
//
// Copy the NHWC input once into a raster with its border (the code of real 0). Output pixel (y, x) meets the kernel
// position (i, j) at raster pixel (y*s + i*d, x*s + j*d). With stride 1 that is a constant distance for all pixels:
//
//   raster, width W'      . . . . . .        row m = y*W' + x of tap (i, j) starts at
//                         . a b c d .          raster + (i*d*W' + j*d) * C  +  m * C
//                         . e f g h .
//                         . . . . . .        The few rows m that wrap around the right border are computed and dropped.
//
// A stride s splits the raster into s*s phase images, pixel (y, x) into image (y % s, x % s): within one, neighbours
// are s apart in the input, and the same picture holds.
//
// Few input channels: a tap is a whole kernel row, kw*C neighbouring bytes, one image per output row. Very few (first
// layers): the tap is the whole kernel, whose rows are gathered, a few output lines at a time, into a small matrix.
// 1x1 with stride 1 is the matrix itself: nothing is copied.

#include <algorithm>
#include <cstring>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "pointwise.h"
#include "pool.h"
#include "shape.h"

namespace frugal {
namespace {

constexpr size_t kSlack = Gather::kOverread;  // bytes behind the raster: kernels read whole quads and tiles
constexpr int kGathered = 256;     // rows of a gathered matrix: with their results they fit the nearest cache

bool is_matrix(const FrugalConv& c) {
  return c.kernel_h * c.kernel_w == 1 && c.stride_h * c.stride_w == 1 && c.pad_h + c.pad_w == 0;
}

}  // namespace

// Everything about a convolution that depends on shapes alone.
struct ConvPlan {
  FrugalConv c;
  int phases_h = 1, phases_w = 1;      // phase images in each direction; 1 where a tap is more than a position
  int raster_h = 0, raster_w = 0;      // of one phase image
  std::vector<int> slot;               // [phases_h * phases_w] which stored image, -1: no tap needs this phase
  int slots = 0;
  std::vector<ptrdiff_t> tap, image_offset;
  std::vector<int32_t> y_rows;
  int rows_per_image = 0;
  ptrdiff_t row_stride = 0, y_rows_per_image = 0;
  size_t raster_bytes = 0;

  size_t image_bytes() const { return size_t(raster_h) * raster_w * c.channels; }
};

namespace {

// One image per picture, with its border. Each output line is an image of its own to the engine.
void plan_lines(ConvPlan& plan) {
  const FrugalConv& c = plan.c;
  plan.raster_h = c.h + 2 * c.pad_h;
  plan.raster_w = c.w + 2 * c.pad_w;
  plan.slot = {0};
  plan.slots = 1;
  const ptrdiff_t line = ptrdiff_t{plan.raster_w} * c.channels;
  for (int i = 0; i < c.kernel_h; ++i) plan.tap.push_back(i * c.dilation_h * line);
  for (int image = 0; image < c.batch; ++image) {
    for (int y = 0; y < out_h(c); ++y) {
      plan.image_offset.push_back(static_cast<ptrdiff_t>(image * plan.image_bytes()) + y * c.stride_h * line);
    }
  }
  plan.rows_per_image = out_w(c);
  plan.row_stride = ptrdiff_t{c.stride_w} * c.channels;
  plan.y_rows_per_image = out_w(c);
}

void plan_phases(ConvPlan& plan) {
  const FrugalConv& c = plan.c;
  plan.phases_h = c.stride_h;
  plan.phases_w = c.stride_w;
  plan.raster_h = (c.h + 2 * c.pad_h + c.stride_h - 1) / c.stride_h;
  plan.raster_w = (c.w + 2 * c.pad_w + c.stride_w - 1) / c.stride_w;
  plan.slot.assign(c.stride_h * c.stride_w, -1);
  for (int i = 0; i < c.kernel_h; ++i) {
    for (int j = 0; j < c.kernel_w; ++j) {
      const int y = i * c.dilation_h, x = j * c.dilation_w;
      int& slot = plan.slot[y % c.stride_h * c.stride_w + x % c.stride_w];
      if (slot < 0) slot = plan.slots++;
      const ptrdiff_t pixel = ptrdiff_t{y / c.stride_h} * plan.raster_w + x / c.stride_w;
      plan.tap.push_back(static_cast<ptrdiff_t>(slot * c.batch * plan.image_bytes()) + pixel * c.channels);
    }
  }
  for (int image = 0; image < c.batch; ++image) {
    plan.image_offset.push_back(static_cast<ptrdiff_t>(image * plan.image_bytes()));
  }
  const int width = out_w(c);
  plan.rows_per_image = (out_h(c) - 1) * plan.raster_w + width;
  for (int m = 0; m < plan.rows_per_image; ++m) {
    const int y = m / plan.raster_w, x = m % plan.raster_w;
    plan.y_rows.push_back(x < width ? y * width + x : -1);
  }
  plan.row_stride = c.channels;
  plan.y_rows_per_image = ptrdiff_t{out_h(c)} * width;
}

// Fill line `line` of one phase image (of all images of the batch, counted through).
void copy_line(const ConvPlan& plan, int phase, int line, const uint8_t* x, uint8_t* raster) {
  const FrugalConv& c = plan.c;
  const size_t channels = c.channels;
  const int image = line / plan.raster_h, row = line % plan.raster_h;
  const int phase_y = phase / plan.phases_w, phase_x = phase % plan.phases_w;
  const int source_y = row * plan.phases_h + phase_y - c.pad_h;
  uint8_t* to = raster + (size_t(plan.slot[phase]) * c.batch + image) * plan.image_bytes() +
                size_t(row) * plan.raster_w * channels;
  const uint8_t border = static_cast<uint8_t>(c.zero_point);
  if (source_y < 0 || source_y >= c.h) {
    std::memset(to, border, plan.raster_w * channels);
    return;
  }
  const uint8_t* from = x + (size_t(image) * c.h + source_y) * c.w * channels;
  if (plan.phases_w == 1) {
    std::memset(to, border, c.pad_w * channels);
    std::memcpy(to + c.pad_w * channels, from, c.w * channels);
    std::memset(to + (c.pad_w + c.w) * channels, border, (plan.raster_w - c.pad_w - c.w) * channels);
    return;
  }
  for (int column = 0; column < plan.raster_w; ++column, to += channels) {
    const int source_x = column * plan.phases_w + phase_x - c.pad_w;
    if (source_x < 0 || source_x >= c.w) {
      std::memset(to, border, channels);
    } else {
      std::memcpy(to, from + source_x * channels, channels);
    }
  }
}

void fill_raster(const ConvPlan& plan, const uint8_t* x, uint8_t* raster, int threads) {
  const int phases = plan.phases_h * plan.phases_w;
  spread(plan.c.batch * plan.raster_h, threads, [&](int first, int last, int) {
    for (int line = first; line < last; ++line) {
      for (int phase = 0; phase < phases; ++phase) {
        if (plan.slot[phase] >= 0) copy_line(plan, phase, line, x, raster);
      }
    }
  });
}

Rows rows_of_matrix(const FrugalConv& c, const uint8_t* x) {
  static constexpr ptrdiff_t kNoTap = 0;
  Rows rows;
  rows.a = x;
  rows.row_stride = c.channels;
  rows.tap = &kNoTap;
  rows.rows_per_image = c.batch * c.h * c.w;
  rows.y_rows_per_image = rows.rows_per_image;
  rows.end = x + size_t(rows.rows_per_image) * c.channels;
  return rows;
}

Rows rows_of_raster(const ConvPlan& plan, const uint8_t* raster) {
  Rows rows;
  rows.a = raster;
  rows.row_stride = plan.row_stride;
  rows.tap = plan.tap.data();
  rows.images = static_cast<int>(plan.image_offset.size());
  rows.image_offset = plan.image_offset.data();
  rows.rows_per_image = plan.rows_per_image;
  rows.y_rows = plan.y_rows.empty() ? nullptr : plan.y_rows.data();
  rows.y_rows_per_image = plan.y_rows_per_image;
  return rows;
}

void convolve_gathered(const Kernel& kernel, int threads, const ConvPlan& plan, const FrugalLayer& layer, char* y,
                       const uint8_t* residual, const uint8_t* raster) {
  static constexpr ptrdiff_t kNoTap = 0;
  const FrugalConv& c = plan.c;
  const Epilogue epilogue = epilogue_of(layer, residual, layer.n);
  const Weights weights{layer.weights, layer.column_sums, layer.n, 1, layer.depth};
  const int width = out_w(c), height = out_h(c), at_once = std::max(1, kGathered / width);
  const ptrdiff_t stride = round_up(layer.depth, kDepth), line_outputs = ptrdiff_t{width} * layer.n;
  const Gather gather{ptrdiff_t{c.stride_w} * c.channels, ptrdiff_t{c.dilation_h} * plan.raster_w * c.channels,
                      size_t(c.kernel_w) * c.channels, c.kernel_h, width, stride};
  spread(c.batch * height, threads, [&](int first, int last, int) {
    static thread_local Scratch scratch;
    uint8_t* matrix = scratch.get(size_t(at_once) * width * stride + kSlack);
    for (int line = first; line < last; line += at_once) {
      const int lines = std::min(at_once, last - line);
      for (int i = 0; i < lines; ++i) {
        pointwise().gather(gather, raster + plan.image_offset[line + i], matrix + i * width * stride);
      }
      Rows rows;
      rows.a = matrix;
      rows.a_signed = layer.a_signed != 0;
      rows.row_stride = stride;
      rows.tap = &kNoTap;
      rows.rows_per_image = rows.y_rows_per_image = lines * width;
      Epilogue here = epilogue;
      if (here.residual) here.residual += line * line_outputs;
      multiply(kernel, rows, weights, y + line * line_outputs * bytes_of(epilogue.output), layer.n, here, 1);
    }
  });
}

void convolve(const Kernel& kernel, int threads, const ConvPlan& plan, const FrugalLayer& layer, const uint8_t* x,
              void* y, const uint8_t* residual, uint8_t* raster) {
  const FrugalConv& c = plan.c;
  const bool matrix = is_matrix(c);
  if (!matrix) fill_raster(plan, x, raster, threads);
  if (!matrix && c.tap == FRUGAL_TAP_KERNEL) {
    return convolve_gathered(kernel, threads, plan, layer, static_cast<char*>(y), residual, raster);
  }
  Rows rows = matrix ? rows_of_matrix(c, x) : rows_of_raster(plan, raster);
  rows.a_signed = layer.a_signed != 0;
  const Epilogue epilogue = epilogue_of(layer, residual, layer.n);
  Weights weights{layer.weights, layer.column_sums, layer.n / c.groups, layer.taps, layer.depth};
  const ptrdiff_t group_weights = round_up(weights.n, kPanel) / kPanel * weights.panel_stride();
  for (int g = 0; g < c.groups; ++g) {
    char* to = static_cast<char*>(y) + ptrdiff_t{g} * weights.n * bytes_of(epilogue.output);
    multiply(kernel, rows, weights, to, layer.n, epilogue_from(epilogue, g * weights.n), threads);
    rows.a += c.channels / c.groups;
    weights.data += group_weights;
    weights.column_sums += weights.n;
  }
}

}  // namespace
}  // namespace frugal

using namespace frugal;

void* frugal_conv_plan(const FrugalConv* conv) {
  ConvPlan* plan = nullptr;
  const int failed = guarded([&] {
    plan = new ConvPlan;
    plan->c = *conv;
    conv->tap == FRUGAL_TAP_POSITION ? plan_phases(*plan) : plan_lines(*plan);
    if (!is_matrix(*conv)) plan->raster_bytes = size_t(plan->slots) * conv->batch * plan->image_bytes() + kSlack;
  });
  if (!failed) return plan;
  delete plan;
  return nullptr;
}

void frugal_conv_free(void* plan) { delete static_cast<ConvPlan*>(plan); }

size_t frugal_conv_raster_bytes(const void* plan) { return static_cast<const ConvPlan*>(plan)->raster_bytes; }

int frugal_conv(int path, int threads, const void* handle, const FrugalLayer* layer, const uint8_t* x, void* y,
                const uint8_t* residual, uint8_t* raster) {
  const ConvPlan& plan = *static_cast<const ConvPlan*>(handle);
  return guarded([&] { convolve(kernel_of(path), threads, plan, *layer, x, y, residual, raster); });
}
