# header_alone.cmake - every header compiles by itself, as C11 and with the project's warnings.
cmake_minimum_required(VERSION 3.22)
file(GLOB_RECURSE headers RELATIVE ${ROOT} ${ROOT}/kernels/*.h ${ROOT}/lora/*.h ${ROOT}/proto/*.h
     ${ROOT}/client/*.h ${ROOT}/aggregator/*.h)
set(bad "")
foreach(h ${headers})
  set(flags "")
  if(h MATCHES "^kernels/x86/")
    if(NOT PROCESSOR MATCHES "^(x86_64|AMD64|amd64|i.86)$")
      continue()
    endif()
    set(flags -mavx2 -mfma -mf16c)
  elseif(h MATCHES "^kernels/arm/")
    if(NOT PROCESSOR MATCHES "^(aarch64|arm64)$")
      continue()
    endif()
    set(flags -march=armv8.2-a+dotprod+i8mm)
  endif()
  execute_process( # ISO C wants a declaration even after a header of macros only
    COMMAND ${CMAKE_COMMAND} -E echo "typedef int not_empty;"
    COMMAND ${CC} -std=c11 -D_POSIX_C_SOURCE=200809L -DSHOAL_VERSION="lint" -Wall -Wextra -Wpedantic
            -Werror -Wno-unused-function ${flags} -I${ROOT} -fsyntax-only -include ${h} -x c -
    WORKING_DIRECTORY ${ROOT} RESULT_VARIABLE rc ERROR_VARIABLE text)
  if(NOT rc EQUAL 0)
    list(APPEND bad "${h}:\n${text}")
  endif()
endforeach()
if(bad)
  list(JOIN bad "\n" text)
  message(FATAL_ERROR "headers that do not compile alone:\n${text}")
endif()
list(LENGTH headers n)
message(STATUS "headers: ${n} compile alone")
