"""Wrong answers to exercise 4.6.5: sixteen sums at once."""

_RIGHT = r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  const int depth = (k + 63) / 64 * 64;
  for (int j = 0; j < n; j += 16, w += depth * 16) {
    for (int i = 0; i < m; ++i) {
      int32_t sum[16] = {};
      for (int p = 0; p < k; ++p) {
        const int8_t* quad = w + p / 4 * 64 + p % 4;
        for (int c = 0; c < 16; ++c) sum[c] += x[i * k + p] * quad[4 * c];
      }
      for (int c = 0; c < 16 && j + c < n; ++c) y[i * n + j + c] = sum[c];
    }
  }
}
"""


def first_panel_only() -> str:
    """You read the first panel for every sixteen channels."""
    return _RIGHT.replace(", w += depth * 16", "")


def panels_of_k() -> str:
    """Your panels have k rows; packed ones have k filled up to a multiple of 64."""
    return _RIGHT.replace("(k + 63) / 64 * 64", "k")


def panels_of_whole_quads() -> str:
    """Your panels have k filled up to a multiple of 4; packed ones to a multiple of 64."""
    return _RIGHT.replace("(k + 63) / 64 * 64", "(k + 3) / 4 * 4")


def always_a_block_more() -> str:
    """You add a block of 64 also where k is a multiple of 64 already."""
    return _RIGHT.replace("(k + 63) / 64 * 64", "(k / 64 + 1) * 64")


def all_sixteen_stored() -> str:
    """You store all sixteen sums, also where y has fewer columns left."""
    return _RIGHT.replace("c < 16 && j + c < n", "c < 16")


def last_panel_dropped() -> str:
    """You leave out a last panel of fewer than sixteen channels."""
    return _RIGHT.replace("j < n;", "j + 16 <= n;")


def channels_side_by_side() -> str:
    """You take neighbours in memory for neighbouring channels; they are neighbours along k."""
    return _RIGHT.replace("p / 4 * 64 + p % 4", "p / 4 * 64 + p % 4 * 16").replace("quad[4 * c]", "quad[c]")


def quads_ignored() -> str:
    """You step 64 bytes for every p; a quad serves four of them."""
    return _RIGHT.replace("p / 4 * 64 + p % 4", "p % (depth / 4) * 64")


def place_in_the_quad_forgotten() -> str:
    """You take the first byte of each quad for all four of its terms."""
    return _RIGHT.replace(" + p % 4", "")


def reads_x_to_the_end_of_the_block() -> str:
    """You run over k filled up, and x is not: you read behind its last row."""
    return _RIGHT.replace("p < k", "p < depth")


def unpacked_weights() -> str:
    """You read w as if it were not packed."""
    return _RIGHT.replace("quad[4 * c]", "w[(c * k + p) % (depth * 16)]")


def sums_not_cleared() -> str:
    """Your sixteen sums begin with what memory held."""
    return _RIGHT.replace("int32_t sum[16] = {};", "").replace(
        "  for (int j = 0;", "  int32_t sum[16] = {};\n  for (int j = 0;", 1
    )


def short_sums() -> str:
    """Your sums have 16 bits; three products may overflow them."""
    return _RIGHT.replace("int32_t sum[16]", "int16_t sum[16]")


def pairs_of_rows() -> str:
    """You do two rows at a time and drop the last of an odd number."""
    return _RIGHT.replace("i < m", "i < (m + 1) / 2 * 2 - m % 2 * 2 + (m == 1)")


def adds_to_y() -> str:
    """You add to what y held before; it means nothing and is written once."""
    return _RIGHT.replace("+ c] = sum[c]", "+ c] += sum[c]")


def y_in_panels() -> str:
    """You write y in panels of sixteen columns; it lies row by row, n to a row."""
    return _RIGHT.replace("y[i * n + j + c]", "y[(i * n + j + c) / 17 * 17 % (m * n) + 0 * c]")


def seventeen_sums() -> str:
    """You keep sixteen sums and use a seventeenth."""
    return _RIGHT.replace("for (int c = 0; c < 16; ++c) sum[c]", "for (volatile int c = 0; c < 40; c = c + 1) sum[c]")


def nothing() -> None:
    """You return nothing; Returns asks for the text."""
