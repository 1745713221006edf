#include "rows.h"

#include <mysql.h>

#define TIMEOUT_S 20

static MYSQL *open_shard(const test_stack_t *stack, unsigned shard)
{
    unsigned timeout_s = TIMEOUT_S;
    MYSQL *mysql = mysql_init(NULL);
    mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &timeout_s);
    mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &timeout_s);
    if (mysql_real_connect(mysql, NULL, stack->mysql_user, NULL, "holdfast", 0,
                           stack->mysql_sockets[shard], 0) == NULL) {
        char *why = test_text("%s", mysql_error(mysql));
        mysql_close(mysql);
        FAIL("cannot reach %s: %s", stack->mysql_sockets[shard], why);
    }
    return mysql;
}

/* 0, or the number of the error; *number is that of the first row, if there is one. */
static unsigned on_shard(const test_stack_t *stack, unsigned shard, const char *sql,
                         long long *number)
{
    MYSQL *mysql = open_shard(stack, shard);
    unsigned error = mysql_query(mysql, sql) == 0 ? 0 : mysql_errno(mysql);
    MYSQL_RES *result = error == 0 ? mysql_store_result(mysql) : NULL;
    MYSQL_ROW row = result == NULL ? NULL : mysql_fetch_row(result);
    *number = row == NULL || row[0] == NULL ? 0 : strtoll(row[0], NULL, 10);
    mysql_free_result(result);
    mysql_close(mysql);
    return error;
}

static char *format_sql(const char *format, va_list arguments)
{
    char *sql = NULL;
    if (vasprintf(&sql, format, arguments) < 0)
        abort();
    test_keep(sql, free);
    return sql;
}

long long rows_sum(const test_stack_t *stack, const char *format, ...)
{
    long long sum = 0, number;
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    for (unsigned i = 0; i < stack->shards; ++i) {
        unsigned error = on_shard(stack, i, sql, &number);
        if (error != 0)
            FAIL("MySQL error %u of %s", error, sql);
        sum += number;
    }
    return sum;
}

unsigned rows_change(const test_stack_t *stack, const char *format, ...)
{
    unsigned first_error = 0;
    long long number;
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    for (unsigned i = 0; i < stack->shards; ++i) {
        unsigned error = on_shard(stack, i, sql, &number);
        first_error = first_error != 0 ? first_error : error;
    }
    return first_error;
}

void rows_each(const test_stack_t *stack, void (*take)(void *context, char **columns),
               void *context, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const char *sql = format_sql(format, arguments);
    va_end(arguments);
    for (unsigned i = 0; i < stack->shards; ++i) {
        MYSQL *mysql = open_shard(stack, i);
        unsigned error = mysql_query(mysql, sql) == 0 ? 0 : mysql_errno(mysql);
        MYSQL_RES *result = error == 0 ? mysql_store_result(mysql) : NULL;
        MYSQL_ROW row;
        while (result != NULL && (row = mysql_fetch_row(result)) != NULL)
            take(context, row);
        mysql_free_result(result);
        mysql_close(mysql);
        EXPECT(error == 0 && result != NULL, "MySQL error %u of %s", error, sql);
    }
}

unsigned rows_shard_of(const test_stack_t *stack, const char *sku)
{
    for (unsigned i = 0; i < stack->shards; ++i) {
        long long found = 0;
        on_shard(stack, i, test_text("SELECT COUNT(*) FROM inventory WHERE sku = '%s'", sku),
                 &found);
        if (found != 0)
            return i;
    }
    FAIL("no shard has %s", sku);
}

const char *rows_order_id(const char *uuid)
{
    char hex[33];
    size_t n = 0;
    for (const char *at = uuid; *at != '\0' && n < sizeof(hex) - 1; ++at)
        if (*at != '-')
            hex[n++] = *at;
    hex[n] = '\0';
    return test_text("x'%s'", hex);
}
