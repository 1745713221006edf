/*
 * Allocation that cannot fail: each call returns memory, or logs the place and the number of bytes
 * and aborts the process. A server without memory cannot answer, and other processes take over its
 * unsettled orders (reconcile/orphans.h).
 *
 * The caller owns the memory and frees it with free(). Any thread may call. Does not block. Every
 * size that comes from outside the process has a bound before it comes here.
 */
#ifndef HOLDFAST_BASE_ALLOC_H
#define HOLDFAST_BASE_ALLOC_H

#include <stddef.h>

/* The bytes are not initialised. */
#define alloc_bytes(bytes_) alloc_bytes_at(__FILE__, __LINE__, (bytes_))
/* `count` elements of `bytes`, all zero. */
#define alloc_zero(count_, bytes_) alloc_zero_at(__FILE__, __LINE__, (count_), (bytes_))
/* Moves the elements of `memory` (may be NULL; it is freed or reused) into room for `count`
   elements. New elements are not initialised. */
#define alloc_resize(memory_, count_, bytes_)                                                      \
    alloc_resize_at(__FILE__, __LINE__, (memory_), (count_), (bytes_))
/* All zero, at a multiple of `alignment`, which must divide `bytes`. */
#define alloc_aligned(alignment_, bytes_)                                                          \
    alloc_aligned_at(__FILE__, __LINE__, (alignment_), (bytes_))
/* A copy of `n` bytes, with a NUL behind them. */
#define alloc_copy(bytes_, n_) alloc_copy_at(__FILE__, __LINE__, (bytes_), (n_))
#define alloc_text(text_) alloc_text_at(__FILE__, __LINE__, (text_))
/* Returns memory that a library has allocated; aborts in the same way if it is NULL. */
#define alloc_check(memory_) alloc_check_at(__FILE__, __LINE__, (memory_))

void *alloc_bytes_at(const char *file, int line, size_t bytes);
void *alloc_zero_at(const char *file, int line, size_t count, size_t bytes);
void *alloc_resize_at(const char *file, int line, void *memory, size_t count, size_t bytes);
void *alloc_aligned_at(const char *file, int line, size_t alignment, size_t bytes);
char *alloc_copy_at(const char *file, int line, const char *bytes, size_t n);
char *alloc_text_at(const char *file, int line, const char *text);
void *alloc_check_at(const char *file, int line, void *memory);

#endif
