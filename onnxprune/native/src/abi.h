// The part of ONNX Runtime's C interface that these operators need, declared by ourselves.
//
// OrtApi is a table of function pointers to which releases only ever append, and OrtCustomOp is a struct to which they
// only ever append and that carries its own version: what is declared here for version 17 of the interface (ONNX
// Runtime 1.17) stays valid in every later release, so that one binary serves all of them and no header of the runtime
// is needed to build it. scripts/runtimes.py runs the operators in real releases.
#pragma once
#include <cstddef>
#include <cstdint>

namespace onnxprune::abi {

constexpr uint32_t kVersion = 17;  // the first with KernelContext_ParallelFor

struct Status;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;

struct Api {
  void* slot[285];  // as many as version 17 has
};

struct ApiBase {
  const Api* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// Position in the table and type, one line a function.
template <size_t Position, class Function>
struct Slot {
  static Function* in(const Api* api) { return reinterpret_cast<Function*>(api->slot[Position]); }
};

using CreateStatus = Slot<0, Status*(int code, const char* message)>;
using GetErrorMessage = Slot<2, const char*(const Status*)>;
using CreateCustomOpDomain = Slot<26, Status*(const char* name, void** domain)>;
using CustomOpDomain_Add = Slot<27, Status*(void* domain, const struct CustomOp*)>;
using AddCustomOpDomain = Slot<28, Status*(void* options, void* domain)>;
using GetTensorMutableData = Slot<51, Status*(Value*, void**)>;
using GetDimensionsCount = Slot<61, Status*(const TensorInfo*, size_t*)>;
using GetDimensions = Slot<62, Status*(const TensorInfo*, int64_t*, size_t)>;
using GetTensorTypeAndShape = Slot<65, Status*(const Value*, TensorInfo**)>;
using KernelInfoGetAttribute_float = Slot<85, Status*(const KernelInfo*, const char*, float*)>;
using KernelInfoGetAttribute_int64 = Slot<86, Status*(const KernelInfo*, const char*, int64_t*)>;
using KernelContext_GetInput = Slot<90, Status*(const KernelContext*, size_t, const Value**)>;
using KernelContext_GetOutput = Slot<91, Status*(KernelContext*, size_t, const int64_t*, size_t, Value**)>;
using ReleaseStatus = Slot<93, void(Status*)>;
using ReleaseTensorTypeAndShapeInfo = Slot<99, void(TensorInfo*)>;
using KernelInfoGetAttributeArray_int64 = Slot<163, Status*(const KernelInfo*, const char*, int64_t*, size_t*)>;
using KernelInfoGetConstantInput_tensor = Slot<249, Status*(const KernelInfo*, size_t, int* constant, const Value**)>;
using KernelContext_ParallelFor =
    Slot<274, Status*(const KernelContext*, void (*task)(void*, size_t), size_t total, size_t batches, void*)>;

enum ErrorCode { kFail = 1, kInvalidArgument = 2 };
enum ElementType { kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6 };

struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(const CustomOp*, const Api*, const KernelInfo*);
  const char* (*GetName)(const CustomOp*);
  const char* (*GetExecutionProviderType)(const CustomOp*);
  int (*GetInputType)(const CustomOp*, size_t);
  size_t (*GetInputTypeCount)(const CustomOp*);
  int (*GetOutputType)(const CustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const CustomOp*);
  void (*KernelCompute)(void*, KernelContext*);
  void (*KernelDestroy)(void*);
  int (*GetInputCharacteristic)(const CustomOp*, size_t);
  int (*GetOutputCharacteristic)(const CustomOp*, size_t);
  int (*GetInputMemoryType)(const CustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const CustomOp*);
  int (*GetVariadicInputHomogeneity)(const CustomOp*);
  int (*GetVariadicOutputMinArity)(const CustomOp*);
  int (*GetVariadicOutputHomogeneity)(const CustomOp*);
  Status* (*CreateKernelV2)(const CustomOp*, const Api*, const KernelInfo*, void**);
  Status* (*KernelComputeV2)(void*, KernelContext*);
  Status* (*InferOutputShapeFn)(const CustomOp*, void*);
  int (*GetStartVersion)(const CustomOp*);
  int (*GetEndVersion)(const CustomOp*);
  size_t (*GetMayInplace)(int**, int**);
  void (*ReleaseMayInplace)(int*, int*);
  size_t (*GetAliasMap)(int**, int**);
  void (*ReleaseAliasMap)(int*, int*);
};

}  // namespace onnxprune::abi
