// The arithmetic of a window that slides over an image.

#ifndef FRUGAL_SHAPE_H
#define FRUGAL_SHAPE_H

#include "kernels.h"

namespace frugal {

static inline int out_size(int size, int kernel, int stride, int pad, int dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

static inline int out_h(const FrugalConv& c) {
  return out_size(c.h, c.kernel_h, c.stride_h, c.pad_h, c.dilation_h);
}

static inline int out_w(const FrugalConv& c) {
  return out_size(c.w, c.kernel_w, c.stride_w, c.pad_w, c.dilation_w);
}

}  // namespace frugal

#endif
