/* temp_dir.h - a fresh directory for one test, and its removal with everything in it. */
#ifndef SHOAL_TESTS_SUPPORT_TEMP_DIR_H
#define SHOAL_TESTS_SUPPORT_TEMP_DIR_H

enum { TEMP_DIR_MAX = 128 };

/* Fails the running test when it cannot. */
void temp_dir_make(char out[TEMP_DIR_MAX]);
void temp_dir_remove(const char *dir);

#endif
