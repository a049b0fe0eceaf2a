// Images for depthwise convolutions: padded copies of a few rows at a time.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels.h"
#include "window.h"

namespace onnxprune {

constexpr int64_t kLargestStride = 1024;  // reads beyond a row are in proportion to it

constexpr size_t kStripe = 2048;  // floats of a padded copy: it stays in the first cache

// Rows of the output are computed a few at a time, from a padded copy of the rows of the input that they read: so reading
// an image, which may come from far away, and computing take turns.
struct Stripe {
  int first, last;          // rows of the output
  int64_t source;           // row of the input of which
  size_t above, rows, all;  // the copy has `rows`, after `above` rows of zeros, of `all` rows
};

struct Stripes {
  std::vector<Stripe> all;
  size_t width, size;  // of the copy: of a row, and in all, with what is read beyond the last row
  size_t row_stride;   // of the copy, from one row of the output to the next
  std::vector<int32_t> offset;  // of the taps, in the copy
  int64_t before;
  int row_size;        // of the image

  Stripes(const Window& window, const Frame& frame, int lanes)
      : width(static_cast<size_t>(frame.width + window.x.before + window.x.after)) {
    const Axis& y = window.y;
    const int height = frame.out_height;
    const int64_t fitting = (static_cast<int64_t>(kStripe / width) - y.reach()) / y.stride + 1;
    const int64_t most = std::clamp<int64_t>(fitting, std::min(4, height), height), count = (height + most - 1) / most;
    for (int64_t s = 0; s < count; ++s) {
      const int64_t first = height * s / count, last = height * (s + 1) / count;
      const int64_t start = first * y.stride - y.before, rows = (last - first - 1) * y.stride + y.reach();
      const int64_t above = std::clamp<int64_t>(-start, 0, rows);
      const int64_t below = std::clamp<int64_t>(frame.height - start, above, rows);
      all.push_back({static_cast<int>(first), static_cast<int>(last), start + above, static_cast<size_t>(above),
                     static_cast<size_t>(below - above), static_cast<size_t>(rows)});
    }
    size = static_cast<size_t>((most - 1) * y.stride + y.reach()) * width +
           8 * static_cast<size_t>(lanes) * static_cast<size_t>(window.x.stride);
    for (int64_t i = 0; i < y.kernel; ++i)
      for (int64_t j = 0; j < window.x.kernel; ++j)
        offset.push_back(static_cast<int32_t>(i * y.dilation * static_cast<int64_t>(width) + j * window.x.dilation));
    row_stride = width * static_cast<size_t>(y.stride);
    before = window.x.before;
    row_size = frame.width;
  }

  // The rows of an image that a stripe reads, at the place in the copy where they belong; the copy was all zeros once.
  void fill(const Kernels& k, const float* image, const Stripe& s, float* copy) const {
    if (all.size() > 1) {  // columns beside the image are zero from the start, and stay so
      std::fill(copy, copy + s.above * width, 0.f);
      std::fill(copy + (s.above + s.rows) * width, copy + s.all * width, 0.f);
    }
    if (s.rows > 0)
      k.copy_rows(image + static_cast<size_t>(s.source) * static_cast<size_t>(row_size), static_cast<size_t>(row_size),
                  static_cast<int>(s.rows), row_size, copy + s.above * width + before, width);
  }
};

}  // namespace onnxprune
