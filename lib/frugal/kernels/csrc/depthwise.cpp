// Depthwise convolution: which loops, and the threads around them.

#include "depthwise.h"

#include <algorithm>
#include <cstring>

#include "dispatch.h"
#include "engine.h"
#include "pool.h"

namespace frugal {
namespace {

struct Choice {
  const char* path;
  DepthwiseKernel* loops;        // for every layer
  DepthwiseKernel* interleaved;  // for those that frugal_depthwise_interleaved() names, or null
};

const Choice kChoices[] = {
#if defined(FRUGAL_WITH_AVX512_VNNI)
    {"amx_int8", depthwise_avx2, depthwise_avx512_vnni},
    {"avx512_vnni", depthwise_avx2, depthwise_avx512_vnni},
#endif
#if defined(FRUGAL_WITH_AVX2)
    {"avx_vnni", depthwise_avx2, nullptr},
    {"avx2", depthwise_avx2, nullptr},
#endif
    {"", depthwise_scalar, nullptr},  // on arm64 the compiler turns these loops into NEON
};

const Choice& choice_of(int path) {
  const Choice* choice = kChoices;
  while (*choice->path && std::strcmp(choice->path, frugal_path_name(path)) != 0) ++choice;
  return *choice;
}

void convolve(DepthwiseKernel* kernel, int threads, const Depthwise& layer) {
  static thread_local Scratch scratch;
  threads = std::clamp(threads, 1, int{Pool::kMostThreads});
  const FrugalConv& c = layer.c;
  const size_t line = round_up(c.channels, Scratch::kAlign);  // values in the memory of one thread
  uint8_t* border = scratch.get(line + line * sizeof(int32_t) * threads);
  int32_t* acc = reinterpret_cast<int32_t*>(border + line);
  std::memset(border, c.zero_point, c.channels);
  Depthwise with_border = layer;
  with_border.border = border;
  spread(c.batch * out_h(c), threads, [&](int first, int last, int thread) {
    kernel(with_border, first, last, acc + line * thread);
  });
}

}  // namespace
}  // namespace frugal

using namespace frugal;

int frugal_depthwise_interleaved(int path, const FrugalConv* c, const FrugalLayer* layer, int has_residual) {
  const bool codes = layer->output == static_cast<int>(Output::kU8) || layer->output == static_cast<int>(Output::kS8);
  const bool window = c->kernel_h == 3 && c->kernel_w == 3 && c->dilation_h == 1 && c->dilation_w == 1;
  return choice_of(path).interleaved && window && codes && layer->scale && !has_residual;
}

int frugal_depthwise(int path, int threads, const FrugalConv* c, const FrugalLayer* layer, const uint8_t* x, void* y,
                     const uint8_t* residual) {
  const Choice& choice = choice_of(path);
  const bool interleaved = frugal_depthwise_interleaved(path, c, layer, residual != nullptr);
  const Depthwise depthwise{*c, layer->weights, x, static_cast<uint8_t*>(y), nullptr, layer->a_signed != 0,
                            epilogue_of(*layer, residual, c->channels)};
  return guarded([&] { convolve(interleaved ? choice.interleaved : choice.loops, threads, depthwise); });
}
