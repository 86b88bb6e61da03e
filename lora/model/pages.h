/* pages.h - says which pages of a mapped file are wanted in memory and which no longer.
 *
 * Only memory changes, never what a read gives: a page that was dropped is read again when touched.
 * Both calls work on whole windows of 64 KB, because a page fault maps its neighbours within such a
 * window as well (Linux, fault-around): a drop must take those along.
 *
 * Layer: lora/model. Threads: any; dropping pages that another thread reads costs that thread time.
 */
#ifndef SHOAL_LORA_MODEL_PAGES_H
#define SHOAL_LORA_MODEL_PAGES_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHOAL_PAGES_WINDOW = 64 * 1024 };

/* Which pages a file is mapped in. Huge ones (of 2 MB on most machines, where the file system can)
 * miss the address cache less: weights are read up to a tenth faster. They come and go as a whole,
 * so a program that must hold little of a file at a time wants small ones. */
typedef enum shoal_page_size { SHOAL_PAGES_HUGE, SHOAL_PAGES_SMALL } shoal_page_size;

/* A file mapped read-only. p NULL: the bytes lie in memory anyway, and the calls do nothing. */
typedef struct shoal_mapping {
    const void *p;
    size_t n;
    shoal_page_size pages;
} shoal_mapping;

/* Maps n >= 1 bytes of an open file read-only; NULL with errno set. Ends with shoal_pages_unmap. */
const void *shoal_pages_map(int fd, size_t n, shoal_page_size pages);
void shoal_pages_unmap(const void *p, size_t n);

/* Most bytes that are resident once n bytes at p were fetched. */
size_t shoal_pages_bytes(const void *p, size_t n);

/* Keeps neighbours in the file apart: a fault in one then maps nothing of the other. Linux maps the
 * whole large folio of the page cache around a fault (6.18; 2 MB), but only within one area, and
 * areas differ in what was advised: every second one, in the order of the file, is `odd`. */
void shoal_pages_part(shoal_mapping map, const void *p, size_t n, bool odd);

/* Returns when the n bytes at p are in memory and mapped; they are read in one go. */
void shoal_pages_fetch(shoal_mapping map, const void *p, size_t n);

/* Takes the n bytes at p, and what shares a window with them, out of this process' resident memory.
 */
void shoal_pages_drop(shoal_mapping map, const void *p, size_t n);

#ifdef __cplusplus
}
#endif
#endif
