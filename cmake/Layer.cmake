# aetherfs_layer(<name> [DEPS <target>...] [TEST_DEPS <target>...])
#
# One folder, one layer, one target. Sources are the folder's *.cc; a `testing/` folder becomes
# <name>_testing, its fakes; the *_test.cc become one executable, <name>_test.
function(aetherfs_layer name)
  cmake_parse_arguments(ARG "" "" "DEPS;TEST_DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")

  add_library(aetherfs_${name} STATIC ${sources})
  target_include_directories(aetherfs_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(aetherfs_${name} PUBLIC ${ARG_DEPS} PRIVATE aetherfs_warnings)
  aetherfs_use_pch(aetherfs_${name})

  file(GLOB fakes CONFIGURE_DEPENDS testing/*.cc)
  list(FILTER fakes EXCLUDE REGEX "_test\\.cc$")
  file(GLOB fake_tests CONFIGURE_DEPENDS testing/*_test.cc)
  if(fakes)
    add_library(aetherfs_${name}_testing STATIC ${fakes})
    target_link_libraries(aetherfs_${name}_testing
      PUBLIC aetherfs_${name} ${ARG_TEST_DEPS} GTest::gmock PRIVATE aetherfs_warnings)
    aetherfs_use_pch(aetherfs_${name}_testing)
    list(APPEND ARG_TEST_DEPS aetherfs_${name}_testing)
  endif()

  if(tests OR fake_tests)
    add_executable(${name}_test ${tests} ${fake_tests})
    target_link_libraries(${name}_test PRIVATE
      aetherfs_${name} ${ARG_TEST_DEPS} GTest::gmock GTest::gtest_main aetherfs_warnings
      $<TARGET_NAME_IF_EXISTS:aetherfs_tsan>)
    aetherfs_use_pch(${name}_test)
    set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name}_test COMMAND ${name}_test)
  endif()
endfunction()
