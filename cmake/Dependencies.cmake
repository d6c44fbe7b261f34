# Everything comes from Debian 12; scripts/bootstrap installs it.

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(OpenSSL 3 REQUIRED)
find_package(CURL REQUIRED)
find_package(GTest REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(PUGIXML REQUIRED IMPORTED_TARGET pugixml)

find_program(GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED)

# With AETHERFS_STATIC_RPC gRPC, protobuf and absl are linked from their archives. A program then starts in a third of
# the time (some 60 shared libraries less to map and relocate), which is most of what a small publish takes.
option(AETHERFS_STATIC_RPC "link gRPC, protobuf and absl statically" OFF)
if(AETHERFS_STATIC_RPC)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    foreach(property IMPORTED_LOCATION IMPORTED_LOCATION_NONE IMPORTED_LOCATION_RELEASE)
      get_target_property(location ${target} ${property})
      if(location MATCHES "^(.*/lib(grpc|gpr|absl|protobuf|upb|address_sorting)[^/]*)\\.so[.0-9]*$")
        set_target_properties(${target} PROPERTIES ${property} ${CMAKE_MATCH_1}.a)
      endif()
    endforeach()
  endforeach()
  # What the archives need and their shared twins know by themselves.
  get_target_property(grpc_location gRPC::grpc IMPORTED_LOCATION_NONE)
  cmake_path(GET grpc_location PARENT_PATH archives)
  file(GLOB absl_archives ${archives}/libabsl_*.a)
  set_property(TARGET gRPC::grpc APPEND PROPERTY INTERFACE_LINK_LIBRARIES
    ${absl_archives} ${archives}/libre2.a ${archives}/libcares.a resolv)
endif()
