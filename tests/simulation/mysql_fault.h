/*
 * A MySQL server that is ill in one place: it throws an error that nobody listed, at one buyer's
 * orders or at all; a stranger's transaction keeps a lock. What an error number does to the
 * statement is db_classify()'s to say, as in the real client.
 *
 * All of it ends by itself, or with mysql_fault_end().
 */
#ifndef HOLDFAST_SIMULATION_MYSQL_FAULT_H
#define HOLDFAST_SIMULATION_MYSQL_FAULT_H

#include "mysql_server.h"

void mysql_fault_begin(void); /* of a history */
void mysql_fault_end(void);

/* --- errors --- */

/* From the server's whole list. With `verdicts` also those that are about a row's values: they are
   no fault of the server where it is only one order that meets them. */
unsigned mysql_fault_draw_error(bool verdicts);
/* What the session makes of it: a deadlock undoes its transaction, a lost connection ends it. */
result_t mysql_fault_meet(session_t *session, unsigned number);

typedef enum { MYSQL_FAULT_AT_INSERT, MYSQL_FAULT_AT_UPDATE } mysql_fault_place_t;
/* For so long INSERTs of orders or UPDATEs of items end in this error: all of them, or (`buyer` not
   NULL) those of transactions that have an order of this buyer. */
void mysql_fault_throw(mysql_fault_place_t place, unsigned number, const char *buyer, uint64_t us);
/* The buyer whose orders are refused for good, since this number is a verdict; or NULL. */
const char *mysql_fault_refused_buyer(void);
bool mysql_fault_is_orders(const table_t *table);
bool mysql_fault_is_inventory(const table_t *table);
/* Before an order is inserted or an item updated: 0, or the number that ends the statement. */
unsigned mysql_fault_at_insert(const value_t *values);
unsigned mysql_fault_at_update(const session_t *session, const value_t *values);

/* --- locks --- */

/* A stranger locks the item's row for so long, as soon as nobody else has it; or with `buyer` this
   buyer's orders of it and the gap where his next one goes. */
void mysql_fault_lock(const char *sku, const char *buyer, uint64_t us);
/* Before an order is inserted: the lock of its gap, or NULL. */
row_t *mysql_fault_gap(const value_t *values);

#endif
