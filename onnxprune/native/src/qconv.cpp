// SparseQConv: bytes in, bytes out, as QLinearConv. The input becomes planes of four channels side by side; then every
// convolution, 1x1 too, multiplies shifted views of them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>

#include "integers.h"
#include "operators.h"
#include "planes.h"
#include "scratch.h"
#include "split.h"
#include "window.h"

namespace onnxprune {
namespace {

constexpr int kStageRows = 32;
constexpr int kStage = kStageRows * 6 * 16;

struct Layout {
  int height, width;
  Planes planes;
  std::vector<int32_t> index;
};

float scale_of(const Tensor<float>& scale) {
  require(scale.size() == 1 && std::isfinite(scale.data[0]) && scale.data[0] > 0, "SparseQConv: bad scale");
  return scale.data[0];
}

class SparseQConv : public Kernel {
 public:
  explicit SparseQConv(const Node& node) : window_(window_of(node)), pool_(Pool::shared()) {
    require(window_.group == 1, "SparseQConv: there are no groups of integers");
    fours_ = (window_.depth + 3) / 4;
    const float x_scale = scale_of(node.constant<float>(1, "the scale of the input"));
    x_zero_ = zero_of(node.constant<uint8_t>(2, "the zero point of the input"));
    weight_ = decode_integers(node.constant<int8_t>(3, "the sparse values"), node.constant<uint8_t>(4, "the gaps"),
                              window_.rows, window_.taps() * fours_, node.integer("block"));
    const Tensor<float> scale = node.constant<float>(5, "the scale of the weight");
    const float y_scale = scale_of(node.constant<float>(6, "the scale of the output"));
    y_zero_ = zero_of(node.constant<uint8_t>(7, "the zero point of the output"));
    const Tensor<int32_t> bias = node.constant<int32_t>(8, "the bias");
    require(scale.shape.size() == 1 && scale.size() == window_.rows, "SparseQConv: scale must have one value a row");
    require(bias.shape.size() == 1 && bias.size() == window_.rows, "SparseQConv: bias must have one value a row");
    for (int64_t r = 0; r < window_.rows; ++r) {
      const size_t row = static_cast<size_t>(r);
      // Unsigned: a bias from a hostile file may wrap around.
      bias_.push_back(static_cast<int32_t>(static_cast<uint32_t>(bias.data[r]) -
                                           static_cast<uint32_t>(x_zero_ * weight_.row_sum[row])));
      scale_.push_back(x_scale * scale.data[r] / y_scale);
    }
  }

  void compute(const Call& call) override {
    const Tensor<uint8_t> x = call.input<uint8_t>(0);
    const Frame frame = frame_of(window_, x.shape);
    uint8_t* y = call.output<uint8_t>(frame.out_shape);
    const int64_t in = int64_t{frame.channels} * frame.height * frame.width;
    const int64_t out = int64_t{frame.out_height} * frame.out_width * window_.rows;
    if (out == 0) return;
    for (int64_t n = 0; n < frame.batch; ++n) multiply(call, frame, x.data + n * in, y + n * out);
  }

 private:
  static int zero_of(const Tensor<uint8_t>& zero) {
    require(zero.size() == 1, "SparseQConv: a zero point must be one value");
    return zero.data[0];
  }

  void multiply(const Call& call, const Frame& frame, const uint8_t* x, uint8_t* y) {
    const Kernels& k = kernels();
    const std::shared_ptr<const Layout> layout = layout_for(frame);
    const Planes& planes = layout->planes;
    const std::vector<Panel> cut = panels(planes.columns(frame), k.vector, k.widest_integer(weight_.block));
    const std::vector<Chunk> rows = chunks(weight_.work, 0, weight_.row_blocks, chunks_for(cut.size()));
    const size_t size = static_cast<size_t>(planes.channel), fours = static_cast<size_t>(fours_);
    const size_t slack = static_cast<size_t>(8 * k.vector);  // the last panel may read beyond the last plane
    const size_t parts = std::min<size_t>(fours, kTasks);
    const Scratch scratch(*pool_, 4 * (fours * size + slack + parts * size));
    uint8_t* bytes = scratch.as<uint8_t>();
    uint8_t* narrow = bytes + 4 * (fours * size + slack);  // four channels of a task, before they are interleaved
    call.parallel(parts, [&](size_t part) {
      uint8_t* own = narrow + part * 4 * size;
      for (size_t q = fours * part / parts; q < fours * (part + 1) / parts; ++q)
        fill_four(k, planes, frame, x, static_cast<int>(q), own, bytes + 4 * q * size);
      if (part + 1 == parts) std::memset(bytes + 4 * fours * size, 0, 4 * slack);
    });

    const ptrdiff_t image = static_cast<ptrdiff_t>(frame.out_height) * frame.out_width;
    call.parallel(cut.size() * rows.size(), [&](size_t i) {
      const Panel& p = cut[i / rows.size()];
      QspmmTask t{};
      t.panel = bytes + 4 * static_cast<size_t>(p.first);
      t.stride = 1;
      t.index = layout->index.data();
      t.word = weight_.word.data();
      t.start = weight_.start.data();
      t.first = rows[i % rows.size()].first;
      t.last = rows[i % rows.size()].last;
      t.rows = weight_.rows;
      t.columns = p.columns;
      t.bias = bias_.data();
      t.scale = scale_.data();
      t.zero = y_zero_;
      t.out = y + p.first;
      t.out_stride = image;
      const Qspmm qspmm = k.qspmm_bytes(weight_.block, p.vectors);
      if (planes.width == frame.out_width)
        qspmm(t);
      else
        multiply_staged(qspmm, t, p, planes, frame, y);
    });
  }

  void fill_four(const Kernels& k, const Planes& planes, const Frame& frame, const uint8_t* x, int four, uint8_t* own,
                 uint8_t* to) const {
    const size_t size = static_cast<size_t>(planes.channel);
    const size_t image = static_cast<size_t>(frame.height) * static_cast<size_t>(frame.width);
    const uint8_t* from[4];
    for (int c = 0; c < 4; ++c) {
      const int channel = 4 * four + c;
      uint8_t* copy = own + static_cast<size_t>(c) * size;
      from[c] = copy;
      if (channel >= frame.channels)
        std::memset(copy, 0, size);
      else if (window_.pointwise())
        from[c] = x + static_cast<size_t>(channel) * image;
      else
        fill_planes(planes, window_, frame, x + static_cast<size_t>(channel) * image, static_cast<uint8_t>(x_zero_), copy);
    }
    k.interleave(from, to, size);
  }

  // Image rows have gaps between them: a few output channels at a time go through a small buffer.
  void multiply_staged(Qspmm qspmm, QspmmTask t, const Panel& p, const Planes& planes, const Frame& frame,
                       uint8_t* y) const {
    alignas(64) uint8_t stage[kStage];
    const int last = t.last, step = kStageRows / weight_.block, end = p.first + p.columns;
    const ptrdiff_t width = p.vectors * kernels().vector;
    t.out_stride = width;
    for (int block = t.first; block < last; block += step) {
      const int row = block * weight_.block;
      t.first = block;
      t.last = std::min(block + step, last);
      t.out = stage - width * row;
      qspmm(t);
      for (int r = row; r < std::min(t.last * weight_.block, weight_.rows); ++r)
        for (int at = p.first; at < end;) {
          const int line = at / planes.width, column = at % planes.width;
          const int wanted = std::min(end - at, frame.out_width - column);
          if (wanted > 0)
            std::memcpy(y + (static_cast<size_t>(r) * frame.out_height + line) * frame.out_width + column,
                        stage + (r - row) * width + (at - p.first), static_cast<size_t>(wanted));
          at += std::min(end - at, planes.width - column);
        }
    }
  }

  std::shared_ptr<const Layout> layout_for(const Frame& frame) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (layout_ && layout_->height == frame.height && layout_->width == frame.width) return layout_;
    auto layout = std::make_shared<Layout>();
    layout->height = frame.height;
    layout->width = frame.width;
    layout->planes = planes_of(window_, frame);
    const int fours = static_cast<int>(fours_);
    for (int32_t column : weight_.index)
      layout->index.push_back(column % fours * layout->planes.channel +
                              layout->planes.taps[static_cast<size_t>(column / fours)]);
    layout_ = layout;
    return layout_;
  }

  Window window_;
  int64_t fours_ = 0;
  SparseIntegers weight_;
  int x_zero_ = 0, y_zero_ = 0;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  std::shared_ptr<Pool> pool_;
  std::mutex mutex_;
  std::shared_ptr<const Layout> layout_;  // for the size of the last input
};

}  // namespace

std::unique_ptr<Kernel> make_sparse_qconv(const Node& node, Fusion) { return std::make_unique<SparseQConv>(node); }

}  // namespace onnxprune
