#include "check_changes.h"

#include "mysql_server.h"
#include "mysql_table.h"

static struct {
    const table_t *inventory, *changes;
    int i_sku, terms_version, c_sku, epoch, old_terms;
    void (*others)(void);
} at;

/* A new row begins with one number as its epoch, which is in the record, and as its version. */
static void check_item(const value_t *item)
{
    int64_t created = -1, changed = 0;
    for (unsigned i = 0; i < at.changes->rows_count; ++i) {
        const value_t *row = version_values(at.changes->rows[i]->committed);
        if (row == NULL || !value_eq(&row[at.c_sku], &item[at.i_sku]))
            continue;
        if (row[at.old_terms].kind == VALUE_NULL)
            created = row[at.epoch].i;
        else
            ++changed;
    }
    if (created < 0)
        world_fail("an item exists, and no record of its creation");
    if (item[at.terms_version].i != created + changed)
        world_fail("the terms of an item were changed %lld times, and %lld changes are recorded",
                   (long long)(item[at.terms_version].i - created), (long long)changed);
}

static void after_commit(void)
{
    at.others();
    for (unsigned i = 0; i < at.inventory->rows_count; ++i) {
        const value_t *item = version_values(at.inventory->rows[i]->committed);
        if (item != NULL)
            check_item(item);
    }
}

void check_changes_init(void)
{
    at.inventory = mysql_table("inventory");
    at.changes = mysql_table("changes");
    at.i_sku = mysql_column(at.inventory, "sku");
    at.terms_version = mysql_column(at.inventory, "terms_version");
    at.c_sku = mysql_column(at.changes, "sku");
    at.epoch = mysql_column(at.changes, "epoch");
    at.old_terms = mysql_column(at.changes, "old_terms");
    at.others = mysql_after_commit;
    mysql_after_commit = after_commit;
}
