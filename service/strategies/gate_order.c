#include "strategies/gate_order.h"

void gate_order_add_id(redis_args_t *args, const purchase_t *p)
{
    redis_args_add(args, (str_t){(const char *)p->order.id.bytes, sizeof(p->order.id.bytes)});
}

void gate_order_add_record(redis_args_t *args, const purchase_t *p)
{
    char text[GATE_RECORD_SIZE], *at = text;
    const gate_record_t record = {.epoch = p->epoch,
                                  .sku = order_sku(&p->order),
                                  .buyer = order_buyer(&p->order),
                                  .quantity = p->order.quantity,
                                  .key = purchase_key(p),
                                  .deadline_ms = p->commit_deadline_ms,
                                  .owner = str_of(p->engine->node->incarnation),
                                  .digest = p->order.digest};
    redis_args_add(args, gate_record_put(&at, &record));
}

void gate_order_add_field(redis_args_t *args, const purchase_t *p)
{
    char text[GATE_RECORD_SIZE], *at = text;
    redis_args_add(args, p->key_length == 0
                             ? STR("")
                             : gate_key_field_put(&at, order_sku(&p->order), order_buyer(&p->order),
                                                  purchase_key(p)));
}
