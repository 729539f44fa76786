"""Wrong answers to exercise 4.6.7: the whole layer."""

_RIGHT = r"""
#include <math.h>
void layer(const uint8_t* x, const int8_t* w, const int32_t* bias, const float* scale, uint8_t* y,
           int m, int n, int k, int zero_point, int low, int high) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; ++i) {
      for (int c = 0; c < 16 && j + c < n; ++c) {
        int32_t sum = bias[j + c];
        for (int p = 0; p < k; ++p) sum += x[i * k + p] * w[p / 4 * 64 + 4 * c + p % 4];
        float code = nearbyintf(float(sum) * scale[j + c]) + float(zero_point);
        code = code < low ? low : code > high ? high : code;
        y[i * n + j + c] = uint8_t(code);
      }
    }
  }
}
"""


def no_bias() -> str:
    """You leave out the bias."""
    return _RIGHT.replace("sum = bias[j + c]", "sum = 0")


def bias_after_the_scale() -> str:
    """You add the bias behind the scale; it is in steps of the sum."""
    return _RIGHT.replace("sum = bias[j + c]", "sum = 0").replace("scale[j + c]) +", "scale[j + c] + bias[j + c]) +")


def bias_of_the_first_panel() -> str:
    """You index the bias with the channel of the panel, not of the layer."""
    return _RIGHT.replace("bias[j + c]", "bias[c]")


def scale_of_the_first_panel() -> str:
    """You index the scale with the channel of the panel, not of the layer."""
    return _RIGHT.replace("scale[j + c]", "scale[c]")


def one_scale() -> str:
    """You use the first scale for every channel."""
    return _RIGHT.replace("scale[j + c]", "scale[0]")


def cut() -> str:
    """You cut towards zero instead of rounding to the nearest."""
    return _RIGHT.replace("nearbyintf", "truncf")


def halves_away() -> str:
    """Your halves go away from zero, as roundf does; the rule is halves to the even neighbour."""
    return _RIGHT.replace("nearbyintf", "roundf")


def half_added() -> str:
    """You add one half and cut, so halves go up."""
    return _RIGHT.replace("nearbyintf(float(sum) * scale[j + c])", "floorf(float(sum) * scale[j + c] + 0.5f)")


def zero_point_before_rounding() -> str:
    """You add the zero-point before rounding, so an odd one sends halves to the other neighbour."""
    return _RIGHT.replace(
        "nearbyintf(float(sum) * scale[j + c]) + float(zero_point)",
        "nearbyintf(float(sum) * scale[j + c] + float(zero_point))",
    )


def no_zero_point() -> str:
    """Your codes do not know the zero-point."""
    return _RIGHT.replace(" + float(zero_point)", "")


def zero_point_after_the_ends() -> str:
    """You hold the ends first and add the zero-point afterwards."""
    return _RIGHT.replace(" + float(zero_point)", "").replace("uint8_t(code)", "uint8_t(int(code) + zero_point)")


def wraps() -> str:
    """You hold no ends: what does not fit a byte wraps around."""
    return _RIGHT.replace("code = code < low ? low : code > high ? high : code;", "").replace(
        "uint8_t(code)", "uint8_t(int64_t(code))"
    )


def ends_of_a_byte() -> str:
    """You hold 0 and 255 and not low and high, so no activation happens."""
    return _RIGHT.replace("code < low ? low : code > high ? high : code", "code < 0 ? 0 : code > 255 ? 255 : code")


def only_below() -> str:
    """You hold the lower end only."""
    return _RIGHT.replace("code > high ? high : code", "code > 255 ? 255 : code")


def in_double() -> str:
    """Your product is a double; the definition rounds it to float first."""
    return _RIGHT.replace("nearbyintf(float(sum) * scale[j + c])", "float(nearbyint(double(sum) * scale[j + c]))")


def divided() -> str:
    """You divide by the scale."""
    return _RIGHT.replace("* scale[j + c]", "/ scale[j + c]")


def last_panel_dropped() -> str:
    """You leave out a last panel of fewer than sixteen channels."""
    return _RIGHT.replace("j < n;", "j + 16 <= n;")


def reads_behind_scale() -> str:
    """You finish all sixteen channels of the last panel and read behind bias and scale."""
    return _RIGHT.replace("c < 16 && j + c < n", "c < 16")


def panels_of_k() -> str:
    """Your panels have k rows; packed ones have k filled up to a multiple of 64."""
    return _RIGHT.replace("(k + 63) / 64 * 64", "k")


def nothing() -> None:
    """You return nothing; Returns asks for the text."""
