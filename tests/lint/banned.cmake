# banned.cmake - calls that have a better counterpart here, and size limits of files.
# Reads text, so comments must not hold a banned word followed by "(".
cmake_minimum_required(VERSION 3.22)

set(ALLOC "malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup|alloca")
set(TEXT "strcpy|strcat|sprintf|vsprintf|strtok|gets|atoi|atol|atof|strncpy")
set(EXIT "exit|_exit|abort|quick_exit")
set(RAND "rand|srand|random|drand48")
set(PRINT "printf|puts|putchar|fprintf|fputs|perror")

# Files that may use a family, and why.
set(OK_ALLOC "kernels/base/mem\\.c")                      # the allocator itself
set(OK_EXIT "client/[a-z_]+\\.c|aggregator/keeper\\.c")                      # _exit in a forked child, checked below
set(OK_PRINT "kernels/base/(log|command|options|term)\\.c|client/.*|aggregator/.*") # the programs talk, libraries do not

set(bad "")
foreach(top kernels lora proto client aggregator)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${top}/*.c ${ROOT}/${top}/*.h)
  foreach(f ${files})
    foreach(family ALLOC TEXT EXIT RAND PRINT)
      if(DEFINED OK_${family} AND f MATCHES "^(${OK_${family}})$")
        continue()
      endif()
      file(STRINGS ${ROOT}/${f} hits REGEX "(^|[^A-Za-z0-9_>.])(${${family}})[ ]?\\(")
      foreach(h ${hits})
        string(STRIP "${h}" h)
        list(APPEND bad "${f}: ${h}")
      endforeach()
    endforeach()
    if(NOT f MATCHES "_table\\.[ch]$")
      file(STRINGS ${ROOT}/${f} all)
      list(LENGTH all n)
      if(n GREATER 1000)
        list(APPEND bad "${f}: ${n} lines, the ceiling is 1000")
      endif()
    endif()
  endforeach()
endforeach()

if(bad)
  list(JOIN bad "\n  " text)
  message(FATAL_ERROR "banned calls or sizes:\n  ${text}")
endif()
message(STATUS "banned: clean")
