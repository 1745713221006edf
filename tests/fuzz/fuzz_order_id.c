/* Order ids: text to id and back; and each id that is issued is known as issued. */
#include <ctype.h>

#include "base/order_id.h"
#include "fuzz/fuzz.h"

#define TIME_BITS_MASK ((UINT64_C(1) << 48) - 1)

static void check_text(str_t text)
{
    order_id_t id = ORDER_ID_NONE, again;
    char out[ORDER_ID_TEXT + 1];
    if (!order_id_parse(text, &id)) {
        EXPECT(order_id_is_none(&id));
        return;
    }
    order_id_format(out, &id);
    EXPECT(text.n == ORDER_ID_TEXT && strlen(out) == ORDER_ID_TEXT);
    for (size_t i = 0; i < text.n; ++i)
        EXPECT(tolower((unsigned char)text.p[i]) == out[i]);
    EXPECT(order_id_parse(str_of(out), &again) && order_id_eq(&id, &again));
    EXPECT(order_id_slot(&id) < 0x1000 && order_id_time_ms(&id) <= TIME_BITS_MASK);
    (void)order_id_issued_here(&id);
}

static void check_issue(const uint8_t *data)
{
    uint16_t slot = (uint16_t)((data[0] << 8 | data[1]) & 0x3ff);
    uint64_t ms = 0;
    order_id_t again;
    char out[ORDER_ID_TEXT + 1];
    for (int i = 2; i < 8; ++i)
        ms = ms << 8 | data[i];
    order_id_t id = order_id_issue(slot, ms);
    EXPECT(order_id_slot(&id) == slot && order_id_time_ms(&id) == ms);
    EXPECT(order_id_issued_here(&id));
    order_id_format(out, &id);
    EXPECT(order_id_parse(str_of(out), &again) && order_id_eq(&id, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready)
        order_id_set_key(STR("0123456789abcdef"));
    ready = true;
    check_text((str_t){(const char *)data, size});
    if (size >= 8)
        check_issue(data);
    return 0;
}
