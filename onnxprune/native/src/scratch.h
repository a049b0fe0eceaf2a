// Working memory that outlives a call. All kernels of a process share it: nodes run one after the other, so the same
// warm pages serve them all; calls at the same time get a buffer each. The last kernel to go frees it.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace onnxprune {

class Pool {
 public:
  static std::shared_ptr<Pool> shared();
  ~Pool();

 private:
  friend class Scratch;
  struct Buffer {
    void* data;
    size_t size;
  };
  Buffer take(size_t size);
  void give(Buffer buffer) noexcept;
  std::mutex mutex_;
  std::vector<Buffer> free_;
};

// A buffer for the time of a call; throws Failure when there is no memory.
class Scratch {
 public:
  Scratch(Pool& pool, size_t bytes) : pool_(pool), buffer_(pool.take(bytes)) {}
  ~Scratch() { pool_.give(buffer_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  template <class T>
  T* as() const {
    return static_cast<T*>(buffer_.data);
  }

 private:
  Pool& pool_;
  Pool::Buffer buffer_;
};

}  // namespace onnxprune
