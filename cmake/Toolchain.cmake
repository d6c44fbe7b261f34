# Compiler cache, linker, warnings and sanitizers: everything that is about how, not what.

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(aetherfs_warnings INTERFACE)
target_compile_options(aetherfs_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-align
  -Wundef -Wvla -Wno-unused-parameter -Werror)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(aetherfs_warnings INTERFACE
    -Wthread-safety -Wthread-safety-beta -Wno-nullability-extension -Wno-gnu-zero-variadic-macro-arguments)
endif()

if(AETHERFS_SANITIZE)
  add_compile_options(-fsanitize=${AETHERFS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${AETHERFS_SANITIZE})
  # gRPC's headers ask for an exit from sanitizer-dependent layouts that the packaged library does not have.
  if(AETHERFS_SANITIZE MATCHES address)
    add_compile_definitions(GRPC_ASAN_SUPPRESSED)
  endif()
  if(AETHERFS_SANITIZE MATCHES thread)
    add_compile_definitions(GRPC_TSAN_SUPPRESSED)
    # Shows what absl and gRPC synchronise to the sanitizer; every program takes its object file.
    add_library(aetherfs_tsan OBJECT
      ${CMAKE_SOURCE_DIR}/cmake/tsan/absl_visible.cc ${CMAKE_SOURCE_DIR}/cmake/tsan/grpc_visible.cc)
    # absl::Status brings absl::Cord, which not every program links otherwise.
    target_link_libraries(aetherfs_tsan PUBLIC absl::cord absl::status)
    set_target_properties(aetherfs_tsan PROPERTIES CXX_STANDARD 20)
  endif()
endif()
