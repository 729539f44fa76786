// Every path that this processor runs against plain loops, over random shapes; no Python, so that sanitizers and
// emulators can run it.
//
// Every buffer ends where a page begins that may not be touched: a read or write of one byte too many ends the program,
// also from instructions that sanitizers do not see (tiles, masked loads).
//
//   driver ROUNDS SEED     prints "path cases" for each path; exit code 1 and a sentence where a result differs

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels.h"

namespace {

// ---- memory that traps ----------------------------------------------------------------------------------------------

template <typename T>
class Guarded {
 public:
  explicit Guarded(size_t count) : count_(count) {
    const size_t page = sysconf(_SC_PAGESIZE);
    const size_t bytes = count * sizeof(T), room = (bytes + page - 1) / page * page;
    size_ = room + page;
    pages_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (pages_ == MAP_FAILED || mprotect(pages_ + room, page, PROT_NONE) != 0) std::abort();
    data_ = reinterpret_cast<T*>(pages_ + room - bytes);
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(pages_, size_); }

  T* data() { return data_; }
  T& operator[](size_t i) { return data_[i]; }
  size_t size() const { return count_; }

 private:
  size_t count_, size_ = 0;
  char* pages_ = nullptr;
  T* data_ = nullptr;
};

uint64_t state;

int pick(int low, int high) {  // both ends included
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return low + static_cast<int>((state >> 33) % static_cast<uint64_t>(high - low + 1));
}

int one_of(std::initializer_list<int> values) { return values.begin()[pick(0, static_cast<int>(values.size()) - 1)]; }

template <typename T>
void fill(Guarded<T>& x, int low, int high) {
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(pick(low, high));
}

void fail(const char* what, const char* path, size_t at) {
  std::printf("%s: path %s differs at %zu\n", what, path, at);
  std::exit(1);
}

int code(const uint8_t* x, size_t i, bool is_signed) { return is_signed ? static_cast<int8_t>(x[i]) : x[i]; }

// ---- the definitions, by plain loops --------------------------------------------------------------------------------

int rounded(float real, int low, int high, int zero_point) {
  const double r = std::nearbyint(static_cast<double>(real)) + zero_point;
  return r < low ? low : r > high ? high : static_cast<int>(r);
}

// What becomes of a sum, as format.h says. `volatile` rounds every step to float.
double finished(int64_t acc, int n, const FrugalLayer& l, const uint8_t* residual, size_t at) {
  if (l.output == 0) return static_cast<double>(acc);
  if (l.multiplier) {
    const int right = 31 + l.shift[n];
    const int64_t code = ((acc * l.multiplier[n] + (int64_t{1} << (right - 1))) >> right) + l.zero_point;
    return static_cast<double>(code < l.low ? l.low : code > l.high ? l.high : code);
  }
  const volatile float product = static_cast<float>(static_cast<int32_t>(acc)) * l.scale[n];
  if (l.output == 3) return product;
  float real = product;
  if (residual) {
    const volatile float other =
        static_cast<float>(code(residual, at, l.output == 2) - l.residual_zero_point) * l.residual_scale;
    real = product + other;
  }
  return rounded(real, l.low, l.high, l.zero_point);
}

double value(const uint8_t* y, size_t i, int output) {
  if (output == 0) return reinterpret_cast<const int32_t*>(y)[i];
  if (output == 3) return reinterpret_cast<const float*>(y)[i];
  return code(y, i, output == 2);
}

// A layer with random constants. weights: natural, [n][taps * depth].
struct Constants {
  Guarded<int8_t> weights, packed;
  Guarded<int32_t> sums, bias, multiplier, shift;
  Guarded<float> scale;
  FrugalLayer layer{};

  Constants(int n, int taps, int depth, int groups)
      : weights(size_t(n) * taps * depth),
        packed(size_t(groups) * ((n / groups + 15) / 16) * taps * ((depth + 63) / 64) * 1024),
        sums(n), bias(n), multiplier(n), shift(n), scale(n) {
    fill(weights, -128, 127);
    fill(bias, -5000, 5000);
    fill(multiplier, 1 << 30, std::numeric_limits<int32_t>::max());
    fill(shift, 0, 14);
    for (int i = 0; i < n; ++i) scale[i] = static_cast<float>(pick(1, 4000)) * 1e-6f;
    pack(n, taps, depth, groups);
    layer.weights = packed.data();
    layer.column_sums = sums.data();
    layer.bias = pick(0, 3) ? bias.data() : nullptr;
    layer.residual_scale = 0.37f;
    layer.n = n, layer.taps = taps, layer.depth = depth;
    layer.a_signed = pick(0, 1);
    layer.output = pick(0, 3);
    const int low = layer.output == 2 ? -128 : 0;
    layer.low = low + one_of({0, 0, 7});
    layer.high = low + one_of({255, 255, 200});
    layer.zero_point = low + pick(0, 255);
    layer.residual_zero_point = low + pick(0, 255);
    if ((layer.output == 1 || layer.output == 2) && pick(0, 3) == 0) {
      layer.multiplier = multiplier.data(), layer.shift = shift.data();
    } else if (layer.output) {
      layer.scale = scale.data();
    }
  }

  void pack(int n, int taps, int depth, int groups) {
    std::memset(packed.data(), 0, packed.size());
    const int size = n / groups, panels = (size + 15) / 16, quads = (depth + 63) / 64 * 16;
    for (int i = 0; i < n; ++i) {
      const int panel = i / size * panels + i % size / 16;
      sums[i] = 0;
      for (int t = 0; t < taps; ++t) {
        for (int k = 0; k < depth; ++k) {
          const int8_t w = weights[(size_t(i) * taps + t) * depth + k];
          packed[(((size_t(panel) * taps + t) * quads + k / 4) * 16 + i % size % 16) * 4 + k % 4] = w;
          sums[i] += w;
        }
      }
    }
  }

  bool may_add() const { return layer.scale && (layer.output == 1 || layer.output == 2); }
};

size_t bytes_of(int output) { return output == 0 || output == 3 ? 4 : 1; }

// ---- one random case of each operator -------------------------------------------------------------------------------

void gemm(int path, const char* name) {
  const int m = one_of({1, 2, 3, 5, 15, 16, 17, 31, 32, 33, pick(1, 70)});
  const int n = one_of({1, 15, 16, 17, 31, 32, 33, 63, 64, 65, pick(1, 140)});
  const int k = one_of({1, 3, 4, 15, 63, 64, 65, 127, 128, 129, pick(1, 300)});
  const int a_stride = k + one_of({0, 0, 1, 60}), y_stride = n + one_of({0, 0, 3});
  Constants c(n, 1, k, 1);
  Guarded<uint8_t> a(size_t(m - 1) * a_stride + k), residual(size_t(m - 1) * y_stride + n);
  Guarded<uint8_t> y((size_t(m - 1) * y_stride + n) * bytes_of(c.layer.output));
  fill(a, 0, 255);
  fill(residual, 0, 255);
  const uint8_t* added = c.may_add() && pick(0, 1) ? residual.data() : nullptr;
  if (frugal_gemm(path, pick(1, 3), &c.layer, a.data(), a_stride, m, y.data(), y_stride, added, y_stride)) std::abort();
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      int64_t acc = c.layer.bias ? c.bias[j] : 0;
      for (int p = 0; p < k; ++p) {
        acc += code(a.data(), size_t(i) * a_stride + p, c.layer.a_signed) * c.weights[size_t(j) * k + p];
      }
      const size_t at = size_t(i) * y_stride + j;
      if (value(y.data(), at, c.layer.output) != finished(acc, j, c.layer, added, at)) fail("gemm", name, at);
    }
  }
}

FrugalConv random_shape() {
  FrugalConv c{};
  c.batch = pick(1, 2), c.kernel_h = pick(1, 4), c.kernel_w = pick(1, 4);
  c.stride_h = pick(1, 3), c.stride_w = pick(1, 3), c.dilation_h = pick(1, 2), c.dilation_w = pick(1, 2);
  c.pad_h = pick(0, 2), c.pad_w = pick(0, 2);
  c.h = pick(1, 6) + c.dilation_h * (c.kernel_h - 1), c.w = pick(1, 20) + c.dilation_w * (c.kernel_w - 1);
  c.zero_point = pick(0, 127);
  c.groups = 1;
  return c;
}

int out_size(int size, int kernel, int stride, int pad, int dilation) {
  return (size + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

// The sum of output n at (image, y, x): weights [n][kernel_h][kernel_w][channels / groups], x [batch][h][w][channels].
int64_t window_sum(const FrugalConv& c, const int8_t* w, const uint8_t* x, bool is_signed, int image, int oy, int ox,
                   int n, int outputs) {
  const int depth = c.channels / c.groups, first = n / (outputs / c.groups) * depth;
  int64_t acc = 0;
  for (int i = 0; i < c.kernel_h; ++i) {
    for (int j = 0; j < c.kernel_w; ++j) {
      const int sy = oy * c.stride_h + i * c.dilation_h - c.pad_h, sx = ox * c.stride_w + j * c.dilation_w - c.pad_w;
      const bool inside = sy >= 0 && sy < c.h && sx >= 0 && sx < c.w;
      for (int k = 0; k < depth; ++k) {
        const size_t at = ((size_t(image) * c.h + sy) * c.w + sx) * c.channels + first + k;
        const int value = inside ? code(x, at, is_signed) : c.zero_point;
        acc += value * w[((size_t(n) * c.kernel_h + i) * c.kernel_w + j) * depth + k];
      }
    }
  }
  return acc;
}

void compare(const char* what, const char* name, const FrugalConv& c, const Constants& k, const int8_t* weights,
             const int32_t* bias, const float* scale, const uint8_t* x, const uint8_t* residual, const uint8_t* y) {
  const int oh = out_size(c.h, c.kernel_h, c.stride_h, c.pad_h, c.dilation_h);
  const int ow = out_size(c.w, c.kernel_w, c.stride_w, c.pad_w, c.dilation_w);
  FrugalLayer natural = k.layer;
  natural.scale = scale;
  size_t at = 0;
  for (int image = 0; image < c.batch; ++image) {
    for (int i = 0; i < oh * ow; ++i) {
      for (int n = 0; n < natural.n; ++n, ++at) {
        const int64_t sum = window_sum(c, weights, x, natural.a_signed, image, i / ow, i % ow, n, natural.n);
        const double wanted = finished(sum + (bias ? bias[n] : 0), n, natural, residual, at);
        if (value(y, at, natural.output) != wanted) fail(what, name, at);
      }
    }
  }
}

size_t outputs_of(const FrugalConv& c, int n) {
  return size_t(c.batch) * out_size(c.h, c.kernel_h, c.stride_h, c.pad_h, c.dilation_h) *
         out_size(c.w, c.kernel_w, c.stride_w, c.pad_w, c.dilation_w) * n;
}

void conv(int path, const char* name) {
  FrugalConv c = random_shape();
  c.groups = one_of({1, 1, 1, 2, 3});
  c.channels = c.groups * one_of({1, 3, 4, 16, 63, 64, 65});
  if (c.groups == 1 && pick(0, 1)) c.tap = pick(FRUGAL_TAP_ROW, FRUGAL_TAP_KERNEL), c.dilation_w = 1;
  const int n = c.groups * one_of({1, 5, 16, 33}), depth = c.channels / c.groups;
  const int taps_of[] = {c.kernel_h * c.kernel_w, c.kernel_h, 1}, taps = taps_of[c.tap];
  Constants k(n, taps, c.kernel_h * c.kernel_w * depth / taps, c.groups);
  Guarded<uint8_t> x(size_t(c.batch) * c.h * c.w * c.channels), residual(outputs_of(c, n));
  Guarded<uint8_t> y(residual.size() * bytes_of(k.layer.output));
  fill(x, 0, 255);
  fill(residual, 0, 255);
  const uint8_t* added = k.may_add() && pick(0, 1) ? residual.data() : nullptr;
  void* plan = frugal_conv_plan(&c);
  if (!plan) std::abort();
  Guarded<uint8_t> raster(frugal_conv_raster_bytes(plan) + 1);
  if (frugal_conv(path, pick(1, 3), plan, &k.layer, x.data(), y.data(), added, raster.data() + 1)) std::abort();
  frugal_conv_free(plan);
  compare("conv", name, c, k, k.weights.data(), k.layer.bias, k.layer.scale, x.data(), added, y.data());
}

// Natural constants, or those of depthwise_avx512_vnni.cpp where the path wants them.
void depthwise(int path, const char* name) {
  FrugalConv c = random_shape();
  c.channels = c.groups = one_of({1, 3, 16, 63, 64, 65, 130});
  if (pick(0, 1)) c.kernel_h = c.kernel_w = 3, c.dilation_h = c.dilation_w = 1, c.h += 2, c.w += 2;
  const int taps = c.kernel_h * c.kernel_w, groups = (c.channels + 63) / 64;
  Constants k(c.channels, taps, 1, 1);
  const int32_t* bias = k.layer.bias;
  Guarded<int8_t> natural(size_t(taps) * c.channels), mixed(size_t(groups) * 64 * 12);
  Guarded<int32_t> mixed_bias(size_t(groups) * 64);
  Guarded<float> mixed_scale(size_t(groups) * 64);
  for (int n = 0; n < c.channels; ++n) {
    for (int t = 0; t < taps; ++t) natural[size_t(t) * c.channels + n] = k.weights[size_t(n) * taps + t];
  }
  FrugalLayer layer = k.layer;
  layer.weights = natural.data();
  Guarded<uint8_t> x(size_t(c.batch) * c.h * c.w * c.channels), residual(outputs_of(c, c.channels));
  Guarded<uint8_t> y(residual.size() * bytes_of(layer.output));
  fill(x, 0, 255);
  fill(residual, 0, 255);
  const uint8_t* added = k.may_add() && pick(0, 3) == 0 ? residual.data() : nullptr;
  if (frugal_depthwise_interleaved(path, &c, &layer, added != nullptr)) {
    for (int i = 0; i < groups * 64; ++i) {
      const int group = i / 64, part = i / 16 % 4, lane = i % 16 / 4, n = group * 64 + 16 * lane + 4 * part + i % 4;
      const bool real = n < c.channels;
      mixed_scale[i] = real ? k.scale[n] : 0;
      mixed_bias[i] = real ? (bias ? bias[n] : 0) - (layer.a_signed ? 128 * k.sums[n] : 0) : 0;
      for (int j = 0; j < 3; ++j) {
        for (int r = 0; r < 4; ++r) {
          const int8_t w = real && r < 3 ? k.weights[size_t(n) * 9 + r * 3 + j] : int8_t{0};
          mixed[(((size_t(group) * 3 + j) * 4 + part) * 16 + i % 16) * 4 + r] = w;
        }
      }
    }
    layer.weights = mixed.data(), layer.bias = mixed_bias.data(), layer.scale = mixed_scale.data();
  }
  if (frugal_depthwise(path, pick(1, 3), &c, &layer, x.data(), y.data(), added)) std::abort();
  compare("depthwise", name, c, k, k.weights.data(), bias, k.layer.scale, x.data(), added, y.data());
}

// ---- the operators that have one path -------------------------------------------------------------------------------

void pools() {
  FrugalConv c = random_shape();
  c.channels = one_of({1, 3, 16, 65});
  const bool is_signed = pick(0, 1), average = pick(0, 1);
  if (average) c.dilation_h = c.dilation_w = 1;
  FrugalRescale r{0.83f, 0, pick(0, 127), 0, pick(0, 127), is_signed ? -128 : 0, is_signed ? 127 : 255, pick(0, 1)};
  Guarded<uint8_t> x(size_t(c.batch) * c.h * c.w * c.channels), y(outputs_of(c, c.channels));
  fill(x, 0, 255);
  if (average ? frugal_average_pool(pick(1, 3), &c, &r, is_signed, x.data(), y.data())
              : frugal_max_pool(pick(1, 3), &c, is_signed, x.data(), y.data())) {
    std::abort();
  }
  const int oh = out_size(c.h, c.kernel_h, c.stride_h, c.pad_h, c.dilation_h);
  const int ow = out_size(c.w, c.kernel_w, c.stride_w, c.pad_w, c.dilation_w);
  for (size_t at = 0; at < y.size(); ++at) {
    const int n = static_cast<int>(at % c.channels), pixel = static_cast<int>(at / c.channels);
    const int ox = pixel % ow, oy = pixel / ow % oh, image = pixel / ow / oh;
    int largest = is_signed ? -128 : 0, total = 0, pixels = 0;
    for (int i = 0; i < c.kernel_h * c.kernel_w; ++i) {
      const int sy = oy * c.stride_h + i / c.kernel_w * c.dilation_h - c.pad_h;
      const int sx = ox * c.stride_w + i % c.kernel_w * c.dilation_w - c.pad_w;
      if (sy < 0 || sy >= c.h || sx < 0 || sx >= c.w) continue;
      const int value = code(x.data(), ((size_t(image) * c.h + sy) * c.w + sx) * c.channels + n, is_signed);
      largest = value > largest ? value : largest;
      total += value - r.zero_point_a;
      ++pixels;
    }
    const int divisor = r.count_border ? c.kernel_h * c.kernel_w : pixels ? pixels : 1;
    const volatile float scale = r.scale_a / static_cast<float>(divisor);
    const volatile float mean = static_cast<float>(total) * scale;
    const int wanted = average ? rounded(mean, r.low, r.high, r.zero_point) : largest;
    if (code(y.data(), at, is_signed) != wanted) fail(average ? "average_pool" : "max_pool", "any", at);
  }
}

void small() {
  const bool is_signed = pick(0, 1);
  const int low = is_signed ? -128 : 0, count = one_of({1, 63, 64, 65, 5000});
  FrugalRescale r{0.61f, 1.3f, low + pick(0, 255), low + pick(0, 255), low + pick(0, 255), low, low + 255, 0};
  Guarded<uint8_t> a(count), b(count), sum(count);
  fill(a, 0, 255);
  fill(b, 0, 255);
  if (frugal_add(pick(1, 3), &r, is_signed, a.data(), b.data(), sum.data(), count)) std::abort();
  for (int i = 0; i < count; ++i) {
    const volatile float left = static_cast<float>(code(a.data(), i, is_signed) - r.zero_point_a) * r.scale_a;
    const volatile float right = static_cast<float>(code(b.data(), i, is_signed) - r.zero_point_b) * r.scale_b;
    if (code(sum.data(), i, is_signed) != rounded(left + right, r.low, r.high, r.zero_point)) fail("add", "any", i);
  }
  const int n = pick(1, 2), c = pick(1, 4), h = pick(1, 5), w = one_of({1, 15, 257});
  Guarded<float> x(size_t(n) * c * h * w);
  Guarded<uint8_t> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(pick(-4000, 4000)) * 0.01f;
  if (frugal_quantize(pick(1, 3), x.data(), y.data(), n, c, h, w, 0.11f, r.zero_point, low, low + 255)) std::abort();
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t column = i % w, row = i / w % h, channel = i / w / h % c, image = i / w / h / c;
    const volatile float steps = x[i] / 0.11f;
    const int got = code(y.data(), ((image * h + row) * w + column) * c + channel, is_signed);
    if (got != rounded(steps, low, low + 255, r.zero_point)) fail("quantize", "any", i);
  }
  x[x.size() - 1] = pick(0, 1) ? std::numeric_limits<float>::infinity() : std::nanf("");
  if (frugal_quantize(1, x.data(), y.data(), n, c, h, w, 0.11f, 0, 0, 255) != FRUGAL_NOT_FINITE) fail("nan", "any", 0);
}

// Codes that move, are looked up, or are multiplied.
void moves() {
  const bool is_signed = pick(0, 1), one_row = pick(0, 1);
  const int low = is_signed ? -128 : 0, channels = one_of({1, 15, 16, 33, 64, 130});
  const int pictures = pick(1, 3), pixels = one_of({1, 7, 49});
  const size_t count = size_t(pictures) * pixels * channels;
  Guarded<uint8_t> a(count), b(one_row ? size_t(pictures) * channels : count), y(count), table(256), looked(count);
  fill(a, 0, 255), fill(b, 0, 255), fill(table, 0, 255);
  if (frugal_table(pick(1, 3), table.data(), a.data(), looked.data(), count)) std::abort();
  FrugalRescale r{0.013f, 0, low + pick(0, 255), low + pick(0, 255), low + pick(0, 255), low, low + 255, 0};
  if (frugal_multiply(pick(1, 3), &r, is_signed, one_row, a.data(), b.data(), y.data(), pictures, pixels, channels)) {
    std::abort();
  }
  for (size_t at = 0; at < count; ++at) {
    if (looked[at] != table[a[at]]) fail("table", "any", at);
    const size_t other = one_row ? at / channels / pixels * channels + at % channels : at;
    const int product =
        (code(a.data(), at, is_signed) - r.zero_point_a) * (code(b.data(), other, is_signed) - r.zero_point_b);
    const volatile float real = static_cast<float>(product) * r.scale_a;
    if (code(y.data(), at, is_signed) != rounded(real, r.low, r.high, r.zero_point)) fail("multiply", "any", at);
  }
}

void pad() {
  FrugalPad p{pick(1, 2), pick(1, 6), pick(1, 9), one_of({1, 3, 16, 65}), {}, {}, {}, pick(0, 255)};
  const int sizes[] = {p.h, p.w, p.channels};
  for (int i = 0; i < 3; ++i) {
    p.step[i] = pick(1, 2), p.before[i] = pick(0, 3);
    p.out[i] = p.before[i] + (sizes[i] + p.step[i] - 1) / p.step[i] + pick(0, 3);
  }
  Guarded<uint8_t> x(size_t(p.batch) * p.h * p.w * p.channels), y(size_t(p.batch) * p.out[0] * p.out[1] * p.out[2]);
  fill(x, 0, 255);
  if (frugal_pad(pick(1, 3), &p, x.data(), y.data())) std::abort();
  for (size_t at = 0; at < y.size(); ++at) {
    const int place[] = {static_cast<int>(at / p.out[2] / p.out[1] % p.out[0]),
                         static_cast<int>(at / p.out[2] % p.out[1]), static_cast<int>(at % p.out[2])};
    const size_t image = at / p.out[2] / p.out[1] / p.out[0];
    int from[3];
    bool inside = true;
    for (int i = 0; i < 3; ++i) {
      from[i] = (place[i] - p.before[i]) * p.step[i];
      inside &= place[i] >= p.before[i] && from[i] < sizes[i];
    }
    const uint8_t wanted =
        inside ? x[((image * p.h + from[0]) * p.w + from[1]) * p.channels + from[2]] : static_cast<uint8_t>(p.zero_point);
    if (y[at] != wanted) fail("pad", "any", at);
  }
}

// A program of three operators, in rounds over other images, against the same three called one by one.
void program() {
  const int images = pick(1, 3), channels = one_of({3, 16, 33}), h = pick(1, 5), w = pick(1, 5), pixels = h * w;
  const int depth = pixels * channels, n = one_of({5, 16, 33});
  int path = 0;
  while (frugal_path_available(path) != 1) ++path;
  Constants k(n, 1, depth, 1);
  const size_t out = size_t(n) * bytes_of(k.layer.output);
  const FrugalConv shape{1, h, w, channels, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0};
  const FrugalRescale r{0.11f, 0, 0, 0, 100, 0, 255, 0};
  Guarded<float> x(size_t(images) * depth);
  Guarded<uint8_t> table(256), codes(depth), looked(depth), wanted(images * out), y(images * out);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(pick(-4000, 4000)) * 0.01f;
  fill(table, 0, 255);
  FrugalCall calls[3] = {};
  calls[0].kind = FRUGAL_CALL_QUANTIZE, calls[0].window = &shape, calls[0].rescale = &r;
  calls[0].a = reinterpret_cast<void*>(1), calls[0].a_step = depth * 4, calls[0].y = codes.data();
  calls[1].kind = FRUGAL_CALL_TABLE, calls[1].a = codes.data(), calls[1].b = table.data(), calls[1].y = looked.data();
  calls[1].count = depth;
  calls[2].kind = FRUGAL_CALL_GEMM, calls[2].path = path, calls[2].layer = &k.layer, calls[2].count = 1;
  calls[2].a = looked.data(), calls[2].y = reinterpret_cast<void*>(2), calls[2].y_step = static_cast<int64_t>(out);
  if (frugal_run_program(pick(1, 3), calls, 3, images, x.data(), y.data())) std::abort();
  for (int i = 0; i < images; ++i) {
    const float* image = x.data() + size_t(i) * depth;
    if (frugal_quantize(1, image, codes.data(), 1, channels, h, w, 0.11f, 100, 0, 255)) std::abort();
    if (frugal_table(1, table.data(), codes.data(), looked.data(), depth)) std::abort();
    if (frugal_gemm(path, 1, &k.layer, looked.data(), depth, 1, wanted.data() + i * out, n, nullptr, n)) std::abort();
  }
  for (size_t at = 0; at < y.size(); ++at) {
    if (y[at] != wanted[at]) fail("program", "any", at);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 10;
  state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  for (int path = 0; frugal_path_name(path); ++path) {
    const char* name = frugal_path_name(path);
    if (frugal_path_available(path) != 1) {
      std::printf("%s absent\n", name);
      continue;
    }
    for (int i = 0; i < rounds; ++i) gemm(path, name), conv(path, name), depthwise(path, name);
    std::printf("%s %d\n", name, 3 * rounds);
  }
  for (int i = 0; i < rounds; ++i) pools(), small(), moves(), pad(), program();
  std::printf("pointwise %d\n", 5 * rounds);
  return frugal_path_available(-1) == -1 ? 0 : 1;
}
