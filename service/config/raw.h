/*
 * The settings as libcyaml loads them: each a string, or NULL if the file does not say it.
 *
 * They are not loaded as numbers and words, because libcyaml would stop at the first that is
 * none: values.c reads the strings, and names every one that is wrong.
 */
#ifndef HOLDFAST_CONFIG_RAW_H
#define HOLDFAST_CONFIG_RAW_H

#include "config/complaints.h"
#include "config/settings.h"

/* One mapping of the file; the members stand in the order of its section's records. */
typedef struct raw {
    char *values[SECTION_SETTINGS_MAX];
    /* Of a plain section at most one; of a list its elements, one after the other. */
    struct raw *children[SECTION_CHILDREN_MAX];
    unsigned children_count[SECTION_CHILDREN_MAX]; /* of a list */
} raw_t;

/* A file and the schema that frees it. */
typedef struct raw_file raw_file_t;

/* NULL if libcyaml does not take it, which was complained of. */
raw_file_t *raw_load(const char *text, size_t n, const section_t *root, complaints_t *complaints);
const raw_t *raw_root(const raw_file_t *file);
void raw_free(raw_file_t *file);

#endif
