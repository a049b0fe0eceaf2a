// SparseConv: 1x1 convolutions multiply the image as it is; all others multiply shifted views of padded planes.
#include <algorithm>
#include <cstring>
#include <mutex>

#include "kernels.h"
#include "operators.h"
#include "planes.h"
#include "scratch.h"
#include "split.h"
#include "stored.h"
#include "window.h"

namespace onnxprune {
namespace {

// Columns of the weight that are worked on at a time in unstructured 1x1 layers.
constexpr int kSlice = 256;
// From this many output channels on, a panel is read often enough to be worth copying into one place.
constexpr int kPackRows = 128;
constexpr size_t kPage = 4096, kPages = 48;
// Rows of output that wait in the first cache until the gaps between image rows are taken out.
constexpr int kStageRows = 16;
constexpr int kStage = kStageRows * 6 * 16;

// Planes and the place of every non-zero in them, for one size of the input.
struct Layout {
  int height, width;
  Planes planes;
  std::vector<int32_t> index;
};

class SparseConv : public Kernel {
 public:
  SparseConv(const Node& node, Fusion fusion)
      : window_(window_of(node)), add_(fusion.add), range_(range_of(node, fusion.activation)), pool_(Pool::shared()) {
    const bool unstructured = node.integer("block") == 1;
    const int64_t depth = window_.depth * window_.taps();
    const int slice = window_.pointwise() && unstructured ? kSlice : static_cast<int>(depth);
    weight_ = decode(node.constant<float>(1, "the sparse values"), node.constant<uint8_t>(2, "the gaps"),
                     node.constant<float>(3, "the bias"), window_.rows, depth, node.integer("block"), slice);
    require(window_.group == 1 || window_.rows / window_.group % weight_.block == 0,
            "sparse weights: a block reaches into another group");
  }

  void compute(const Call& call) override {
    const Tensor<float> x = call.input<float>(0);
    const Frame frame = frame_of(window_, x.shape);
    const Tensor<float> z = add_ ? call.input<float>(4) : Tensor<float>{};
    require(!add_ || z.shape == frame.out_shape, "SparseConv: the summand has another shape than the output");
    float* y = call.output<float>(frame.out_shape);
    const int64_t in = int64_t{frame.channels} * frame.height * frame.width;
    const int64_t out = int64_t{frame.out_height} * frame.out_width * window_.rows;
    if (out == 0) return;
    for (int64_t n = 0; n < frame.batch; ++n) {
      const float* residual = add_ ? z.data + n * out : nullptr;
      if (window_.pointwise())
        multiply_image(call, frame, x.data + n * in, residual, y + n * out);
      else
        multiply_planes(call, frame, x.data + n * in, residual, y + n * out);
    }
  }

 private:
  SpmmTask task(float* out, int64_t out_stride, const float* residual) const {
    SpmmTask t{};
    t.value = weight_.value.data();
    t.index = weight_.index.data();
    t.rows = weight_.rows;
    t.out = out;
    t.out_stride = static_cast<size_t>(out_stride);
    t.bias = weight_.bias.data();
    t.residual = residual;
    t.low = range_.low;
    t.high = range_.high;
    return t;
  }

  // Chunks of row blocks that stay within one group each.
  std::vector<Chunk> split(size_t panel_count) const {
    const int groups = static_cast<int>(window_.group), per_group = weight_.row_blocks / groups;
    std::vector<Chunk> all;
    for (int g = 0; g < groups; ++g)
      for (const Chunk& chunk : chunks(weight_.work, g * per_group, (g + 1) * per_group,
                                       chunks_for(panel_count * static_cast<size_t>(groups))))
        all.push_back(chunk);
    return all;
  }

  int64_t first_channel(const Chunk& chunk) const {
    if (window_.group == 1) return 0;
    return chunk.first / (weight_.row_blocks / window_.group) * window_.depth;
  }

  // Whether a panel is to be copied into one place: it is read often, and spread over more pages than the processor
  // remembers, or over few places of the first cache.
  bool spread_out(size_t channels, size_t size) const {
    if (window_.rows / window_.group < kPackRows) return false;
    return channels * std::min(size * sizeof(float), kPage) > kPages * kPage || size % (kPage / 16) == 0;
  }

  void multiply_image(const Call& call, const Frame& frame, const float* x, const float* z, float* y) const {
    const Kernels& k = kernels();
    const int size = frame.height * frame.width;
    const size_t channels = static_cast<size_t>(frame.channels);
    std::vector<Panel> cut = panels(size, k.vector, k.widest(weight_.block));
    const std::vector<Chunk> split_rows = split(cut.size());
    const bool pack = cut.back().vectors * k.vector > size || spread_out(channels, static_cast<size_t>(size));
    if (!pack) end_at(cut, size, k.vector);
    const Scratch scratch(*pool_, pack ? (static_cast<size_t>(size) + k.vector) * channels * sizeof(float) : 0);
    const auto place = [&](const Panel& p) { return scratch.as<float>() + static_cast<size_t>(p.first) * channels; };

    const size_t parts = std::min(channels, std::max<size_t>(1, 4 / cut.size()));
    if (pack)
      call.parallel(cut.size() * parts, [&](size_t i) {
        const Panel& p = cut[i / parts];
        const size_t width = static_cast<size_t>(p.vectors * k.vector), part = i % parts;
        for (size_t c = channels * part / parts; c < channels * (part + 1) / parts; ++c) {
          float* to = place(p) + c * width;
          std::memcpy(to, x + c * static_cast<size_t>(size) + p.first, sizeof(float) * static_cast<size_t>(p.columns));
          std::fill(to + p.columns, to + width, 0.f);
        }
      });

    call.parallel(cut.size() * split_rows.size(), [&](size_t i) {
      const Panel& p = cut[i / split_rows.size()];
      const Chunk& rows = split_rows[i % split_rows.size()];
      SpmmTask t = task(y + p.first, size, z ? z + p.first : nullptr);
      t.stride = static_cast<size_t>(pack ? p.vectors * k.vector : size);
      t.panel = (pack ? place(p) : x + p.first) + static_cast<size_t>(first_channel(rows)) * t.stride;
      t.columns = p.columns;
      t.first = rows.first;
      t.last = rows.last;
      multiply_slices(weight_, t, k.spmm(weight_.block, p.vectors));
    });
  }

  void multiply_planes(const Call& call, const Frame& frame, const float* x, const float* z, float* y) {
    const Kernels& k = kernels();
    const std::shared_ptr<const Layout> layout = layout_for(frame);
    const Planes& planes = layout->planes;
    const std::vector<Panel> cut = panels(planes.columns(frame), k.vector, k.widest(weight_.block));
    const std::vector<Chunk> split_rows = split(cut.size());
    const size_t channels = static_cast<size_t>(frame.channels), size = static_cast<size_t>(planes.channel);
    const size_t slack = static_cast<size_t>(8 * k.vector);  // the last panel may read beyond the last plane
    const Scratch scratch(*pool_, (channels * size + slack) * sizeof(float));
    float* copy = scratch.as<float>();

    const size_t parts = std::min<size_t>(channels, kTasks);
    const size_t image = static_cast<size_t>(frame.height) * static_cast<size_t>(frame.width);
    call.parallel(parts, [&](size_t part) {
      for (size_t c = channels * part / parts; c < channels * (part + 1) / parts; ++c)
        fill_planes(planes, window_, frame, x + c * image, 0.f, copy + c * size);
      if (part + 1 == parts) std::fill(copy + channels * size, copy + channels * size + slack, 0.f);
    });

    call.parallel(cut.size() * split_rows.size(), [&](size_t i) {
      const Panel& p = cut[i / split_rows.size()];
      const Chunk& rows = split_rows[i % split_rows.size()];
      SpmmTask t = task(y + p.first, int64_t{frame.out_height} * frame.out_width, z ? z + p.first : nullptr);
      t.panel = copy + static_cast<size_t>(first_channel(rows)) * size + p.first;
      t.stride = 1;
      t.index = layout->index.data();
      t.start = weight_.start[0].data();
      t.columns = p.columns;
      t.first = rows.first;
      t.last = rows.last;
      const Spmm spmm = k.spmm(weight_.block, p.vectors);
      if (planes.width == frame.out_width)
        spmm(t);
      else
        multiply_staged(spmm, t, p, planes, frame, z, y);
    });
  }

  // Image rows have gaps between them: a few output channels at a time go through a small buffer.
  void multiply_staged(Spmm spmm, SpmmTask t, const Panel& p, const Planes& planes, const Frame& frame, const float* z,
                       float* y) const {
    alignas(64) float stage[kStage];
    const int last = t.last, step = kStageRows / weight_.block;
    const size_t width = static_cast<size_t>(p.vectors * kernels().vector);
    const float *residual = z, low = t.low, high = t.high;
    t.out_stride = width;
    t.residual = nullptr;
    if (residual) t.low = -__builtin_inff(), t.high = __builtin_inff();
    for (int block = t.first; block < last; block += step) {
      const int row = block * weight_.block;
      t.first = block;
      t.last = std::min(block + step, last);
      t.out = stage - static_cast<ptrdiff_t>(width) * row;
      spmm(t);
      for (int r = row; r < std::min(t.last * weight_.block, weight_.rows); ++r)
        unstage(stage + static_cast<size_t>(r - row) * width, p, planes, frame, r, residual, low, high, y);
    }
  }

  static void unstage(const float* from, const Panel& p, const Planes& planes, const Frame& frame, int channel,
                      const float* residual, float low, float high, float* y) {
    const int end = p.first + p.columns;
    for (int at = p.first; at < end;) {
      const int row = at / planes.width, column = at % planes.width;
      const int wanted = std::min(end - at, frame.out_width - column);
      if (wanted > 0) {
        const size_t to = (static_cast<size_t>(channel) * frame.out_height + row) * frame.out_width + column;
        const float* values = from + (at - p.first);
        if (residual == nullptr) {
          std::memcpy(y + to, values, sizeof(float) * static_cast<size_t>(wanted));
        } else {
          for (int i = 0; i < wanted; ++i) {
            const float sum = values[i] + residual[to + i], raised = low > sum ? low : sum;
            y[to + i] = high < raised ? high : raised;
          }
        }
      }
      at += std::min(end - at, planes.width - column);
    }
  }

  std::shared_ptr<const Layout> layout_for(const Frame& frame) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (layout_ && layout_->height == frame.height && layout_->width == frame.width) return layout_;
    auto layout = std::make_shared<Layout>();
    layout->height = frame.height;
    layout->width = frame.width;
    layout->planes = planes_of(window_, frame);
    const int taps = static_cast<int>(window_.taps());
    for (int32_t column : weight_.index)
      layout->index.push_back(column / taps * layout->planes.channel +
                              layout->planes.taps[static_cast<size_t>(column % taps)]);
    layout_ = layout;
    return layout_;
  }

  Window window_;
  Sparse weight_;
  bool add_;
  Range range_;
  std::shared_ptr<Pool> pool_;
  std::mutex mutex_;
  std::shared_ptr<const Layout> layout_;  // for the size of the last input
};

}  // namespace

std::unique_ptr<Kernel> make_sparse_conv(const Node& node, Fusion fusion) {
  return std::make_unique<SparseConv>(node, fusion);
}

}  // namespace onnxprune
