#include "strategies/gate_order.h"

void gate_order_add_id(redis_args_t *args, const attempt_t *a)
{
    redis_args_add(args, (str_t){(const char *)a->order.id.bytes, sizeof(a->order.id.bytes)});
}

void gate_order_add_record(redis_args_t *args, const attempt_t *a)
{
    char text[GATE_RECORD_SIZE], *at = text;
    const gate_record_t record = {.epoch = a->epoch,
                                  .sku = order_sku(&a->order),
                                  .buyer = order_buyer(&a->order),
                                  .quantity = a->order.quantity,
                                  .key = attempt_key(a),
                                  .deadline_ms = a->commit_deadline_ms,
                                  .owner = a->item->loop->owner,
                                  .digest = a->order.digest};
    redis_args_add(args, gate_record_put(&at, &record));
}

void gate_order_add_field(redis_args_t *args, const attempt_t *a)
{
    char text[GATE_RECORD_SIZE], *at = text;
    redis_args_add(args, a->key_length == 0
                             ? STR("")
                             : gate_key_field_put(&at, order_sku(&a->order), order_buyer(&a->order),
                                                  attempt_key(a)));
}
