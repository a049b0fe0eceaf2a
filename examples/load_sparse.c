/* Runs a file with sparse operators through ONNX Runtime's C interface: load_sparse MODEL LIBRARY
 *
 * cc load_sparse.c -I onnxruntime/include -L onnxruntime/lib -l onnxruntime -o load_sparse
 *
 * LIBRARY is what `onnxprune env` names. Without it the file runs as well, by its dense functions: "-" leaves it out.
 * The model is models/digits.onnx, or one made from it: an image of 8 x 8 in, ten scores out. */
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtApi* ort;

static void check(OrtStatus* status) {
  if (status == NULL) return;
  fprintf(stderr, "%s\n", ort->GetErrorMessage(status));
  ort->ReleaseStatus(status);
  exit(1);
}

int main(int count, char** words) {
  if (count != 3) {
    fprintf(stderr, "usage: load_sparse MODEL LIBRARY\n");
    return 2;
  }
  ort = OrtGetApiBase()->GetApi(17); /* ONNX Runtime 1.17 or newer */
  if (ort == NULL) return 1;
  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession* session;
  void* library = NULL;
  check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "example", &env));
  check(ort->CreateSessionOptions(&options));
  if (strcmp(words[2], "-") != 0) check(ort->RegisterCustomOpsLibrary(options, words[2], &library)); /* this is all */
  check(ort->CreateSession(env, words[1], options, &session));

  float pixels[64];
  for (int i = 0; i < 64; ++i) pixels[i] = (float)(i % 8) / 8;
  const int64_t shape[] = {1, 1, 8, 8};
  const char *inputs[] = {"image"}, *outputs[] = {"logits"};
  OrtMemoryInfo* memory;
  OrtValue *image, *scores = NULL;
  check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
  check(ort->CreateTensorWithDataAsOrtValue(memory, pixels, sizeof pixels, shape, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
                                            &image));
  check(ort->Run(session, NULL, inputs, (const OrtValue* const*)&image, 1, outputs, 1, &scores));
  float* values;
  check(ort->GetTensorMutableData(scores, (void**)&values));
  for (int i = 0; i < 10; ++i) printf("%.9g\n", values[i]);

  ort->ReleaseValue(scores);
  ort->ReleaseValue(image);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(env);
  return 0;
}
