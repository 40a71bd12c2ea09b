# weft_library(NAME SOURCES a.cc ... DEPS lib ...): the static library of one folder.
# weft_test(NAME SOURCES a_test.cc ... DEPS lib ...): a GoogleTest binary, registered with ctest as one test.
# weft_fuzzer(NAME SOURCES a_fuzz.cc DEPS lib ...): a libFuzzer binary; its seeds lie in tests/corpus/NAME. Registered
# with ctest as a run of WEFT_FUZZ_SECONDS that begins with the seeds; what it finds stays in the build folder.
function(weft_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(${name} PUBLIC ${ARG_DEPS})
endfunction()

function(weft_test name)
  if(NOT WEFT_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_compile_definitions(${name} PRIVATE WEFT_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900)
endfunction()

# Runs the tests of `name` that FILTER takes with each instruction set, as tests of their own. The
# environment variable caps what the machine has.
function(weft_test_with_each_isa name)
  if(NOT WEFT_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "FILTER" "" ${ARGN})
  foreach(isa avx2 avx512bf16)
    add_test(NAME ${name}_${isa} COMMAND ${name} --gtest_filter=${ARG_FILTER})
    set_tests_properties(${name}_${isa} PROPERTIES TIMEOUT 900 LABELS ${name}
      ENVIRONMENT WEFT_CPU_ISA=${isa})
  endforeach()
endfunction()

function(weft_fuzzer name)
  if(NOT WEFT_BUILD_FUZZERS)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  set(found ${CMAKE_CURRENT_BINARY_DIR}/${name}.found)
  file(MAKE_DIRECTORY ${found})
  add_test(NAME ${name}
    COMMAND ${name} -max_total_time=${WEFT_FUZZ_SECONDS} -timeout=10 -rss_limit_mb=2048 -artifact_prefix=${found}/
      ${found} ${CMAKE_SOURCE_DIR}/tests/corpus/${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 900)
endfunction()

# Installs a program into bin; further arguments are install's. It finds the other libraries beside it: an RPATH,
# unlike a RUNPATH, holds for what those libraries need in turn.
function(weft_install_program name)
  set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
  target_link_options(${name} PRIVATE -Wl,--disable-new-dtags)
  install(TARGETS ${name} ${ARGN})
endfunction()
