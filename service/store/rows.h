/*
 * The rows of one INSERT, typed, before it is decided how they are sent.
 *
 * rows_begin() and rows_column() say where the rows go; then each row is added cell by cell, in the
 * order of the columns. rows_add_insert() prints all of it as one statement with literals (the same
 * as those of store/sql.h); db_insert_rows() (store/db.h) binds the same cells to a prepared
 * statement. So a row is encoded once, whichever way it goes.
 *
 * The caller owns a `rows_t`, which begins as all zero; one thread at a time may use it. Bytes and
 * words are borrowed: they stay as they are until the rows were sent. rows_begin() keeps its memory
 * for the next rows, rows_free() frees it. Pure; does not block; nothing fails.
 */
#ifndef HOLDFAST_STORE_ROWS_H
#define HOLDFAST_STORE_ROWS_H

#include <stdint.h>

#include "base/order_id.h"
#include "base/str.h"
#include "store/sql.h"

#define ROWS_COLUMNS_MAX 16

typedef enum {
    ROWS_BYTES, /* bytes of any kind, also the id of an order */
    ROWS_WORD,  /* a word of our own */
    ROWS_U64,
    ROWS_TIME /* ms since 1970 UTC */
} rows_kind_t;

typedef struct {
    const char *name;
    rows_kind_t kind;
    unsigned room;      /* rows for which the arrays have room */
    const char **bytes; /* [row]; of bytes and words */
    uint64_t *numbers;  /* [row]; their lengths, or the numbers, or the times */
    char *is_null;      /* [row]; 1: the cell is NULL, and the others say nothing */
} rows_column_t;

typedef struct {
    const char *table, *tail;
    rows_column_t columns[ROWS_COLUMNS_MAX];
    unsigned columns_count;
    unsigned count;  /* of whole rows */
    unsigned column; /* of the next cell */
    unsigned max;
} rows_t;

/* Begins a new INSERT of at most `count` rows. `tail` follows the rows. `table`, `tail` and the
   names of columns are literals of this program. */
void rows_begin(rows_t *rows, const char *table, const char *tail, unsigned count);
/* Appends a column; before the first row. */
void rows_column(rows_t *rows, const char *name, rows_kind_t kind);
void rows_free(rows_t *rows);

/* The next cell. NULL is written for bytes without a pointer, for no word, for no order, for the
   time 0. */
void rows_add_bytes(rows_t *rows, str_t bytes);
void rows_add_order_id(rows_t *rows, const order_id_t *id);
void rows_add_word(rows_t *rows, const char *word);
void rows_add_u64(rows_t *rows, uint64_t number);
void rows_add_time(rows_t *rows, uint64_t ms);

/* Appends the INSERT with the values of all rows; there is at least one. */
void rows_add_insert(sql_t *sql, const rows_t *rows);
/* Appends the INSERT of one row whose values are parameters. */
void rows_add_prepared(sql_t *sql, const rows_t *rows);

#endif
