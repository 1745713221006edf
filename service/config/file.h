/* Whole small files, read with care: the configuration itself, secrets, PEM files. */
#ifndef HOLDFAST_CONFIG_FILE_H
#define HOLDFAST_CONFIG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Room for what is wrong with a value or a file. */
#define REASON_SIZE 160

/*
 * The content of a regular file of 1 to `bytes_max` bytes whose mode has no bit of `forbidden`;
 * `*n` bytes and a NUL, to be freed. NULL: `reason` says why not ("cannot be opened: ...").
 */
char *file_read(const char *path, mode_t forbidden, size_t bytes_max, size_t *n,
                char reason[REASON_SIZE]);
/* Whether it can be read as a PEM file, and, if it is `private_file`, others cannot; else `reason`.
 */
bool file_check_pem(const char *path, bool private_file, char reason[REASON_SIZE]);

#endif
