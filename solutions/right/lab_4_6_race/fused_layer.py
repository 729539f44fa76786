"""Right answers to exercise 4.6.7, each written differently."""


def sixteen_sums_then_a_row() -> str:
    return r"""
static uint8_t finish(int32_t sum, float scale, int zero_point, int low, int high) {
  const float kNoFraction = 12582912.0f;  // a float of this size has no bit for a fraction
  float steps = float(sum) * scale;
  if (!(steps > low - zero_point)) steps = low - zero_point;
  if (!(steps < high - zero_point)) steps = high - zero_point;
  return uint8_t(int((steps + kNoFraction) - kNoFraction) + zero_point);
}
void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y,
           int m, int n, int k, int zero_point, int low, int high) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16)
    for (int i = 0; i < m; ++i) {
      int32_t sum[16] = {};
      for (int p = 0; p < k; ++p)
        for (int c = 0; c < 16; ++c) sum[c] += x[i * k + p] * w[p / 4 * 64 + 4 * c + p % 4];
      for (int c = 0; c < 16 && j + c < n; ++c)
        y[i * n + j + c] = finish(sum[c] + bias[j + c], scale[j + c], zero_point, low, high);
    }
}
"""


def with_lrintf_and_algorithm() -> str:
    return r"""
#include <algorithm>
#include <cmath>
void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y,
           int m, int n, int k, int zero_point, int low, int high) {
  const int quads = (k + 63) / 64 * 16;
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      const int8_t* b = w + (j / 16 * quads * 16 + j % 16) * 4;
      int32_t acc = bias[j];
      for (int p = 0; p < k; ++p) acc += x[i * k + p] * b[p / 4 * 64 + p % 4];
      const float steps = static_cast<float>(acc) * scale[j];
      const long code = std::lrintf(steps) + zero_point;
      y[i * n + j] = static_cast<uint8_t>(std::clamp<long>(code, low, high));
    }
}
"""


def on_vectors() -> str:
    return r"""
#include <math.h>
typedef int32_t lanes __attribute__((vector_size(64)));
void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y,
           int m, int n, int k, int zero_point, int low, int high) {
  for (int j = 0; j < n; j += 16, w += (k + 63) / 64 * 1024)
    for (int i = 0; i < m; ++i) {
      lanes sum = {};
      for (int p = 0; p < k; ++p) {
        lanes quad;
        memcpy(&quad, w + p / 4 * 64, 64);
        sum += (quad << (24 - p % 4 * 8) >> 24) * x[i * k + p];
      }
      for (int c = 0; c < 16 && j + c < n; ++c) {
        const float rounded = rintf(float(sum[c] + bias[j + c]) * scale[j + c]);
        y[i * n + j + c] = fmaxf(fminf(rounded + zero_point, high), low);
      }
    }
}
"""
