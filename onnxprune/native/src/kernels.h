// What the inner loops compute. One source (spmm.inc, ...) is compiled once for each instruction set.
#pragma once
#include <cstddef>
#include <cstdint>

namespace onnxprune {

// out[row, column] = clip(bias[row] + sum over the non-zeros of the row: value * panel[index * stride + column] + residual)
// for the row blocks [first, last); a block is B rows that share their non-zero columns.
struct SpmmTask {
  const float* panel;     // kVectors * V readable columns at every index
  size_t stride;          // elements from one index to the next
  const int32_t* index;   // of the non-zero blocks
  const float* value;     // B per non-zero block
  const int32_t* start;   // non-zeros of row block r: [start[r], start[r + 1])
  int first, last;        // row blocks
  int rows;               // all rows; the last block may reach beyond, its surplus rows are not stored
  int columns;            // columns to store, at most kVectors * V
  float* out;             // of row 0
  size_t out_stride;
  const float* bias;      // one a row
  const float* residual;  // laid out like out, or null
  float low, high;
  bool accumulate;        // start from what is in out instead of the bias
};

using Spmm = void (*)(const SpmmTask&);

// One output plane of a depthwise convolution: out[y, x] = clip(bias + sum of weight[i] * plane[y * row_stride +
// x * stride + offset[i]]). Up to 8 * V * stride floats beyond the last one that is needed must be readable.
struct DepthwiseTask {
  const float* plane;
  const int32_t* offset;
  const float* weight;
  int taps, rows, columns, stride;
  int dense;             // N where the taps are N x N neighbours and the stride is 1 on both axes, otherwise 0
  size_t row_stride;
  float* out;
  float bias, low, high;
};

// What one plane adds to the gradient of a filter: sum[i] += dy[y, x] * plane[y * row_stride + x * stride + offset[i]],
// summed over all y, x. Up to V * stride floats beyond the last one that is needed must be readable, and finite.
struct DepthwiseGradientTask {
  const float* plane;
  const int32_t* offset;
  int taps, rows, columns, stride;
  size_t row_stride;
  const float* dy;
  double* sum;
};

// SpmmTask in integers, for the row blocks [first, last) of a weight whose blocks are B rows by four columns:
// sum[row, column] = bias[row] + sum over the non-zeros: the four weights times the four bytes at
// panel[4 * (index * stride + column)]. Bytes: out = clip(round(sum * scale[row]) + zero); floats: sum * scale + shift.
struct QspmmTask {
  const uint8_t* panel;
  size_t stride;         // groups of four bytes from one index to the next
  const int32_t* index;
  const int32_t* word;   // B * words per non-zero block (Kernels::pack)
  const int32_t* start;
  int first, last, rows, columns;
  void* out;             // bytes or floats, of row 0
  ptrdiff_t out_stride;
  const int32_t* bias;   // the zero point of the input is already in it
  const float* scale;
  const float* shift;    // floats only
  int zero;              // bytes only
};

using Qspmm = void (*)(const QspmmTask&);

struct Kernels {
  int vector;                                     // V: floats in a vector
  int (*widest)(int block);                       // most vectors in a panel, by block size
  Spmm (*spmm)(int block, int vectors);           // null where there is none
  // panel[k * width + r] = x[r * stride + k] for r < rows, zero up to width
  void (*transpose_in)(const float* x, size_t stride, int rows, int depth, float* panel, int width);
  // y[r * stride + n] = panel[n * width + r]
  void (*transpose_out)(const float* panel, int width, int rows, int count, float* y, size_t stride);
  void (*depthwise)(const DepthwiseTask&);
  void (*copy_rows)(const float* from, size_t from_stride, int rows, int count, float* to, size_t to_stride);
  void (*every_second)(const float* from, int count, float* to);  // to[i] = from[2 * i]
  // out[row] of one dense vector: index, value and start as in SpmmTask
  void (*spmv)(int block, const SpmmTask&);

  int words;                                           // that hold four weights
  void (*pack)(const int8_t* weight, int32_t* words);  // four weights as the multiplication wants them
  int (*widest_integer)(int block);
  Qspmm (*qspmm_bytes)(int block, int vectors);
  Qspmm (*qspmm_floats)(int block, int vectors);
  void (*interleave)(const uint8_t* const from[4], uint8_t* to, size_t count);  // to[4 * i + c] = from[c][i]

  void (*depthwise_gradient)(const DepthwiseGradientTask&);
  // to[i] = dy[i] where low < y[i] < high, else dy[i] * 0: what is infinite or no number shows
  void (*clip_gradient)(const float* y, const float* dy, int count, float low, float high, float* to);
  void (*sigmoid_gradient)(const float* y, const float* dy, int count, float* to);  // to[i] = dy[i] * y[i] * (1 - y[i])
  // The sum of (a[i] - b[i])^2 * weight[i]; `weight` may be null.
  double (*squared_distance)(const float* a, const float* b, const float* weight, int count);
  // to[i] = scale * weight[i] * (a[i] - b[i]) + more[i]; `weight` and `more` may be null.
  void (*scaled_difference)(const float* a, const float* b, const float* weight, int count, float scale,
                            const float* more, float* to);
};

const Kernels& kernels_base();
#if defined(__x86_64__)
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_avx512vnni();
#endif

// Those for this processor.
const Kernels& kernels();

// Those for rows this short: where half a vector is enough, wide loads at any address only cross more cache lines.
const Kernels& kernels_up_to(int columns);

}  // namespace onnxprune
