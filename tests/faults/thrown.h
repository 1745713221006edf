/*
 * Errors that a shard throws at will: triggers on `orders` and `inventory` signal whatever number a
 * global variable of the server holds, to all rows or to those of one buyer only.
 *
 * The variables are auto_increment_increment (the mode) and auto_increment_offset (the number): a
 * trigger reads them without a lock, and no table of Holdfast has an AUTO_INCREMENT. A buyer who is
 * called "e-1234" meets 1234 in the modes that are about one order.
 */
#ifndef HOLDFAST_FAULTS_THROWN_H
#define HOLDFAST_FAULTS_THROWN_H

#include "harness/mysqld.h"

typedef enum {
    THROWN_NOT = 1,     /* as the server starts */
    THROWN_ONE_INSERT,  /* at the row of a buyer who is called so */
    THROWN_ONE_UPDATE,  /* at the inventory row, if such a buyer's order is in the transaction */
    THROWN_ALL_INSERTS, /* at every row */
    THROWN_ALL_UPDATES
} thrown_mode_t;

/* Who is called so meets the number of the name. */
#define THROWN_BUYER "e-%u"
#define THROWN_WORDS "a test threw this"

#define THROWN_SIGNAL                                                                              \
    "IF n <> 0 THEN SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = n, MESSAGE_TEXT = '" THROWN_WORDS    \
    "'; END IF; END"

static inline void thrown_prepare(const test_stack_t *stack, unsigned shard)
{
    mysqld_run(stack, shard,
               "CREATE TRIGGER thrown_at_insert BEFORE INSERT ON orders FOR EACH ROW BEGIN "
               "DECLARE n INT DEFAULT 0; "
               "IF @@GLOBAL.auto_increment_increment = %d THEN "
               "SET n = @@GLOBAL.auto_increment_offset; "
               "ELSEIF @@GLOBAL.auto_increment_increment = %d AND NEW.buyer_id LIKE 'e-%%' THEN "
               "SET n = CAST(SUBSTR(NEW.buyer_id, 3) AS UNSIGNED); END IF; " THROWN_SIGNAL,
               THROWN_ALL_INSERTS, THROWN_ONE_INSERT);
    /* Rows of such buyers that this transaction has inserted; earlier ones are of other items. */
    mysqld_run(stack, shard,
               "CREATE TRIGGER thrown_at_update BEFORE UPDATE ON inventory FOR EACH ROW BEGIN "
               "DECLARE n INT DEFAULT 0; "
               "IF @@GLOBAL.auto_increment_increment = %d THEN "
               "SET n = @@GLOBAL.auto_increment_offset; "
               "ELSEIF @@GLOBAL.auto_increment_increment = %d THEN "
               "SELECT COALESCE(MAX(CAST(SUBSTR(buyer_id, 3) AS UNSIGNED)), 0) INTO n FROM orders "
               "WHERE sku = NEW.sku AND buyer_id LIKE 'e-%%'; END IF; " THROWN_SIGNAL,
               THROWN_ALL_UPDATES, THROWN_ONE_UPDATE);
}

static inline void thrown_set(const test_stack_t *stack, unsigned shard, thrown_mode_t mode,
                              unsigned number)
{
    mysqld_run(stack, shard,
               "SET GLOBAL auto_increment_offset = %u, GLOBAL auto_increment_increment = %d",
               number == 0 ? 1 : number, mode);
}

/* Options of a server that starts so. */
static inline const char *thrown_options(thrown_mode_t mode, unsigned number)
{
    return test_text("--auto-increment-increment=%d --auto-increment-offset=%u", mode, number);
}

/* The sections of MariaDB's list of errors, ER_ERROR_FIRST to ER_ERROR_LAST; MySQL's numbers that
   are in none of them are known by test_db_errors. */
static const struct {
    unsigned first, last;
} thrown_sections[] = {{1000, 1880}, {1900, 1982}, {3000, 3060}, {4000, 4192}};

/* Written down once more, so that a change of service/store/db_errors.c shows. */
static inline bool thrown_is_verdict(unsigned number)
{
    static const unsigned verdicts[] = {1048, 1264, 1265, 1292, 1366, 1406, 1690, 3819, 4025};
    for (size_t i = 0; i < TEST_COUNT(verdicts); ++i)
        if (verdicts[i] == number)
            return true;
    return false;
}

#endif
