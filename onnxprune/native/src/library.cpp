// What the shared library exports: ONNX Runtime finds RegisterCustomOps by its name.
#include <climits>
#include <mutex>

#include "abi.h"
#include "isa.h"
#include "operators.h"
#include "runtime.h"

#define ONNXPRUNE_EXPORT extern "C" __attribute__((visibility("default")))

namespace onnxprune {
namespace {

struct Entry : abi::CustomOp {
  const Operator* op;
};

const Operator& of(const abi::CustomOp* entry) { return *static_cast<const Entry*>(entry)->op; }

abi::Status* create(const abi::CustomOp* entry, const abi::Api*, const abi::KernelInfo* info, void** kernel) {
  return guarded([&] { *kernel = of(entry).create(Node(info), of(entry).fusion).release(); });
}

abi::Status* compute(void* kernel, abi::KernelContext* context) {
  return guarded([&] { static_cast<Kernel*>(kernel)->compute(Call(context)); });
}

Entry entry_of(const Operator& op) {
  using abi::CustomOp;
  Entry entry{};
  entry.op = &op;
  entry.version = abi::kVersion;
  entry.GetName = [](const CustomOp* e) { return of(e).name.c_str(); };
  entry.GetExecutionProviderType = [](const CustomOp*) { return "CPUExecutionProvider"; };
  entry.GetInputType = [](const CustomOp* e, size_t i) { return of(e).inputs[i]; };
  entry.GetInputTypeCount = [](const CustomOp* e) { return of(e).inputs.size(); };
  entry.GetOutputType = [](const CustomOp* e, size_t) { return of(e).output; };
  entry.GetOutputTypeCount = [](const CustomOp*) { return size_t{1}; };
  const auto zero = [](const CustomOp*, size_t) { return 0; };  // required, in the memory of the CPU
  entry.GetInputCharacteristic = zero;
  entry.GetOutputCharacteristic = zero;
  entry.GetInputMemoryType = zero;
  const auto one = [](const CustomOp*) { return 1; };
  entry.GetVariadicInputMinArity = one;
  entry.GetVariadicOutputMinArity = one;
  entry.GetVariadicInputHomogeneity = one;
  entry.GetVariadicOutputHomogeneity = one;
  entry.GetStartVersion = one;
  entry.GetEndVersion = [](const CustomOp*) { return INT_MAX; };
  entry.CreateKernelV2 = create;
  entry.KernelComputeV2 = compute;
  entry.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return entry;
}

// The runtime keeps pointers to the domain and its operators as long as any session lives: they are made once.
void* domain() {
  static void* made = [] {
    static std::vector<Entry> entries;
    for (const Operator& op : operators()) entries.push_back(entry_of(op));
    void* domain = nullptr;
    check(abi::CreateCustomOpDomain::in(runtime_api)("onnxprune", &domain));
    for (const Entry& entry : entries) check(abi::CustomOpDomain_Add::in(runtime_api)(domain, &entry));
    return domain;
  }();
  return made;
}

}  // namespace
}  // namespace onnxprune

ONNXPRUNE_EXPORT onnxprune::abi::Status* RegisterCustomOps(void* options, const onnxprune::abi::ApiBase* base) {
  using namespace onnxprune;
  static std::mutex mutex;
  std::lock_guard<std::mutex> lock(mutex);
  if (runtime_api == nullptr) runtime_api = base->GetApi(abi::kVersion);
  if (runtime_api == nullptr) return nullptr;  // older than 1.17: the fallback functions of the file run
  return guarded([&] { check(abi::AddCustomOpDomain::in(runtime_api)(options, domain())); });
}

// Names of all operators, a space between them: a library that was built before others were added has fewer.
ONNXPRUNE_EXPORT const char* onnxprune_operators() {
  static const std::string names = [] {
    std::string all;
    for (const onnxprune::Operator& op : onnxprune::operators()) all += (all.empty() ? "" : " ") + op.name;
    return all;
  }();
  return names.c_str();
}

// For `onnxprune env`.
ONNXPRUNE_EXPORT const char* onnxprune_isa() { return onnxprune::isa_name(onnxprune::isa()); }
