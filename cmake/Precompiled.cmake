# One precompiled header for all targets, where AETHERFS_PCH asks for it (the sanitizer presets): gRPC's, absl's and
# GoogleTest's headers are most of what a compiler reads here. The release build does without, which shows an include
# that a file forgot.
option(AETHERFS_PCH "precompile the libraries' headers (clang only)" OFF)

if(AETHERFS_PCH)
  # A precompiled header is for one set of flags, and some libraries bring this one.
  add_compile_options(-pthread)
  file(WRITE ${CMAKE_BINARY_DIR}/precompiled.cc "// Carries the precompiled header.\n")
  add_library(aetherfs_pch STATIC ${CMAKE_BINARY_DIR}/precompiled.cc)
  target_link_libraries(aetherfs_pch PRIVATE
    absl::status absl::statusor absl::synchronization absl::flat_hash_map fmt::fmt gRPC::grpc++ protobuf::libprotobuf
    GTest::gmock OpenSSL::Crypto Threads::Threads aetherfs_warnings)
  target_compile_definitions(aetherfs_pch PRIVATE OPENSSL_SUPPRESS_DEPRECATED)
  set_target_properties(aetherfs_pch PROPERTIES PCH_INSTANTIATE_TEMPLATES ON)
  target_precompile_headers(aetherfs_pch PRIVATE
    <algorithm> <atomic> <chrono> <functional> <map> <memory> <optional> <regex> <set> <sstream> <string> <thread>
    <unordered_map> <variant> <vector>
    <absl/container/flat_hash_map.h> <absl/container/flat_hash_set.h> <absl/functional/function_ref.h>
    <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/strings/str_split.h> <absl/synchronization/mutex.h>
    <absl/synchronization/notification.h> <absl/time/time.h>
    <fmt/format.h> <fmt/ranges.h>
    <google/protobuf/generated_message_reflection.h> <google/protobuf/map.h> <google/protobuf/message.h>
    <google/protobuf/util/json_util.h>
    <grpcpp/grpcpp.h> <grpcpp/support/client_callback.h> <grpcpp/support/server_callback.h>
    <nlohmann/json.hpp>
    <gmock/gmock.h> <gtest/gtest.h>)
endif()

function(aetherfs_use_pch target)
  if(AETHERFS_PCH)
    target_precompile_headers(${target} REUSE_FROM aetherfs_pch)
  endif()
endfunction()
