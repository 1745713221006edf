/*
 * Files of lua/ and sql/ that are built into the binary, so that it needs no other file.
 *
 * Constant data; any thread may read.
 */
#ifndef HOLDFAST_BASE_EMBEDDED_H
#define HOLDFAST_BASE_EMBEDDED_H

#include "base/str.h"

/* The functions library of Redis: the parts in lua/, joined. */
str_t embedded_lua_library(void);

/* sql/NNNN_name.sql, in the order of their numbers. */
typedef struct {
    unsigned number;
    const char *name;
    str_t text;
} embedded_migration_t;

extern const embedded_migration_t *const embedded_migrations;
extern const unsigned embedded_migrations_count;

#endif
