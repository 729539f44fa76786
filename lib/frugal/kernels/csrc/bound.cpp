// Calls with their arguments fixed: what a network repeats for every input.
//
// Each frugal_bind_X takes the arguments of frugal_X and keeps them; frugal_run makes that call again. What the
// arguments point to is the caller's to keep alive, until frugal_unbind.

#include <new>

#include "engine.h"

namespace {

struct Bound {
  virtual ~Bound() = default;
  virtual int run() const = 0;
};

// A lambda that holds the arguments, behind the one interface that frugal_run knows. Null where memory ran out.
template <typename Call>
void* bound(const Call& call) {
  struct Kept final : Bound {
    explicit Kept(const Call& kept) : call(kept) {}
    int run() const override { return call(); }
    Call call;
  };
  return static_cast<Bound*>(new (std::nothrow) Kept(call));
}

}  // namespace

int frugal_run(const void* call) { return static_cast<const Bound*>(call)->run(); }

void frugal_unbind(void* call) { delete static_cast<Bound*>(call); }

void* frugal_bind_gemm(int path, int threads, const FrugalLayer* layer, const uint8_t* a, ptrdiff_t a_stride, int m,
                       void* y, ptrdiff_t y_stride, const uint8_t* residual, ptrdiff_t residual_stride) {
  return bound(
      [=] { return frugal_gemm(path, threads, layer, a, a_stride, m, y, y_stride, residual, residual_stride); });
}

// The raster is memory of the thread that runs the call, the same for every layer: it stays in the nearest cache.
void* frugal_bind_conv(int path, int threads, const void* plan, const FrugalLayer* layer, const uint8_t* x, void* y,
                       const uint8_t* residual) {
  return bound([=] {
    static thread_local frugal::Scratch scratch;
    uint8_t* raster = nullptr;
    const int status = frugal::guarded([&] { raster = scratch.get(frugal_conv_raster_bytes(plan)); });
    return status ? status : frugal_conv(path, threads, plan, layer, x, y, residual, raster);
  });
}

void* frugal_bind_depthwise(int path, int threads, const FrugalConv* conv, const FrugalLayer* layer, const uint8_t* x,
                            void* y, const uint8_t* residual) {
  return bound([=] { return frugal_depthwise(path, threads, conv, layer, x, y, residual); });
}

void* frugal_bind_quantize(int threads, const float* x, uint8_t* y, int batch, int channels, int h, int w, float scale,
                           int zero_point, int low, int high) {
  return bound([=] { return frugal_quantize(threads, x, y, batch, channels, h, w, scale, zero_point, low, high); });
}

void* frugal_bind_max_pool(int threads, const FrugalConv* conv, int is_signed, const uint8_t* x, uint8_t* y) {
  return bound([=] { return frugal_max_pool(threads, conv, is_signed, x, y); });
}

void* frugal_bind_average_pool(int threads, const FrugalConv* conv, const FrugalRescale* rescale, int is_signed,
                               const uint8_t* x, uint8_t* y) {
  return bound([=] { return frugal_average_pool(threads, conv, rescale, is_signed, x, y); });
}

void* frugal_bind_add(int threads, const FrugalRescale* rescale, int is_signed, const uint8_t* a, const uint8_t* b,
                      uint8_t* y, size_t count) {
  return bound([=] { return frugal_add(threads, rescale, is_signed, a, b, y, count); });
}
