#include "planes.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "kernels.h"

namespace onnxprune {

Planes planes_of(const Window& window, const Frame& frame) {
  Planes planes;
  const Axis &y = window.y, &x = window.x;
  planes.rows = frame.out_height + static_cast<int>((y.reach() - 1) / y.stride);
  planes.width = frame.out_width + static_cast<int>((x.reach() - 1) / x.stride);
  planes.plane = planes.rows * planes.width;
  for (int64_t i = 0; i < y.kernel; ++i)
    for (int64_t j = 0; j < x.kernel; ++j) {
      const int64_t dy = i * y.dilation, dx = j * x.dilation;
      const Planes::Phase wanted{dy % y.stride, dx % x.stride};
      const auto known = std::find_if(planes.phases.begin(), planes.phases.end(), [&](const Planes::Phase& phase) {
        return phase.y == wanted.y && phase.x == wanted.x;
      });
      const int64_t slot = known - planes.phases.begin();
      if (known == planes.phases.end()) planes.phases.push_back(wanted);
      planes.taps.push_back(
          static_cast<int32_t>(slot * planes.plane + (dy / y.stride) * planes.width + dx / x.stride));
    }
  planes.channel = planes.plane * static_cast<int>(planes.phases.size());
  return planes;
}

namespace {

// to[q] = from[q * stride + first] where that lies inside [0, size), `outside` elsewhere.
template <class T>
void fill_row(const T* from, int64_t size, int64_t stride, int64_t first, T outside, T* to, int64_t width) {
  const int64_t left = first >= 0 ? 0 : std::min(width, (-first + stride - 1) / stride);
  const int64_t right = first >= size ? left : std::max(left, std::min(width, (size - first - 1) / stride + 1));
  std::fill(to, to + left, outside);
  if (stride == 1)
    std::copy(from + first + left, from + first + right, to + left);
  else if (std::is_same<T, float>::value && stride == 2 && left < right)
    kernels().every_second(reinterpret_cast<const float*>(from) + left * 2 + first, static_cast<int>(right - left),
                           reinterpret_cast<float*>(to) + left);
  else
    for (int64_t q = left; q < right; ++q) to[q] = from[q * stride + first];
  std::fill(to + right, to + width, outside);
}

}  // namespace

template <class T>
void fill_planes(const Planes& planes, const Window& window, const Frame& frame, const T* channel, T outside, T* to) {
  for (const Planes::Phase& phase : planes.phases)
    for (int64_t row = 0; row < planes.rows; ++row, to += planes.width) {
      const int64_t from_row = row * window.y.stride + phase.y - window.y.before;
      if (from_row < 0 || from_row >= frame.height)
        std::fill(to, to + planes.width, outside);
      else
        fill_row(channel + from_row * frame.width, frame.width, window.x.stride, phase.x - window.x.before, outside,
                 to, int64_t{planes.width});
    }
}

template void fill_planes(const Planes&, const Window&, const Frame&, const float*, float, float*);
template void fill_planes(const Planes&, const Window&, const Frame&, const uint8_t*, uint8_t, uint8_t*);

}  // namespace onnxprune
