# toolchain.cmake - Debian's cross compiler for 64-bit ARM, programs run by qemu's user emulation.
# Which processor is emulated: environment variable QEMU_CPU (max, cortex-a76, cortex-a53, ...).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu) # Debian's multiarch folders
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
