#include "scratch.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "runtime.h"

namespace onnxprune {
namespace {

constexpr size_t kAlignment = 4096;

}  // namespace

std::shared_ptr<Pool> Pool::shared() {
  static std::mutex mutex;
  static std::weak_ptr<Pool> current;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Pool> pool = current.lock();
  if (!pool) current = pool = std::make_shared<Pool>();
  return pool;
}

Pool::~Pool() {
  for (const Buffer& buffer : free_) ::operator delete(buffer.data, std::align_val_t{kAlignment});
}

Pool::Buffer Pool::take(size_t size) {
  Buffer best{nullptr, 0};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      auto largest = std::max_element(free_.begin(), free_.end(),
                                      [](const Buffer& a, const Buffer& b) { return a.size < b.size; });
      best = *largest;
      *largest = free_.back();
      free_.pop_back();
    }
  }
  if (best.size >= size && best.data) return best;
  if (best.data) ::operator delete(best.data, std::align_val_t{kAlignment});
  size = (size + kAlignment) / kAlignment * kAlignment;
  void* data = ::operator new(size, std::align_val_t{kAlignment}, std::nothrow);
  require(data != nullptr, "out of memory");
  return {data, size};
}

void Pool::give(Buffer buffer) noexcept {
  try {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(buffer);
  } catch (...) {
    ::operator delete(buffer.data, std::align_val_t{kAlignment});
  }
}

}  // namespace onnxprune
