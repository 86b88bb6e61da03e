# layers.cmake - the folder tree is the dependency order: who may include whom, and which third-party
# header may appear in which file. Run: cmake -DROOT=<source root> -P tests/lint/layers.cmake
cmake_minimum_required(VERSION 3.22)

# Room -> rooms it may include (a prefix match on the path; the first matching room counts).
set(ROOMS kernels lora/compress lora/model lora/infer lora/train proto/net proto client aggregator)
set(MAY_kernels "kernels/")
set(MAY_lora/compress "kernels/;lora/model/;lora/compress/;lora/train/adapter.h")
set(MAY_lora/model "kernels/;lora/model/")
set(MAY_lora/infer "kernels/;lora/model/;lora/infer/;lora/train/adapter.h")
set(MAY_lora/train "kernels/;lora/model/;lora/train/")
set(MAY_proto/net "kernels/;proto/")
set(MAY_proto "kernels/;proto/")
set(MAY_client "kernels/;lora/;proto/;client/")
set(MAY_aggregator "kernels/;lora/;proto/;aggregator/")

# Third-party header prefix -> files that may include it (regular expressions on the path).
set(THIRD
  "curl/=client/net\\.c"
  "mbedtls/ssl=proto/net/tls(_buffers)?\\.[ch]"
  "openssl/=proto/crypto_libcrypto\\.c"
  "mbedtls/=proto/(crypto|x509|net/tls)(_[a-z0-9]+)?\\.c|proto/x509_parse\\.h"
  "protobuf-c=proto/wire\\.c"
  "zstd=proto/delta\\.c"
  "sqlite3=aggregator/store(_[a-z]+)?\\.c"
  "uv\\.h=proto/net/[a-z_]+\\.c|aggregator/[a-z_]+\\.c"
  "http_parser=proto/net/http_[a-z]+\\.[ch]"
  "valgrind/=kernels/base/secret\\.h"
  "qrencode=aggregator/qr\\.c"
  "yaml\\.h=aggregator/config\\.c"
  "jansson=(client|aggregator)/[a-z0-9_]+\\.[ch]"
  "immintrin=kernels/x86/[a-z0-9_]+\\.[ch]"
  "arm_neon=kernels/arm/[a-z0-9_]+\\.[ch]")

set(bad "")
foreach(top kernels lora proto client aggregator)
  file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/${top}/*.c ${ROOT}/${top}/*.h)
  foreach(f ${files})
    set(room "")
    foreach(r ${ROOMS})
      if(NOT room AND f MATCHES "^${r}/")
        set(room ${r})
      endif()
    endforeach()
    if(NOT room)
      list(APPEND bad "${f}: in no known room")
      continue()
    endif()
    file(STRINGS ${ROOT}/${f} lines REGEX "^[ \t]*#[ \t]*include")
    foreach(line ${lines})
      if(line MATCHES "\"([^\"]+)\"")
        set(inc ${CMAKE_MATCH_1})
        set(ok FALSE)
        foreach(p ${MAY_${room}})
          string(FIND "${inc}" "${p}" at)
          if(at EQUAL 0)
            set(ok TRUE)
          endif()
        endforeach()
        if(NOT ok AND NOT inc MATCHES "\\.pb-c\\.h$")
          list(APPEND bad "${f}: includes ${inc}, which ${room}/ may not see")
        endif()
      elseif(line MATCHES "<([^>]+)>")
        set(inc ${CMAKE_MATCH_1})
        set(decided FALSE)
        foreach(rule ${THIRD})
          if(NOT decided AND rule MATCHES "^([^=]+)=(.*)$")
            set(prefix ${CMAKE_MATCH_1})
            set(where ${CMAKE_MATCH_2})
            if(inc MATCHES "^${prefix}")
              set(decided TRUE)
              if(NOT f MATCHES "^(${where})$")
                list(APPEND bad "${f}: <${inc}> belongs in ${where}")
              endif()
            endif()
          endif()
        endforeach()
      endif()
    endforeach()
  endforeach()
endforeach()

if(bad)
  list(JOIN bad "\n  " text)
  message(FATAL_ERROR "layering is broken:\n  ${text}")
endif()
message(STATUS "layers: clean")
