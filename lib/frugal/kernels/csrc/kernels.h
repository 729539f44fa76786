// int8 matrix multiplication and convolution: the plain C interface.
//
// Nothing is checked here. binding.py, which alone calls these functions, checks every size, type, alignment and
// overlap first. All functions may be called from several threads at once. Those that return int answer 0, or
// FRUGAL_NO_MEMORY where memory ran out.

#ifndef FRUGAL_KERNELS_H
#define FRUGAL_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FRUGAL_NO_MEMORY = 1, FRUGAL_NOT_FINITE = 2 };

// A layer's constant part. Layout of weights and order of roundings: format.h.
typedef struct {
  const int8_t* weights;       // packed, 64-byte aligned
  const int32_t* column_sums;  // [n]
  const int32_t* bias;         // [n] or null; holds the zero-point correction
  const float* scale;          // [n] or null
  const int32_t* multiplier;   // [n] or null: fixed point instead of scale
  const int32_t* shift;        // [n] or null, -30 to 31
  float residual_scale;
  int32_t residual_zero_point;
  int32_t n, taps, depth;
  int32_t a_signed;
  int32_t output;  // 0 s32, 1 u8, 2 s8, 3 f32
  int32_t zero_point, low, high;
} FrugalLayer;

// The instruction sets that this library was built with, from the widest on; null past the last.
FRUGAL_API const char* frugal_path_name(int path);

// 1: the processor and the operating system allow it; 0: not; -1: no such path.
FRUGAL_API int frugal_path_available(int path);

// y [m, n] = epilogue(a [m, depth] x weights); strides in elements. residual: of y's type and shape, or null.
FRUGAL_API int frugal_gemm(int path, int threads, const FrugalLayer* layer, const uint8_t* a, ptrdiff_t a_stride, int m,
                           void* y, ptrdiff_t y_stride, const uint8_t* residual, ptrdiff_t residual_stride);

// The shapes of a convolution, NHWC. zero_point is the code of real 0 in the input: it fills the border.
// tap: what the weights are packed by. A kernel position is the rule; a kernel row (depth = kernel_w * channels), or the
// whole kernel (depth = kernel_h * kernel_w * channels), is for few input channels and needs groups = 1, dilation_w = 1.
enum { FRUGAL_TAP_POSITION = 0, FRUGAL_TAP_ROW = 1, FRUGAL_TAP_KERNEL = 2 };
typedef struct {
  int32_t batch, h, w, channels;
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
  int32_t zero_point, tap;
} FrugalConv;

// Null where memory ran out.
FRUGAL_API void* frugal_conv_plan(const FrugalConv* conv);
FRUGAL_API void frugal_conv_free(void* plan);

// How much scratch memory frugal_conv needs; it may hold anything.
FRUGAL_API size_t frugal_conv_raster_bytes(const void* plan);

// y, residual: [batch, out_h, out_w, n]. Weights of the groups follow each other, each padded to whole panels.
FRUGAL_API int frugal_conv(int path, int threads, const void* plan, const FrugalLayer* layer, const uint8_t* x, void* y,
                           const uint8_t* residual, uint8_t* raster);

// Depthwise convolution: groups = channels, one output for each. 1 from frugal_depthwise_interleaved: this path wants
// weights, bias and scale as in depthwise_avx512_vnni.cpp, the bias less 128 * (sum of weights) where activations are
// signed; 0: natural order, weights [kernel_h * kernel_w][channels].
FRUGAL_API int frugal_depthwise_interleaved(int path, const FrugalConv* conv, const FrugalLayer* layer,
                                            int has_residual);
FRUGAL_API int frugal_depthwise(int path, int threads, const FrugalConv* conv, const FrugalLayer* layer,
                                const uint8_t* x, void* y, const uint8_t* residual);

// How codes of one scale become codes of another: real = (code_a - zero_point_a) * scale_a [+ the same of b], where
// scale_a and scale_b are real units over real units of an output code.
typedef struct {
  float scale_a, scale_b;
  int32_t zero_point_a, zero_point_b;
  int32_t zero_point, low, high;
  int32_t count_border;  // average pooling divides by the whole window, as if the border held real 0
} FrugalRescale;

// float [batch, channels, h, w] -> codes [batch, h, w, channels]:
// round_half_to_even(clamp(x / scale, low - zero_point, high - zero_point)) + zero_point.
// FRUGAL_NOT_FINITE where x holds nan or infinity.
FRUGAL_API int frugal_quantize(int threads, const float* x, uint8_t* y, int batch, int channels, int h, int w,
                               float scale, int zero_point, int low, int high);

// The three below keep their type: u8 or s8 in and out.
FRUGAL_API int frugal_max_pool(int threads, const FrugalConv* conv, int is_signed, const uint8_t* x, uint8_t* y);
FRUGAL_API int frugal_average_pool(int threads, const FrugalConv* conv, const FrugalRescale* rescale, int is_signed,
                                   const uint8_t* x, uint8_t* y);
FRUGAL_API int frugal_add(int threads, const FrugalRescale* rescale, int is_signed, const uint8_t* a, const uint8_t* b,
                          uint8_t* y, size_t count);

// Calls with their arguments fixed, for a caller that repeats them: frugal_bind_X takes the arguments of frugal_X, null
// means that memory ran out. All that the arguments point to must live until frugal_unbind. A bound convolution brings
// its own scratch memory. frugal_run answers as frugal_X; different calls may run at once, one call only once at a time.
FRUGAL_API int frugal_run(const void* call);
FRUGAL_API void frugal_unbind(void* call);
FRUGAL_API void* frugal_bind_gemm(int path, int threads, const FrugalLayer* layer, const uint8_t* a, ptrdiff_t a_stride,
                                  int m, void* y, ptrdiff_t y_stride, const uint8_t* residual,
                                  ptrdiff_t residual_stride);
FRUGAL_API void* frugal_bind_conv(int path, int threads, const void* plan, const FrugalLayer* layer, const uint8_t* x,
                                  void* y, const uint8_t* residual);
FRUGAL_API void* frugal_bind_depthwise(int path, int threads, const FrugalConv* conv, const FrugalLayer* layer,
                                       const uint8_t* x, void* y, const uint8_t* residual);
FRUGAL_API void* frugal_bind_quantize(int threads, const float* x, uint8_t* y, int batch, int channels, int h, int w,
                                      float scale, int zero_point, int low, int high);
FRUGAL_API void* frugal_bind_max_pool(int threads, const FrugalConv* conv, int is_signed, const uint8_t* x, uint8_t* y);
FRUGAL_API void* frugal_bind_average_pool(int threads, const FrugalConv* conv, const FrugalRescale* rescale,
                                          int is_signed, const uint8_t* x, uint8_t* y);
FRUGAL_API void* frugal_bind_add(int threads, const FrugalRescale* rescale, int is_signed, const uint8_t* a,
                                 const uint8_t* b, uint8_t* y, size_t count);

// y [i] = table [a [i]] for bytes: any function of one code. Written for 256 entries.
FRUGAL_API int frugal_table(int threads, const uint8_t* table, const uint8_t* a, uint8_t* y, size_t count);

// y = clamp(round_half_to_even(float((a - zero_point_a) * (b - zero_point_b)) * scale_a) + zero_point), where a and y are
// [pictures, pixels, channels] and b the same, or one row of channels per picture (one_row).
FRUGAL_API int frugal_multiply(int threads, const FrugalRescale* rescale, int is_signed, int one_row, const uint8_t* a,
                               const uint8_t* b, uint8_t* y, int pictures, int pixels, int channels);

// Keep every so many rows, columns and channels of pictures [batch, h, w, channels], with a border around what is kept.
// Triples are (rows, columns, channels); `out` is the size of the result.
typedef struct {
  int32_t batch, h, w, channels;
  int32_t step[3], before[3], out[3];
  int32_t zero_point;
} FrugalPad;
FRUGAL_API int frugal_pad(int threads, const FrugalPad* pad, const uint8_t* x, uint8_t* y);

// A program: calls of the functions above, prepared once and run many times with one crossing from Python to C.
enum {
  FRUGAL_CALL_GEMM = 0,
  FRUGAL_CALL_CONV,
  FRUGAL_CALL_DEPTHWISE,
  FRUGAL_CALL_QUANTIZE,
  FRUGAL_CALL_MAX_POOL,
  FRUGAL_CALL_AVERAGE_POOL,
  FRUGAL_CALL_ADD,
  FRUGAL_CALL_TABLE,
  FRUGAL_CALL_MULTIPLY,
  FRUGAL_CALL_PAD,
};

// The arguments of one call; a kind reads those that its function has, see program.cpp. An address of 1 stands for the
// program's input, one of 2 for its output, which differ from run to run.
typedef struct {
  int32_t kind, path, is_signed, one_row;
  const void* plan;
  const FrugalLayer* layer;
  const FrugalConv* window;
  const FrugalRescale* rescale;
  const FrugalPad* pad;
  const void* a;
  const void* b;  // the second operand, the residual, or the table
  void* y;
  void* scratch;
  int64_t count;                   // values of a pointwise call, rows of a matrix
  int64_t a_step, b_step, y_step;  // bytes from one round to the next
} FrugalCall;

// Runs all calls in order, and that `rounds` times, on other images each time; up to the first that fails, whose answer
// is returned.
FRUGAL_API int frugal_run_program(int threads, const FrugalCall* calls, int count, int rounds, const void* input,
                                  void* output);

#ifdef __cplusplus
}
#endif

#endif
