// How work is cut into tasks: columns into panels a few vectors wide, row blocks into chunks of equal work.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace onnxprune {

struct Panel {
  int first;    // column
  int columns;  // that exist
  int vectors;  // that are computed: at least as many columns
};

// Panels of at most `widest` vectors of `lanes` columns, as equal as can be.
inline std::vector<Panel> panels(int columns, int lanes, int widest) {
  const int64_t vectors = (int64_t{columns} + lanes - 1) / lanes, count = (vectors + widest - 1) / widest;
  std::vector<Panel> result;
  for (int64_t p = 0; p < count; ++p) {
    const int first = static_cast<int>(vectors * p / count), last = static_cast<int>(vectors * (p + 1) / count);
    result.push_back({first * lanes, std::min(columns - first * lanes, (last - first) * lanes), last - first});
  }
  return result;
}

// The last panel is moved to end at the last column, where it would reach beyond; the one before ends where it starts.
inline void end_at(std::vector<Panel>& panels, int columns, int lanes) {
  Panel& last = panels.back();
  const int width = last.vectors * lanes;
  if (last.columns == width || panels.size() < 2 || columns < width) return;
  last.first = columns - width;
  last.columns = width;
  Panel& before = panels[panels.size() - 2];
  before.columns = last.first - before.first;
}

struct Chunk {
  int first, last;  // row blocks
};

// At most `want` chunks of the row blocks [first, last), with about equal work each.
inline std::vector<Chunk> chunks(const std::vector<int64_t>& work, int first, int last, int want) {
  const int64_t begin = work[static_cast<size_t>(first)], total = work[static_cast<size_t>(last)] - begin;
  std::vector<Chunk> result;
  for (int c = 1, at = first; c <= want && at < last; ++c) {
    const auto found = std::lower_bound(work.begin() + at + 1, work.begin() + last, begin + total * c / want);
    const int end = c == want ? last : static_cast<int>(found - work.begin());
    result.push_back({at, end});
    at = end;
  }
  return result;
}

// Enough tasks for the threads of a session to share, few enough that starting them costs nothing.
constexpr int kTasks = 16;

inline int chunks_for(size_t panel_count) { return std::max(1, kTasks / static_cast<int>(std::max<size_t>(1, panel_count))); }

}  // namespace onnxprune
