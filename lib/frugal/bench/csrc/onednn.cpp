// oneDNN, asked directly: weights reordered once, then only the primitive is executed.
//
//   y = clamp(round(x_scale · w_scale[n] / y_scale · Σ (x - x_zero_point) · w + bias[n] / y_scale) + y_zero_point)
//
// Compiled when a bench needs it (peers_onednn.py), against oneDNN 3. The zero-point of x is given to a convolution as
// an attribute; peers_onednn.py folds a matrix's into the bias, as one does who wants the fastest kernel.

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

using dnnl::memory;
using Arguments = std::unordered_map<int, memory>;

struct Layer {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::primitive primitive;
  Arguments arguments;
  std::vector<float> scales;  // what the arguments point to
  std::vector<int32_t> zero_points;
  std::vector<float> bias;
  std::string implementation;

  memory view(const memory::desc& desc, const void* data) { return memory(desc, engine, const_cast<void*>(data)); }

  memory prepacked(memory weights, const memory::desc& wanted) {
    memory packed(wanted, engine);
    dnnl::reorder(weights, packed).execute(stream, weights, packed);
    stream.wait();
    return packed;
  }
};

static thread_local std::string last_error;

// Everything that a requantized layer adds to its product.
struct Requantize {
  const float *w_scale, *bias;
  float x_scale, y_scale;
  int32_t x_zero_point, y_zero_point;
};

static dnnl::primitive_attr attributes(const Requantize& r, int weight_mask) {
  dnnl::primitive_attr attributes;
  attributes.set_scales_mask(DNNL_ARG_SRC, 0);
  attributes.set_scales_mask(DNNL_ARG_WEIGHTS, weight_mask);
  attributes.set_scales_mask(DNNL_ARG_DST, 0);
  if (r.x_zero_point) attributes.set_zero_points_mask(DNNL_ARG_SRC, 0);
  attributes.set_zero_points_mask(DNNL_ARG_DST, 0);
  return attributes;
}

static void bind_requantize(Layer& layer, const Requantize& r, int n) {
  layer.scales.assign(r.w_scale, r.w_scale + n);
  layer.scales.push_back(r.x_scale);
  layer.scales.push_back(r.y_scale);
  layer.zero_points = {r.x_zero_point, r.y_zero_point};
  const memory::desc one({1}, memory::data_type::f32, memory::format_tag::x);
  const memory::desc one_int({1}, memory::data_type::s32, memory::format_tag::x);
  const memory::desc each({n}, memory::data_type::f32, memory::format_tag::x);
  auto& arguments = layer.arguments;
  arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = layer.view(each, layer.scales.data());
  arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_SRC] = layer.view(one, &layer.scales[n]);
  arguments[DNNL_ARG_ATTR_SCALES | DNNL_ARG_DST] = layer.view(one, &layer.scales[n + 1]);
  if (r.x_zero_point) {
    arguments[DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_SRC] = layer.view(one_int, &layer.zero_points[0]);
  }
  arguments[DNNL_ARG_ATTR_ZERO_POINTS | DNNL_ARG_DST] = layer.view(one_int, &layer.zero_points[1]);
}

template <class Make>
static Layer* guarded(Make make) {
  try {
    auto layer = std::make_unique<Layer>();
    make(*layer);
    return layer.release();
  } catch (const std::exception& error) {
    last_error = error.what();
    return nullptr;
  }
}

#if defined(_WIN32)
#define PEER_API extern "C" __declspec(dllexport)
#else
#define PEER_API extern "C" __attribute__((visibility("default")))
#endif

PEER_API const char* peer_error() { return last_error.c_str(); }
PEER_API const char* peer_implementation(const Layer* layer) { return layer->implementation.c_str(); }
PEER_API void peer_free(Layer* layer) { delete layer; }

PEER_API const char* peer_version() {
  static const dnnl_version_t* v = dnnl_version();
  static const std::string text =
      std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  return text.c_str();
}

PEER_API int peer_run(Layer* layer) {
  try {
    layer->primitive.execute(layer->stream, layer->arguments);
    layer->stream.wait();
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
}

// x u8 [m, k], w s8 [k, n]; r null: y s32 [m, n], the sums; else y u8, with everything in r.
PEER_API Layer* peer_matmul(int m, int n, int k, const void* x, const void* w, void* y, const Requantize* r) {
  return guarded([&](Layer& layer) {
    using tag = memory::format_tag;
    using type = memory::data_type;
    const memory::desc x_desc({m, k}, type::u8, tag::ab), w_plain({k, n}, type::s8, tag::ab);
    const memory::desc w_any({k, n}, type::s8, tag::any), y_desc({m, n}, r ? type::u8 : type::s32, tag::ab);
    const memory::desc bias_desc({1, n}, type::f32, tag::ab);
    const auto plan =
        r ? dnnl::matmul::primitive_desc(layer.engine, x_desc, w_any, bias_desc, y_desc, attributes(*r, 1 << 1))
          : dnnl::matmul::primitive_desc(layer.engine, x_desc, w_any, y_desc);
    layer.implementation = plan.impl_info_str();
    layer.primitive = dnnl::matmul(plan);
    layer.arguments[DNNL_ARG_SRC] = layer.view(x_desc, x);
    layer.arguments[DNNL_ARG_WEIGHTS] = layer.prepacked(layer.view(w_plain, w), plan.weights_desc());
    layer.arguments[DNNL_ARG_DST] = layer.view(y_desc, y);
    if (r) {
      layer.bias.assign(r->bias, r->bias + n);
      layer.arguments[DNNL_ARG_BIAS] = layer.view(bias_desc, layer.bias.data());
      bind_requantize(layer, *r, n);
    }
  });
}

// x u8 NHWC, w s8 [outputs, channels / groups, kernel, kernel], y u8 NHWC; squares.
PEER_API Layer* peer_conv(int batch, int size, int channels, int outputs, int kernel, int stride, int padding,
                          int groups, const void* x, const void* w, void* y, const Requantize* r) {
  return guarded([&](Layer& layer) {
    using tag = memory::format_tag;
    using type = memory::data_type;
    const int out = (size + 2 * padding - kernel) / stride + 1;
    const bool grouped = groups > 1;
    const memory::dims w_size = grouped
                                    ? memory::dims{groups, outputs / groups, channels / groups, kernel, kernel}
                                    : memory::dims{outputs, channels, kernel, kernel};
    const memory::desc x_desc({batch, channels, size, size}, type::u8, tag::nhwc);
    const memory::desc y_desc({batch, outputs, out, out}, type::u8, tag::nhwc);
    const memory::desc w_plain(w_size, type::s8, grouped ? tag::goihw : tag::oihw), w_any(w_size, type::s8, tag::any);
    const memory::desc bias_desc({outputs}, type::f32, tag::x);
    const memory::dims strides{stride, stride}, border{padding, padding};
    const auto plan = dnnl::convolution_forward::primitive_desc(
        layer.engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, x_desc, w_any, bias_desc,
        y_desc, strides, border, border, attributes(*r, grouped ? 3 : 1));
    layer.implementation = plan.impl_info_str();
    layer.primitive = dnnl::convolution_forward(plan);
    layer.bias.assign(r->bias, r->bias + outputs);
    layer.arguments[DNNL_ARG_SRC] = layer.view(x_desc, x);
    layer.arguments[DNNL_ARG_WEIGHTS] = layer.prepacked(layer.view(w_plain, w), plan.weights_desc());
    layer.arguments[DNNL_ARG_BIAS] = layer.view(bias_desc, layer.bias.data());
    layer.arguments[DNNL_ARG_DST] = layer.view(y_desc, y);
    bind_requantize(layer, *r, outputs);
  });
}
