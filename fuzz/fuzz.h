#ifndef FUZZ_FUZZ_H_
#define FUZZ_FUZZ_H_

#include <cstdio>
#include <cstdlib>

// Ends the program, so that the fuzzer keeps the input, unless `condition` holds.
#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, size_t size);

#endif  // FUZZ_FUZZ_H_
