// The geometry of a convolution: attributes, checked; and sizes for one input, computed without overflow.
#pragma once
#include <cstdint>

#include "runtime.h"

namespace onnxprune {

struct Axis {
  int64_t kernel = 1, stride = 1, dilation = 1, before = 0, after = 0;

  int64_t reach() const { return (kernel - 1) * dilation + 1; }
  // Output positions for `size` input positions.
  int64_t output(int64_t size) const {
    const int64_t room = size + before + after - reach();
    require(room >= 0, "the input is smaller than the kernel");
    return room / stride + 1;
  }
  bool pointwise() const { return kernel == 1 && stride == 1 && before == 0 && after == 0; }
};

struct Window {
  int rank = 2;  // spatial axes in the file; one axis is computed as a single row of two
  int64_t rows = 0, group = 1, depth = 0;  // output channels; groups; input channels of one group
  Axis y, x;

  bool pointwise() const { return y.pointwise() && x.pointwise(); }
  int64_t taps() const { return y.kernel * x.kernel; }
};

// From the attributes weight_shape [rows, depth, kernel...], strides, pads, dilations, group. Throws Failure.
Window window_of(const Node& node);

// An input [batch, channels, (height,) width] and its output.
struct Frame {
  int batch, channels, height, width, out_height, out_width;
  Shape out_shape;
};

// Throws Failure where the input does not fit, or planes would be too large to address.
Frame frame_of(const Window& window, const Shape& input);

}  // namespace onnxprune
