#include "mysql_table.h"

#include <stdlib.h>

#include "base/embedded.h"

#define MIGRATIONS_MAX 64
static sql_text_t migrations[MIGRATIONS_MAX];
table_t mysql_tables[TABLES_MAX];
unsigned mysql_tables_count;
static table_t elsewhere[TABLES_MAX];

table_t *mysql_table_of_word(unsigned word)
{
    for (unsigned i = 0; i < mysql_tables_count; ++i)
        if (mysql_tables[i].name == word)
            return &mysql_tables[i];
    return NULL;
}

table_t *mysql_table(const char *name)
{
    for (unsigned i = 0; i < mysql_tables_count; ++i)
        if (strcmp(sql_word_name(mysql_tables[i].name), name) == 0)
            return &mysql_tables[i];
    world_unknown("table", name, strlen(name));
}

int mysql_column(const table_t *table, const char *name)
{
    for (unsigned i = 0; i < table->columns_count; ++i)
        if (strcmp(sql_word_name(table->columns[i].word), name) == 0)
            return (int)i;
    world_unknown("column", name, strlen(name));
}

table_t *mysql_table_elsewhere(const table_t *table)
{
    return &elsewhere[table - mysql_tables];
}

static void forget_rows(table_t *table)
{
    table->rows = NULL;
    table->rows_count = table->rows_capacity = 0;
}

void mysql_rows_forget(void)
{
    for (unsigned i = 0; i < mysql_tables_count; ++i) {
        forget_rows(&mysql_tables[i]);
        elsewhere[i] = mysql_tables[i];
    }
}

row_t *mysql_row_add(table_t *table)
{
    if (table->rows_count == table->rows_capacity) {
        unsigned capacity = table->rows_capacity == 0 ? 16 : table->rows_capacity * 2;
        row_t **rows = world_alloc(capacity * sizeof(row_t *));
        if (table->rows_count != 0)
            memcpy(rows, table->rows, table->rows_count * sizeof(row_t *));
        table->rows = rows;
        table->rows_capacity = capacity;
    }
    row_t *row = world_alloc_zero(sizeof(*row));
    row->table = table;
    table->rows[table->rows_count++] = row;
    return row;
}

/* --- CREATE TABLE --- */

static unsigned read_key(table_t *table, const sql_text_t *text, unsigned at, unique_t *key)
{
    *key = (unique_t){{0}, 0};
    for (++at; !sql_sign(text, at, ')'); ++at)
        if (text->tokens[at].kind == TOKEN_WORD)
            key->columns[key->count++] = (unsigned)table->column_of_word[text->tokens[at].word];
    return at;
}

static void read_column(table_t *table, const sql_text_t *text, unsigned at)
{
    column_t *column = &table->columns[table->columns_count];
    *column =
        (column_t){.word = text->tokens[at].word, .is_time = sql_word(text, at + 1, WORD_DATETIME)};
    for (unsigned end = sql_skip(text, at); at < end; ++at) {
        if (sql_word(text, at, WORD_VIRTUAL))
            return; /* nobody here reads one */
        if (sql_word(text, at, WORD_NOT) && sql_word(text, at + 1, WORD_NULL))
            column->required = true;
        if (sql_word(text, at, WORD_DEFAULT) && text->tokens[at + 1].kind == TOKEN_VALUE)
            column->fallback = text->tokens[at + 1].value;
        if (sql_word(text, at, WORD_DEFAULT) && sql_word(text, at + 1, WORD_FALSE))
            column->fallback = VALUE_OF_INT(0);
    }
    table->column_of_word[column->word] = (int8_t)table->columns_count++;
}

/* One line between the brackets: a column, a key or a constraint. */
static void read_line(table_t *table, const sql_text_t *text, unsigned at)
{
    if (sql_word(text, at, WORD_PRIMARY)) {
        read_key(table, text, at + 2, &table->keys[table->keys_count++]);
    } else if (sql_word(text, at, WORD_UNIQUE)) {
        read_key(table, text, at + 3, &table->keys[table->keys_count++]);
    } else if (sql_word(text, at, WORD_CONSTRAINT) && sql_word(text, at + 2, WORD_CHECK)) {
        table->checks[table->checks_count++] = at + 3;
    } else if (!sql_word(text, at, WORD_KEY)) {
        read_column(table, text, at);
    }
}

static unsigned read_table(const sql_text_t *text, unsigned at)
{
    if (mysql_tables_count == TABLES_MAX)
        sql_unknown(text, at, "too many tables");
    table_t *table = &mysql_tables[mysql_tables_count++];
    memset(table->column_of_word, -1, sizeof(table->column_of_word));
    table->schema = text;
    while (!sql_sign(text, at, '('))
        ++at;
    table->name = text->tokens[at - 1].word;
    do {
        read_line(table, text, at + 1);
        at = sql_skip(text, at + 1);
    } while (sql_sign(text, at, ','));
    return at;
}

/* Of what read_column() and read_line() have left out: a plain index changes no answer. */
static void read_drop(const table_t *table, const sql_text_t *text, unsigned at)
{
    if (sql_word(text, at, WORD_INDEX))
        return;
    if (!sql_word(text, at, WORD_COLUMN) || table->column_of_word[text->tokens[at + 1].word] != -1)
        sql_unknown(text, at, "only a virtual column or an index can be dropped");
}

/* ALTER TABLE name ADD COLUMN ..., or DROP or MODIFY COLUMN name, or ADD or DROP INDEX name */
static unsigned read_alter(const sql_text_t *text, unsigned at)
{
    table_t *table = mysql_table_of_word(text->tokens[at + 2].word);
    if (table != NULL && sql_word(text, at + 3, WORD_DROP)) {
        read_drop(table, text, at + 4);
        return sql_skip(text, at + 3);
    }
    if (table != NULL && sql_word(text, at + 3, WORD_ADD) && sql_word(text, at + 4, WORD_INDEX))
        return sql_skip(text, at + 3);
    if (table != NULL && sql_word(text, at + 3, WORD_MODIFY) && sql_word(text, at + 4, WORD_COLUMN))
        return sql_skip(text, at + 3); /* of its length, which nothing here looks at */
    for (at += 3;; ++at) {
        if (table == NULL || !sql_word(text, at, WORD_ADD) || !sql_word(text, at + 1, WORD_COLUMN))
            sql_unknown(
                text, at,
                "only ADD, DROP and MODIFY of columns and indexes are known of ALTER TABLE");
        read_column(table, text, at + 2);
        at = sql_skip(text, at + 2);
        if (!sql_sign(text, at, ','))
            return at;
    }
}

static unsigned read_statement(const sql_text_t *text, unsigned at)
{
    /* ... SELECT from tables that are empty here; or of rows that are not there yet */
    if (sql_word(text, at, WORD_INSERT) || sql_word(text, at, WORD_UPDATE))
        return at;
    if (!sql_word(text, at + 1, WORD_TABLE))
        sql_unknown(text, at, "only TABLEs are known in a migration");
    if (sql_word(text, at, WORD_CREATE))
        return read_table(text, at);
    if (sql_word(text, at, WORD_ALTER))
        return read_alter(text, at);
    sql_unknown(text, at, "only CREATE, ALTER, INSERT and UPDATE are known in a migration");
}

void mysql_schema_init(void)
{
    if (embedded_migrations_count > MIGRATIONS_MAX)
        world_unknown("so many migrations", "", 0);
    for (unsigned i = 0; i < embedded_migrations_count; ++i) {
        str_t all = embedded_migrations[i].text;
        sql_text_t *text = &migrations[i];
        *text = sql_read(all.p, all.n, true);
        for (unsigned at = 0; text->tokens[at].kind != TOKEN_END;) {
            at = read_statement(text, at);
            while (text->tokens[at].kind != TOKEN_END && !sql_sign(text, at, ';'))
                ++at;
            at += text->tokens[at].kind != TOKEN_END;
        }
    }
}
