#include "mysql_statement.h"

#include <stdlib.h>

#include "base/clock.h"
#include "mysql_fault.h"

#define NOWHERE UINT32_MAX
#define ITEMS_MAX 24

/* One statement while it runs. */
typedef struct {
    session_t *session;
    const sql_text_t *text;
    table_t *table;
    unsigned where; /* token of its expression, or NOWHERE */
    result_set_t *out;
    uint64_t affected;
    const scope_t *joined; /* the row beside the table's, or NULL */
    bool limited;          /* a SELECT with a LIMIT of its own */
} statement_t;

static value_t subquery(const scope_t *scope, unsigned *at);

static table_t *table_of(const statement_t *s, unsigned word)
{
    table_t *table = mysql_table_of_word(word);
    return table != NULL && s->session->elsewhere ? mysql_table_elsewhere(table) : table;
}

/* The table that is named at *at. Leaves *at behind it, and behind its index: FORCE INDEX (name).
 */
static void read_table(statement_t *s, unsigned *at)
{
    if ((s->table = table_of(s, s->text->tokens[*at].word)) == NULL)
        sql_unknown(s->text, *at, "no such table");
    *at += sql_word(s->text, *at + 1, WORD_FORCE) ? 6 : 1;
}

static scope_t scope_of(const statement_t *s, const value_t *row)
{
    return (scope_t){.text = s->text,
                     .table = s->table,
                     .row = row,
                     .outer = s->joined,
                     .now_ms = mysql_now_ms(),
                     .subquery = subquery,
                     .context = s->session};
}

static bool matches(const statement_t *s, const value_t *row)
{
    if (row == NULL)
        return false;
    if (s->where == NOWHERE)
        return true;
    scope_t scope = scope_of(s, row);
    unsigned at = s->where;
    value_t value = sql_value(&scope, &at);
    return sql_is_true(&value);
}

static const value_t *newest(const row_t *row)
{
    return version_values(row->pending != NULL ? row->pending : row->committed);
}

/* Locks the row if it matches. *matched false: somebody else's business, or skipped. */
static result_t lock_if_matches(statement_t *s, row_t *row, bool skip_locked, bool *matched)
{
    *matched = false;
    while (row->owner != NULL && row->owner != s->session) {
        if (mysql_session_is_dead(row->owner))
            continue;
        if (!matches(s, version_values(row->committed)) && !matches(s, newest(row)))
            return RESULT_DONE;
        if (skip_locked)
            return RESULT_DONE;
        result_t result = mysql_wait_for(s->session, row);
        if (result != RESULT_DONE)
            return result;
    }
    if (!matches(s, newest(row)))
        return RESULT_DONE;
    if (row->pending == NULL && mysql_is_too_new(s->session, row)) {
        TRACE("mysql: record has changed since last read");
        mysql_rollback(s->session);
        return RESULT_RETRY;
    }
    *matched = true;
    if (row->owner == NULL)
        mysql_remember(s->session, row, true);
    return RESULT_DONE;
}

/* --- keys and constraints --- */

static bool same_key(const unique_t *key, const value_t *a, const value_t *b)
{
    for (unsigned i = 0; i < key->count; ++i) {
        unsigned column = key->columns[i];
        if (a[column].kind == VALUE_NULL || !value_eq(&a[column], &b[column]))
            return false;
    }
    return true;
}

static bool has_key(const unique_t *key, const row_t *row, const value_t *values)
{
    const value_t *pending = version_values(row->pending);
    const value_t *committed = version_values(row->committed);
    return (pending != NULL && same_key(key, values, pending)) ||
           (committed != NULL && same_key(key, values, committed));
}

/* Another row with one of these keys, after waiting for whoever owns it; NULL: none. */
static result_t find_twin(session_t *session, table_t *table, const value_t *values,
                          const row_t *self, row_t **twin)
{
    *twin = NULL;
    for (unsigned k = 0; k < table->keys_count; ++k)
        for (unsigned i = 0; i < table->rows_count; ++i) {
            row_t *row = table->rows[i];
            if (row == self || !has_key(&table->keys[k], row, values))
                continue;
            result_t result = mysql_wait_for(session, row);
            if (result != RESULT_DONE)
                return result;
            const value_t *now = newest(row);
            if (now == NULL || !same_key(&table->keys[k], values, now))
                continue;
            *twin = row;
            return RESULT_DONE;
        }
    return RESULT_DONE;
}

static bool is_allowed(const statement_t *s, const value_t *values)
{
    const table_t *table = s->table;
    for (unsigned i = 0; i < table->columns_count; ++i)
        if (table->columns[i].required && values[i].kind == VALUE_NULL)
            return false;
    for (unsigned i = 0; i < table->checks_count; ++i) {
        statement_t check = {s->session, table->schema, s->table, table->checks[i], NULL,
                             0,          NULL,          false};
        scope_t scope = scope_of(&check, values);
        unsigned at = check.where;
        value_t value = sql_value(&scope, &at);
        if (value.kind != VALUE_NULL && !sql_is_true(&value))
            return false;
    }
    return true;
}

/* As the column keeps it: a DATETIME in text becomes its milliseconds. */
static value_t for_column(const statement_t *s, unsigned column, value_t value)
{
    uint64_t ms;
    if (!s->table->columns[column].is_time || value.kind != VALUE_BYTES)
        return value;
    if (time_parse_sql(value.p, value.n, &ms) != 0)
        world_unknown("time", value.p, value.n);
    return VALUE_OF_INT((int64_t)ms);
}

static version_t *new_version(const table_t *table, const value_t *values)
{
    size_t n = table->columns_count * sizeof(value_t);
    version_t *version = world_alloc(sizeof(*version) + n);
    memcpy(version->values, values, n);
    version->deleted = false;
    return version;
}

static void put(statement_t *s, row_t *row, const value_t *values)
{
    mysql_remember(s->session, row, false);
    row->pending = new_version(s->table, values);
}

/* --- UPDATE, and the end of an INSERT that met its twin --- */

/* From left to right: an expression sees what was assigned before it. */
static void assign(statement_t *s, unsigned at, value_t *values, const value_t *incoming)
{
    scope_t scope = scope_of(s, values);
    scope.incoming = incoming;
    for (;;) {
        if (sql_sign(s->text, at + 1, '.'))
            at += 2;
        int column = s->table->column_of_word[s->text->tokens[at].word];
        if (column < 0 || !sql_sign(s->text, at + 1, '='))
            sql_unknown(s->text, at, "this is no assignment");
        at += 2;
        values[column] = for_column(s, (unsigned)column, sql_value(&scope, &at));
        if (!sql_sign(s->text, at, ','))
            return;
        ++at;
    }
}

/* The row is ours. *changed: it is not as it was. */
static result_t change(statement_t *s, row_t *row, unsigned assignments, const value_t *incoming,
                       bool *changed)
{
    value_t values[COLUMNS_MAX];
    const value_t *old = newest(row);
    unsigned count = s->table->columns_count;
    row_t *twin;
    *changed = false;
    memcpy(values, old, count * sizeof(value_t));
    assign(s, assignments, values, incoming);
    unsigned error =
        mysql_fault_is_inventory(s->table) ? mysql_fault_at_update(s->session, values) : 0;
    if (error != 0)
        return mysql_fault_meet(s->session, error);
    for (unsigned i = 0; i < count; ++i)
        *changed = *changed || !value_eq(&values[i], &old[i]);
    if (!*changed)
        return RESULT_DONE;
    if (!is_allowed(s, values)) {
        TRACE("mysql: a CHECK constraint refuses");
        return RESULT_REFUSED;
    }
    result_t result = find_twin(s->session, s->table, values, row, &twin);
    if (result != RESULT_DONE)
        return result;
    if (twin != NULL)
        return mysql_fault_meet(s->session, ERROR_DUPLICATE);
    put(s, row, values);
    return RESULT_DONE;
}

/* Leaves *at behind the statement; returns where its assignments begin. */
static unsigned read_update(statement_t *s, unsigned *at)
{
    unsigned assignments = *at + 1; /* SET */
    *at = assignments;
    while (sql_sign(s->text, *at = sql_skip(s->text, *at), ','))
        ++*at;
    if (sql_word(s->text, *at, WORD_WHERE)) {
        s->where = *at + 1;
        *at = sql_skip(s->text, s->where);
    }
    return assignments;
}

static result_t update_rows(statement_t *s, unsigned assignments)
{
    for (unsigned i = 0; i < s->table->rows_count; ++i) {
        bool matched, changed;
        result_t result = lock_if_matches(s, s->table->rows[i], false, &matched);
        if (result == RESULT_DONE && matched)
            result = change(s, s->table->rows[i], assignments, NULL, &changed);
        if (result != RESULT_DONE)
            return result;
        s->affected += matched && changed;
    }
    return RESULT_DONE;
}

/* The rows of (SELECT value AS name, ... UNION ALL SELECT value, ...) AS name: a table for this one
   statement. Leaves *at behind it. */
static table_t *read_derived(statement_t *s, unsigned *at)
{
    const sql_text_t *text = s->text;
    table_t *table = world_alloc_zero(sizeof(*table));
    memset(table->column_of_word, -1, sizeof(table->column_of_word));
    scope_t scope = scope_of(s, NULL);
    do {
        value_t values[COLUMNS_MAX];
        unsigned count = 0;
        *at += table->rows_count == 0 ? 1 : 2; /* the bracket; UNION ALL */
        do {
            ++*at; /* SELECT; the comma */
            values[count] = sql_value(&scope, at);
            if (sql_word(text, *at, WORD_AS)) {
                table->column_of_word[text->tokens[*at + 1].word] = (int8_t)count;
                *at += 2;
            }
            ++count;
        } while (sql_sign(text, *at, ','));
        table->columns_count = count;
        mysql_row_add(table)->committed = new_version(table, values);
    } while (sql_word(text, *at, WORD_UNION));
    table->name = text->tokens[*at + 2].word; /* ) AS name */
    *at += 3;
    return table;
}

/* UPDATE (SELECT ...) AS name STRAIGHT_JOIN table SET ... WHERE ... */
static result_t run_update_joined(statement_t *s, unsigned *at)
{
    ++*at;
    table_t *derived = read_derived(s, at);
    if (!sql_word(s->text, *at, WORD_STRAIGHT_JOIN))
        sql_unknown(s->text, *at, "this join is not known");
    ++*at;
    read_table(s, at);
    unsigned assignments = read_update(s, at);
    for (unsigned i = 0; i < derived->rows_count; ++i) {
        scope_t beside = {
            .text = s->text, .table = derived, .row = derived->rows[i]->committed->values};
        s->joined = &beside;
        result_t result = update_rows(s, assignments);
        s->joined = NULL;
        if (result != RESULT_DONE)
            return result;
    }
    return RESULT_DONE;
}

static result_t run_update(statement_t *s, unsigned *at)
{
    if (sql_sign(s->text, *at + 1, '('))
        return run_update_joined(s, at);
    ++*at;
    read_table(s, at);
    return update_rows(s, read_update(s, at));
}

/* --- DELETE --- */

static result_t run_delete(statement_t *s, unsigned *at)
{
    s->table = table_of(s, s->text->tokens[*at + 2].word);
    if (s->table == NULL || !sql_word(s->text, *at + 3, WORD_WHERE))
        sql_unknown(s->text, *at, "this DELETE is not known");
    s->where = *at + 4; /* DELETE FROM table WHERE */
    *at = sql_skip(s->text, s->where);
    for (unsigned i = 0; i < s->table->rows_count; ++i) {
        row_t *row = s->table->rows[i];
        bool matched;
        result_t result = lock_if_matches(s, row, false, &matched);
        if (result != RESULT_DONE)
            return result;
        if (!matched)
            continue;
        put(s, row, newest(row));
        row->pending->deleted = true;
        ++s->affected;
    }
    return RESULT_DONE;
}

/* --- INSERT --- */

/* What an order may meet before its row is looked for: triggers run first, as the server has it. */
static result_t before_order(statement_t *s, const value_t *values)
{
    if (!mysql_fault_is_orders(s->table))
        return RESULT_DONE;
    unsigned error = mysql_fault_at_insert(values);
    if (error != 0)
        return mysql_fault_meet(s->session, error);
    row_t *gap = mysql_fault_gap(values);
    return gap == NULL ? RESULT_DONE : mysql_wait_for(s->session, gap);
}

static result_t insert_row(statement_t *s, const value_t *values, unsigned on_duplicate)
{
    row_t *twin;
    bool changed;
    if (!is_allowed(s, values)) {
        TRACE("mysql: a CHECK constraint refuses");
        return RESULT_REFUSED;
    }
    result_t result = before_order(s, values);
    if (result == RESULT_DONE)
        result = find_twin(s->session, s->table, values, NULL, &twin);
    if (result != RESULT_DONE)
        return result;
    if (twin == NULL) {
        put(s, mysql_row_add(s->table), values);
        ++s->affected;
        return RESULT_DONE;
    }
    if (on_duplicate == NOWHERE)
        return mysql_fault_meet(s->session, ERROR_DUPLICATE);
    if (twin->owner == NULL)
        mysql_remember(s->session, twin, true);
    result = change(s, twin, on_duplicate, values, &changed);
    s->affected += changed ? 2 : 0;
    return result;
}

static unsigned find_on_duplicate(const sql_text_t *text, unsigned at)
{
    for (; text->tokens[at].kind != TOKEN_END && !sql_sign(text, at, ';'); ++at)
        if (sql_word(text, at, WORD_ON) && sql_word(text, at + 1, WORD_DUPLICATE))
            return at + 4; /* KEY UPDATE */
    return NOWHERE;
}

static void fill_defaults(const table_t *table, value_t *values)
{
    for (unsigned i = 0; i < table->columns_count; ++i)
        values[i] = table->columns[i].fallback;
}

/* INSERT INTO table SET column = value, ... */
static result_t insert_set(statement_t *s, unsigned *at, unsigned on_duplicate)
{
    value_t values[COLUMNS_MAX];
    fill_defaults(s->table, values);
    assign(s, *at + 1, values, NULL);
    for (++*at; sql_sign(s->text, *at = sql_skip(s->text, *at), ',');)
        ++*at;
    return insert_row(s, values, on_duplicate);
}

static result_t insert_values(statement_t *s, unsigned *at, unsigned on_duplicate)
{
    unsigned columns[COLUMNS_MAX], count = 0;
    value_t values[COLUMNS_MAX];
    for (++*at; !sql_sign(s->text, *at - 1, ')'); *at += 2)
        columns[count++] = (unsigned)s->table->column_of_word[s->text->tokens[*at].word];
    if (!sql_word(s->text, *at, WORD_VALUES))
        sql_unknown(s->text, *at, "VALUES is expected");
    do {
        scope_t scope = scope_of(s, NULL);
        scope.table = NULL;
        fill_defaults(s->table, values);
        ++*at; /* to the bracket */
        for (unsigned i = 0; i < count; ++i) {
            ++*at;
            values[columns[i]] = for_column(s, columns[i], sql_value(&scope, at));
        }
        ++*at;
        result_t result = insert_row(s, values, on_duplicate);
        if (result != RESULT_DONE)
            return result;
    } while (sql_sign(s->text, *at, ','));
    return RESULT_DONE;
}

static result_t run_insert(statement_t *s, unsigned *at)
{
    s->table = table_of(s, s->text->tokens[*at + 2].word);
    unsigned on_duplicate = find_on_duplicate(s->text, *at);
    if (s->table == NULL)
        sql_unknown(s->text, *at, "no such table");
    *at += 3;
    result_t result = sql_word(s->text, *at, WORD_SET) ? insert_set(s, at, on_duplicate)
                                                       : insert_values(s, at, on_duplicate);
    while (s->text->tokens[*at].kind != TOKEN_END && !sql_sign(s->text, *at, ';'))
        ++*at;
    return result;
}

/* --- SELECT --- */

typedef struct {
    unsigned items[ITEMS_MAX], items_count;
    bool distinct, aggregated, locks, skip_locked, descending;
    unsigned group_by, order_by, then_by; /* columns, or NOWHERE */
    uint64_t limit;
} select_t;

static unsigned read_items(statement_t *s, select_t *select, unsigned at)
{
    if ((select->distinct = sql_word(s->text, at, WORD_DISTINCT)))
        ++at;
    for (;; ++at) {
        unsigned end = sql_skip(s->text, at);
        select->items[select->items_count++] = at;
        for (unsigned i = at; i < end; ++i)
            if (sql_word(s->text, i, WORD_SUM) || sql_word(s->text, i, WORD_COUNT) ||
                sql_word(s->text, i, WORD_MAX) || sql_word(s->text, i, WORD_MIN))
                select->aggregated = true;
        at = end;
        if (!sql_sign(s->text, at, ','))
            return at;
    }
}

static unsigned column_at(const statement_t *s, unsigned at)
{
    int column = s->table->column_of_word[s->text->tokens[at].word];
    if (column < 0)
        sql_unknown(s->text, at, "no such column");
    return (unsigned)column;
}

/* All that stands behind the items. */
static unsigned read_clauses(statement_t *s, select_t *select, unsigned at)
{
    const sql_text_t *text = s->text;
    if (sql_word(text, at, WORD_FROM)) {
        ++at;
        read_table(s, &at);
    }
    if (sql_word(text, at, WORD_WHERE)) {
        s->where = at + 1;
        at = sql_skip(text, s->where);
    }
    if (sql_word(text, at, WORD_GROUP)) {
        select->group_by = column_at(s, at + 2);
        at += 3;
    }
    if (sql_word(text, at, WORD_ORDER)) {
        select->order_by = column_at(s, at + 2);
        at += 3;
        if ((select->descending = sql_word(text, at, WORD_DESC)))
            ++at;
        if (sql_sign(text, at, ',')) {
            select->then_by = column_at(s, at + 1);
            at += 2;
        }
    }
    if (sql_word(text, at, WORD_LIMIT)) {
        select->limit = (uint64_t)text->tokens[at + 1].value.i;
        s->limited = true;
        at += 2;
    }
    if (sql_word(text, at, WORD_FOR)) {
        select->locks = true;
        at += 2;
        if ((select->skip_locked = sql_word(text, at, WORD_SKIP)))
            at += 2;
    }
    return at;
}

typedef struct {
    row_t *row;
    const value_t *values;
} candidate_t;

/* Insertion: the lists are short. */
static void sort(candidate_t *rows, unsigned count, unsigned column, bool descending)
{
    for (unsigned i = 1; i < count; ++i)
        for (unsigned j = i; j != 0; --j) {
            int order = value_compare(&rows[j - 1].values[column], &rows[j].values[column]);
            if (descending ? order >= 0 : order <= 0)
                break;
            candidate_t swap = rows[j];
            rows[j] = rows[j - 1];
            rows[j - 1] = swap;
        }
}

/* The rows that the statement speaks of, in order, locked if it locks. */
static result_t find_rows(statement_t *s, const select_t *select, const value_t ***found,
                          unsigned *count)
{
    unsigned candidates = 0;
    table_t *table = s->table;
    candidate_t *rows = world_alloc((table->rows_count + 1) * sizeof(*rows));
    for (unsigned i = 0; i < table->rows_count; ++i) {
        row_t *row = table->rows[i];
        const value_t *values = select->locks ? newest(row) : mysql_visible(s->session, row);
        if (values == NULL && select->locks) /* its DELETE may be undone yet */
            values = version_values(row->committed);
        if (values != NULL && (select->locks || matches(s, values)))
            rows[candidates++] = (candidate_t){row, values};
    }
    if (select->then_by != NOWHERE) /* sorting is stable: the column that counts more comes last */
        sort(rows, candidates, select->then_by, false);
    if (select->order_by != NOWHERE)
        sort(rows, candidates, select->order_by, select->descending);
    *found = world_alloc((candidates + 1) * sizeof(**found));
    *count = 0;
    for (unsigned i = 0; i < candidates && *count < select->limit; ++i) {
        bool matched = true;
        result_t result = RESULT_DONE;
        if (select->locks)
            result = lock_if_matches(s, rows[i].row, select->skip_locked, &matched);
        if (result != RESULT_DONE)
            return result;
        if (matched)
            (*found)[(*count)++] = select->locks ? newest(rows[i].row) : rows[i].values;
    }
    return RESULT_DONE;
}

static void add_result(statement_t *s, const select_t *select, const scope_t *scope)
{
    result_set_t *out = s->out;
    value_t *values = world_alloc(select->items_count * sizeof(value_t));
    for (unsigned i = 0; i < select->items_count; ++i) {
        unsigned at = select->items[i];
        values[i] = sql_value(scope, &at);
    }
    for (unsigned i = 0; i < out->rows_count && select->distinct; ++i)
        if (value_eq(&out->rows[i][0], &values[0]))
            return;
    if (out->rows_count == out->rows_capacity) {
        out->rows_capacity = out->rows_capacity == 0 ? 8 : out->rows_capacity * 2;
        const value_t **rows = world_alloc(out->rows_capacity * sizeof(*rows));
        if (out->rows_count != 0)
            memcpy(rows, out->rows, out->rows_count * sizeof(*rows));
        out->rows = rows;
    }
    out->columns_count = select->items_count;
    out->rows[out->rows_count++] = values;
}

/* One result for each value of the GROUP BY column, or one for all. */
static void add_groups(statement_t *s, const select_t *select, const value_t **rows, unsigned count)
{
    static const value_t nothing[COLUMNS_MAX];
    bool grouped = select->group_by != NOWHERE;
    const value_t **group = world_alloc((count + 1) * sizeof(*group));
    for (unsigned i = 0; i < count || (i == 0 && !grouped); ++i) {
        if (s->out->rows_count == select->limit)
            return;
        unsigned members = 0;
        bool seen = false;
        for (unsigned j = 0; j < count; ++j) {
            bool same =
                !grouped || value_eq(&rows[i][select->group_by], &rows[j][select->group_by]);
            seen = seen || (same && j < i);
            if (same)
                group[members++] = rows[j];
        }
        if (seen)
            continue;
        scope_t scope = scope_of(s, members == 0 ? nothing : group[0]);
        scope.group = group;
        scope.group_count = members;
        add_result(s, select, &scope);
    }
}

static result_t run_select(statement_t *s, unsigned *at)
{
    select_t select = {
        .group_by = NOWHERE, .order_by = NOWHERE, .then_by = NOWHERE, .limit = UINT64_MAX};
    const value_t **rows;
    unsigned count;
    *at = read_clauses(s, &select, read_items(s, &select, *at + 1));
    if (s->table == NULL) {
        scope_t scope = scope_of(s, NULL);
        add_result(s, &select, &scope);
        return RESULT_DONE;
    }
    bool in_groups = select.aggregated || select.group_by != NOWHERE;
    uint64_t limit = select.limit;
    if (in_groups)
        select.limit = UINT64_MAX; /* of groups, not of the rows in them */
    result_t result = find_rows(s, &select, &rows, &count);
    select.limit = limit;
    if (result != RESULT_DONE)
        return result;
    if (in_groups) {
        add_groups(s, &select, rows, count);
        return RESULT_DONE;
    }
    for (unsigned i = 0; i < count; ++i) {
        scope_t scope = scope_of(s, rows[i]);
        add_result(s, &select, &scope);
    }
    return RESULT_DONE;
}

/* (SELECT column FROM table WHERE ...) that speaks of the outer row too. */
static value_t subquery(const scope_t *scope, unsigned *at)
{
    statement_t s = {scope->context, scope->text, NULL, NOWHERE, NULL, 0, NULL, false};
    select_t select = {
        .group_by = NOWHERE, .order_by = NOWHERE, .then_by = NOWHERE, .limit = UINT64_MAX};
    *at = read_clauses(&s, &select, read_items(&s, &select, *at + 1));
    const value_t **group = world_alloc((s.table->rows_count + 1) * sizeof(*group));
    unsigned members = 0, item = select.items[0];
    for (unsigned i = 0; i < s.table->rows_count; ++i) {
        const value_t *row = mysql_visible(s.session, s.table->rows[i]);
        if (row == NULL)
            continue;
        scope_t inner = scope_of(&s, row);
        inner.outer = scope;
        unsigned where = s.where;
        value_t value = sql_value(&inner, &where);
        if (sql_is_true(&value) && !select.aggregated)
            return sql_value(&inner, &item);
        if (sql_is_true(&value))
            group[members++] = row;
    }
    if (!select.aggregated)
        return (value_t){.kind = VALUE_NULL};
    scope_t all = scope_of(&s, NULL);
    all.group = group;
    all.group_count = members;
    return sql_value(&all, &item);
}

/* --- transactions --- */

static void run_start(session_t *session, const sql_text_t *text, unsigned *at)
{
    bool repeatable = session->repeatable && !session->open;
    if (session->open)
        mysql_commit(session);
    session->open = true;
    session->repeatable = repeatable;
    *at += 2;
    if (sql_word(text, *at, WORD_WITH)) {
        session->snapshot = mysql_commits();
        *at += 3;
    }
}

static result_t run_set(session_t *session, const sql_text_t *text, unsigned *at)
{
    /* SET TRANSACTION ISOLATION LEVEL REPEATABLE READ */
    if (!sql_word(text, *at + 1, WORD_TRANSACTION) || !sql_word(text, *at + 4, WORD_REPEATABLE))
        sql_unknown(text, *at, "this SET is not known");
    *at += 6;
    if (session->open) {
        TRACE("mysql: 1568, a transaction is in progress");
        return RESULT_REFUSED;
    }
    session->repeatable = true;
    return RESULT_DONE;
}

static result_t dispatch(statement_t *s, unsigned *at)
{
    switch (s->text->tokens[*at].kind == TOKEN_WORD ? s->text->tokens[*at].word : WORD_NONE) {
    case WORD_SELECT:
        return run_select(s, at);
    case WORD_UPDATE:
        return run_update(s, at);
    case WORD_INSERT:
        return run_insert(s, at);
    case WORD_DELETE:
        return run_delete(s, at);
    case WORD_DO:
        *at += 2;
        return RESULT_DONE;
    default:
        sql_unknown(s->text, *at, "this statement is not known");
    }
}

result_t mysql_run(session_t *session, const sql_text_t *text, unsigned *at, uint64_t *affected,
                   result_set_t *out)
{
    result_set_t ignored = {0};
    statement_t s = {session, text, NULL, NOWHERE, out != NULL ? out : &ignored, 0, NULL, false};
    *affected = 0;
    if (sql_word(text, *at, WORD_START)) {
        run_start(session, text, at);
        return RESULT_DONE;
    }
    if (sql_word(text, *at, WORD_SET)) {
        return run_set(session, text, at);
    }
    bool alone = !session->open;
    unsigned mark = session->undo_count;
    session->open = true;
    session->executing = true;
    result_t result = dispatch(&s, at);
    if (out != NULL && !s.limited && out->rows_count > session->select_limit)
        out->rows_count = (unsigned)session->select_limit;
    session->executing = false;
    if (result == RESULT_UNKNOWN)
        return result;
    if (result != RESULT_DONE)
        mysql_undo_to(session, mark);
    if (alone && result == RESULT_DONE)
        mysql_commit(session);
    else if (alone)
        mysql_rollback(session);
    if (result == RESULT_DONE && text->tokens[*at].kind != TOKEN_END && !sql_sign(text, *at, ';'))
        sql_unknown(text, *at, "the statement goes on in a way that is not known");
    *affected = s.affected;
    return result;
}
