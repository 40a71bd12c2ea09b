# Planted faults (mutants.toml): each becomes an executable of its own, from a changed copy of one production source. Its
# object comes before the libraries, so that the archive's own is not taken. All are one test.
find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
set(mutate ${CMAKE_SOURCE_DIR}/cmake/mutate.py)
set(table ${CMAKE_CURRENT_SOURCE_DIR}/mutants.toml)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${table})
set(mutants ${CMAKE_CURRENT_BINARY_DIR}/mutants)
file(MAKE_DIRECTORY ${mutants})

add_library(weft_sim_mutant_main OBJECT mutant_main.cc)
target_link_libraries(weft_sim_mutant_main PRIVATE weft_sim)

function(weft_mutant name file)
  set(mutated ${mutants}/${name}.cc)
  add_custom_command(OUTPUT ${mutated}
    COMMAND Python3::Interpreter ${mutate} make ${table} ${name} ${CMAKE_SOURCE_DIR}/${file} ${mutated}
    DEPENDS ${mutate} ${table} ${CMAKE_SOURCE_DIR}/${file}
    VERBATIM)
  add_executable(weft_mutant_${name} ${mutated} $<TARGET_OBJECTS:weft_sim_mutant_main>)
  set_target_properties(weft_mutant_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${mutants})
  # What a planted fault leaves unused is no mistake.
  target_compile_options(weft_mutant_${name} PRIVATE -Wno-unused -Wno-unused-parameter)
  target_link_libraries(weft_mutant_${name} PRIVATE weft_sim)
endfunction()

execute_process(COMMAND ${Python3_EXECUTABLE} ${mutate} list ${table}
  OUTPUT_VARIABLE faults OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" faults "${faults}")
set(mutant_targets)
foreach(fault ${faults})
  string(REPLACE "\t" ";" fault "${fault}")
  weft_mutant(${fault})
  list(GET fault 0 name)
  list(APPEND mutant_targets weft_mutant_${name})
endforeach()
add_custom_target(weft_sim_mutants ALL DEPENDS ${mutant_targets})
add_test(NAME weft_sim_mutants COMMAND ${Python3_EXECUTABLE} ${mutate} run ${table} ${mutants})
set_tests_properties(weft_sim_mutants PROPERTIES TIMEOUT 900)
