/*
 * Memory that is there: each call returns it, or says in the log where how many bytes could not be
 * had, and aborts. A server that has no memory left cannot answer, and what it had promised is
 * taken over by others (reconcile/orphans.h).
 *
 * The caller owns what it gets, and frees it with free(). For any thread. No size comes from
 * outside without a bound.
 */
#ifndef HOLDFAST_BASE_ALLOC_H
#define HOLDFAST_BASE_ALLOC_H

#include <stddef.h>

/* Not set to anything. */
#define alloc_bytes(bytes_) alloc_bytes_at(__FILE__, __LINE__, (bytes_))
/* `count` elements, all zero. */
#define alloc_zero(count_, bytes_) alloc_zero_at(__FILE__, __LINE__, (count_), (bytes_))
/* The elements of `memory`, which may be NULL and is gone, in room for `count`; what is new is not
   set to anything. */
#define alloc_resize(memory_, count_, bytes_)                                                      \
    alloc_resize_at(__FILE__, __LINE__, (memory_), (count_), (bytes_))
/* All zero, at a multiple of `alignment`, which divides `bytes`. */
#define alloc_aligned(alignment_, bytes_)                                                          \
    alloc_aligned_at(__FILE__, __LINE__, (alignment_), (bytes_))
/* `n` bytes and a NUL behind them. */
#define alloc_copy(bytes_, n_) alloc_copy_at(__FILE__, __LINE__, (bytes_), (n_))
#define alloc_text(text_) alloc_text_at(__FILE__, __LINE__, (text_))
/* What a library has allocated: the same end if it is NULL. */
#define alloc_check(memory_) alloc_check_at(__FILE__, __LINE__, (memory_))

void *alloc_bytes_at(const char *file, int line, size_t bytes);
void *alloc_zero_at(const char *file, int line, size_t count, size_t bytes);
void *alloc_resize_at(const char *file, int line, void *memory, size_t count, size_t bytes);
void *alloc_aligned_at(const char *file, int line, size_t alignment, size_t bytes);
char *alloc_copy_at(const char *file, int line, const char *bytes, size_t n);
char *alloc_text_at(const char *file, int line, const char *text);
void *alloc_check_at(const char *file, int line, void *memory);

#endif
