// A zero-padded copy of the input in which every tap of a convolution is a plain shift, so that no im2col is needed:
// with stride s, input column s * q + p goes to column q of phase plane p. Only phases that some tap reads are kept.
#pragma once
#include <cstdint>
#include <vector>

#include "window.h"

namespace onnxprune {

struct Planes {
  struct Phase {
    int64_t y, x;
  };
  std::vector<Phase> phases;
  std::vector<int32_t> taps;  // offset of every tap from the start of a channel's planes
  int rows = 0, width = 0;    // of one phase plane
  int plane = 0;              // elements of one phase plane
  int channel = 0;            // elements of all phase planes of one channel

  // Output columns laid out as they are computed: rows of `width`, of which the first out_width are wanted.
  int columns(const Frame& frame) const { return (frame.out_height - 1) * width + frame.out_width; }
};

Planes planes_of(const Window& window, const Frame& frame);

// Copies one channel [height, width] into its phase planes; `outside` is what surrounds it.
template <class T>
void fill_planes(const Planes& planes, const Window& window, const Frame& frame, const T* channel, T outside, T* to);

extern template void fill_planes(const Planes&, const Window&, const Frame&, const float*, float, float*);
extern template void fill_planes(const Planes&, const Window&, const Frame&, const uint8_t*, uint8_t, uint8_t*);

}  // namespace onnxprune
