"""Wrong answers to exercise 4.6.4: three loops."""

_RIGHT = r"""
void gemm(const uint8_t* x, const int8_t* w, int32_t* y, int m, int n, int k) {
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      int32_t sum = 0;
      for (int p = 0; p < k; ++p) sum += x[i * k + p] * w[j * k + p];
      y[i * n + j] = sum;
    }
  }
}
"""


def byte_sum() -> str:
    """Your sum has 8 bits; a single product needs 16."""
    return _RIGHT.replace("int32_t sum", "int8_t sum")


def short_sum() -> str:
    """Your sum has 16 bits; three products may overflow them."""
    return _RIGHT.replace("int32_t sum", "int16_t sum")


def byte_products() -> str:
    """You cut every product to 8 bits before it is added."""
    return _RIGHT.replace("x[i * k + p] * w[j * k + p]", "int8_t(x[i * k + p] * w[j * k + p])")


def signed_x() -> str:
    """You read x as signed bytes: codes from 128 on become negative."""
    return _RIGHT.replace("x[i * k + p] *", "int8_t(x[i * k + p]) *")


def unsigned_w() -> str:
    """You read w as unsigned bytes: negative weights become large."""
    return _RIGHT.replace("* w[j * k + p]", "* uint8_t(w[j * k + p])")


def never_reset() -> str:
    """Your sum goes on from one result to the next; each begins at 0."""
    return _RIGHT.replace("      int32_t sum = 0;\n", "").replace(
        "{\n  for (int i", "{\n  int32_t sum = 0;\n  for (int i", 1
    )


def reset_per_row() -> str:
    """Your sum is set to 0 once for each row of y; each result begins at 0."""
    return _RIGHT.replace("      int32_t sum = 0;\n", "").replace(
        "    for (int j", "    int32_t sum = 0;\n    for (int j", 1
    )


def adds_to_y() -> str:
    """You add to what y held before; it means nothing and is written once."""
    return _RIGHT.replace("y[i * n + j] = sum", "y[i * n + j] += sum")


def w_by_columns() -> str:
    """You read w as [k, n]; row j of it holds the weights of output j."""
    return _RIGHT.replace("w[j * k + p]", "w[p * n + j]")


def y_transposed() -> str:
    """You write y as [n, m]; rows of y are rows of x."""
    return _RIGHT.replace("y[i * n + j]", "y[j * m + i]")


def rows_of_n() -> str:
    """You step from row to row of x by n; its rows have k values."""
    return _RIGHT.replace("x[i * k + p]", "x[i * n + p]")


def one_row_too_many() -> str:
    """Your outer loop runs one row too far and reads behind x."""
    return _RIGHT.replace("i < m", "i <= m")


def one_term_too_many() -> str:
    """Your inner loop runs one term too far."""
    return _RIGHT.replace("p < k", "p <= k")


def last_term_missing() -> str:
    """Your inner loop ends one term too early."""
    return _RIGHT.replace("p < k", "p < k - 1")


def whole_quads_only() -> str:
    """You add four terms at a time and drop what is left of k."""
    return _RIGHT.replace("p < k", "p < k / 4 * 4")


def float_sum() -> str:
    """Your sum is a float, exact up to 2^24 only."""
    return _RIGHT.replace("int32_t sum", "float sum")


def never_ends() -> str:
    """Your inner loop counts the wrong letter and never ends."""
    return _RIGHT.replace("++p", "*(volatile int32_t*)y = p")


def another_name() -> str:
    """Your function has another name than gemm."""
    return _RIGHT.replace("void gemm", "void naive_gemm")


def no_semicolon() -> str:
    """Your text does not compile."""
    return _RIGHT.replace("= sum;", "= sum")


def nothing() -> None:
    """You return nothing; Returns asks for the text."""
