/* Reads whole small files and checks them: the configuration itself, secrets, PEM files. Blocks;
   any thread may call. */
#ifndef HOLDFAST_CONFIG_FILE_H
#define HOLDFAST_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Bytes of a reason: what is wrong with a value or a file. */
#define REASON_SIZE 160

/*
 * Returns the content of a regular file of 1 to `bytes_max` bytes whose mode has no bit of
 * `forbidden`: `*n` bytes and a NUL, which the caller frees. NULL: `reason` has the cause ("cannot
 * be opened: ...").
 */
char *file_read(const char *path, mode_t forbidden, size_t bytes_max, size_t *n,
                char reason[REASON_SIZE]);
/* Can the file be read as a PEM file, and, if `private_file`, can other users not read it? False:
   `reason` has the cause. */
bool file_check_pem(const char *path, bool private_file, char reason[REASON_SIZE]);

#endif
