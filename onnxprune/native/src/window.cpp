#include "window.h"

namespace onnxprune {
namespace {

constexpr int64_t kLargest = (int64_t{1} << 24);        // of any one attribute
constexpr int64_t kMostElements = (int64_t{1} << 31) - 1;  // offsets are 32 bits

bool within(int64_t value, int64_t least) { return value >= least && value <= kLargest; }

Axis axis_of(int64_t kernel, int64_t stride, int64_t dilation, int64_t before, int64_t after) {
  require(within(kernel, 1), "convolution: bad kernel size");
  require(within(stride, 1), "convolution: bad stride");
  require(within(dilation, 1), "convolution: bad dilation");
  require(within(before, 0) && within(after, 0), "convolution: bad pads");
  return {kernel, stride, dilation, before, after};
}

int64_t product(int64_t a, int64_t b) {
  require(b == 0 || a <= kMostElements / b, "convolution: the tensor is too large");
  return a * b;
}

}  // namespace

Window window_of(const Node& node) {
  const auto shape = node.integers("weight_shape");
  const auto strides = node.integers("strides"), pads = node.integers("pads"), dilations = node.integers("dilations");
  require(shape.size() == 3 || shape.size() == 4, "convolution: weight_shape must have 3 or 4 sizes");
  const size_t rank = shape.size() - 2;
  require(strides.size() == rank && dilations.size() == rank && pads.size() == 2 * rank,
          "convolution: strides, dilations or pads do not fit weight_shape");
  Window window;
  window.rank = static_cast<int>(rank);
  window.rows = shape[0];
  window.depth = shape[1];
  window.group = node.integer("group");
  require(within(window.rows, 1) && within(window.depth, 1), "convolution: bad weight_shape");
  require(within(window.group, 1) && window.rows % window.group == 0, "convolution: bad group");
  if (rank == 2) window.y = axis_of(shape[2], strides[0], dilations[0], pads[0], pads[2]);
  const size_t last = rank - 1;
  window.x = axis_of(shape[2 + last], strides[last], dilations[last], pads[last], pads[rank + last]);
  product(product(product(window.y.kernel, window.x.kernel), window.depth), window.rows);
  return window;
}

Frame frame_of(const Window& window, const Shape& input) {
  require(input.size() == static_cast<size_t>(window.rank) + 2, "convolution: wrong rank of the input");
  const int64_t batch = input[0], channels = input[1];
  const int64_t height = window.rank == 2 ? input[2] : 1, width = input.back();
  require(channels == window.depth * window.group, "convolution: wrong number of input channels");
  const int64_t out_height = window.y.output(height), out_width = window.x.output(width);
  // The largest thing that is addressed: padded planes, a little more than the input (planes.h).
  const int64_t tall = height + window.y.before + window.y.after + 2 * window.y.stride;
  const int64_t wide = width + window.x.before + window.x.after + 2 * window.x.stride;
  product(product(channels, tall), wide + 64);
  product(product(window.rows, out_height), out_width);
  product(batch, 1);
  Frame frame{static_cast<int>(batch),      static_cast<int>(channels),  static_cast<int>(height),
              static_cast<int>(width),      static_cast<int>(out_height), static_cast<int>(out_width),
              {batch, window.rows, out_height, out_width}};
  if (window.rank == 1) frame.out_shape = {batch, window.rows, out_width};
  return frame;
}

}  // namespace onnxprune
