#include "store/rows.h"

#include <assert.h>
#include <stdlib.h>

#include "base/alloc.h"

void rows_begin(rows_t *rows, const char *table, const char *tail, unsigned count)
{
    rows->table = table;
    rows->tail = tail;
    rows->columns_count = rows->count = rows->column = 0;
    rows->max = count;
}

void rows_column(rows_t *rows, const char *name, rows_kind_t kind)
{
    assert(rows->columns_count < ROWS_COLUMNS_MAX && rows->count == 0 && rows->column == 0);
    rows_column_t *column = &rows->columns[rows->columns_count++];
    column->name = name;
    column->kind = kind;
    if (column->room >= rows->max)
        return;
    column->bytes = alloc_resize(column->bytes, rows->max, sizeof(*column->bytes));
    column->numbers = alloc_resize(column->numbers, rows->max, sizeof(*column->numbers));
    column->is_null = alloc_resize(column->is_null, rows->max, sizeof(*column->is_null));
    column->room = rows->max;
}

void rows_free(rows_t *rows)
{
    for (unsigned i = 0; i < ROWS_COLUMNS_MAX; ++i) {
        free(rows->columns[i].bytes);
        free(rows->columns[i].numbers);
        free(rows->columns[i].is_null);
    }
    *rows = (rows_t){0};
}

static void add_cell(rows_t *rows, rows_kind_t kind, const void *bytes, uint64_t number,
                     bool is_null)
{
    assert(rows->count < rows->max && rows->column < rows->columns_count);
    rows_column_t *column = &rows->columns[rows->column];
    assert(column->kind == kind);
    column->bytes[rows->count] = bytes;
    column->numbers[rows->count] = number;
    column->is_null[rows->count] = is_null;
    if (++rows->column == rows->columns_count) {
        rows->column = 0;
        ++rows->count;
    }
}

void rows_add_bytes(rows_t *rows, str_t bytes)
{
    add_cell(rows, ROWS_BYTES, bytes.p, bytes.n, bytes.p == NULL);
}

void rows_add_order_id(rows_t *rows, const order_id_t *id)
{
    bool none = id == NULL || order_id_is_none(id);
    add_cell(rows, ROWS_BYTES, none ? NULL : id->bytes, none ? 0 : sizeof(id->bytes), none);
}

void rows_add_word(rows_t *rows, const char *word)
{
    add_cell(rows, ROWS_WORD, word, word == NULL ? 0 : strlen(word), word == NULL);
}

void rows_add_u64(rows_t *rows, uint64_t number)
{
    add_cell(rows, ROWS_U64, NULL, number, false);
}

void rows_add_time(rows_t *rows, uint64_t ms)
{
    add_cell(rows, ROWS_TIME, NULL, ms, ms == 0);
}

/* Names are literals of this program, and so are formats of SQL: without a percent sign. */
static void add_head(sql_t *sql, const rows_t *rows)
{
    assert(rows->columns_count != 0);
    sql_add(sql, "INSERT INTO ");
    sql_add(sql, rows->table);
    for (unsigned i = 0; i < rows->columns_count; ++i) {
        sql_add(sql, i == 0 ? " (" : ", ");
        sql_add(sql, rows->columns[i].name);
    }
    sql_add(sql, ") VALUES ");
}

/* Each with what stands before it, since a call costs as much as a short value. */
static void print_cell(sql_t *sql, const rows_column_t *column, unsigned row, bool first)
{
    str_t bytes = {column->bytes[row], column->numbers[row]};
    switch (column->kind) {
    case ROWS_BYTES:
        sql_add(sql, first ? "(%s" : ",%s", bytes);
        break;
    case ROWS_WORD:
        sql_add(sql, first ? "(%w" : ",%w", bytes.p);
        break;
    case ROWS_U64:
        sql_add(sql, first ? "(%u" : ",%u", column->numbers[row]);
        break;
    case ROWS_TIME:
        sql_add(sql, first ? "(%t" : ",%t", column->numbers[row]);
        break;
    }
}

void rows_add_insert(sql_t *sql, const rows_t *rows)
{
    assert(rows->count != 0 && rows->column == 0);
    add_head(sql, rows);
    for (unsigned row = 0; row < rows->count; ++row) {
        if (row != 0)
            sql_add(sql, ",");
        for (unsigned i = 0; i < rows->columns_count; ++i)
            print_cell(sql, &rows->columns[i], row, i == 0);
        sql_add(sql, ")");
    }
    sql_add(sql, rows->tail);
}

void rows_add_prepared(sql_t *sql, const rows_t *rows)
{
    add_head(sql, rows);
    for (unsigned i = 0; i < rows->columns_count; ++i)
        sql_add(sql, i == 0 ? "(?" : ",?");
    sql_add(sql, ")");
    sql_add(sql, rows->tail);
}
