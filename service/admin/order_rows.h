/*
 * An order as a line of a report: NDJSON or CSV; and which of the formats a request asks for. Pure;
 * any thread; nothing blocks.
 */
#ifndef HOLDFAST_ADMIN_ORDER_ROWS_H
#define HOLDFAST_ADMIN_ORDER_ROWS_H

#include "sale/order.h"

typedef enum { ORDERS_JSON, ORDERS_NDJSON, ORDERS_CSV } orders_format_t;

/* False: it is no name of a format ("json", "ndjson", "csv"). */
bool orders_format_parse(str_t name, orders_format_t *out);
/* The format that an Accept header likes best; JSON if it names none of them. */
orders_format_t orders_format_accepted(str_t accept);
/* Static. */
const char *orders_format_type(orders_format_t format);

/* The most bytes that order_row_put() appends. */
#define ORDER_ROW_MAX 1024
/* Appends a line with its end, of ORDERS_NDJSON or ORDERS_CSV. `*at` has room for it. */
void order_row_put(char **at, orders_format_t format, const order_t *order);
/* The names of the columns, with the end of their line. */
str_t orders_csv_head(void);
/* Appends a field as RFC 4180 has it, of at most 2 * n + 3 bytes. A value that a spreadsheet would
   take for a formula gets a ' in front, and so does one that begins with ', so that whoever takes
   one off has the value. */
void csv_field_put(char **at, str_t value);

#endif
